"""Where many signatures stand, by few questions: those asked for at the same time travel in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ws402.chains.base import ChainUnavailableError, TxState
from ws402.chains.rpc.endpoint import Endpoint, EndpointError
from ws402.chains.rpc.pool import Pool, guarded
from ws402.chains.solana.reader import HISTORY
from ws402.chains.solana.replies import ReplyError

MOST: Final = 256
"""Signatures in one getSignatureStatuses."""


class Statuses:
    """Asks `pool`. Says nothing about success: a failed transaction has a status, too."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: dict[str, asyncio.Future[TxState]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def state(self, tx: str) -> TxState:
        """UNKNOWN, PENDING (seen, not confirmed) or INCLUDED (in a confirmed block). Raises ChainUnavailableError."""
        if tx not in self._waiting:
            self._waiting[tx] = asyncio.get_running_loop().create_future()
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._waiting[tx])

    async def _ask(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # so that those of this moment come together
            batch = {tx: self._waiting[tx] for tx in list(self._waiting)[:MOST]}
            for tx in batch:
                del self._waiting[tx]
            try:
                states = await self._pool.run(guarded(_question(list(batch))))
            except ChainUnavailableError as error:
                for future in batch.values():
                    future.set_exception(error)
                    future.exception()  # whoever asked may be gone
                continue
            for future, state in zip(batch.values(), states, strict=True):
                future.set_result(state)


def _question(txs: list[str]) -> Callable[[Endpoint], Awaitable[list[TxState]]]:
    async def ask(endpoint: Endpoint) -> list[TxState]:
        return await _states(endpoint, txs)

    return ask


async def _states(endpoint: Endpoint, txs: list[str]) -> list[TxState]:
    (answer,) = await endpoint.call([("getSignatureStatuses", [txs, HISTORY])])
    if isinstance(answer, ReplyError):
        raise EndpointError(f"{endpoint.name}: {answer.message}")
    found = [_state(each) for each in answer["value"]]
    if len(found) != len(txs):
        raise EndpointError(f"{endpoint.name}: not all signatures were answered")
    return found


def _state(status: Any) -> TxState:
    if status is None:
        return TxState.UNKNOWN
    return TxState.PENDING if status.get("confirmationStatus") == "processed" else TxState.INCLUDED
