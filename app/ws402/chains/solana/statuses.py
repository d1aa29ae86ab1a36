"""Where many signatures stand, by few questions: those asked for at the same time travel in one call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from ws402.chains.base import ChainUnavailableError, TxState
from ws402.chains.rpc.endpoint import Endpoint, EndpointError
from ws402.chains.rpc.pool import Pool, guarded
from ws402.chains.solana.reader import HISTORY
from ws402.chains.solana.replies import ReplyError

log = logging.getLogger(__name__)

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
                states = await self._states(list(batch))
            except BaseException as error:
                # Whatever happened, a closed client for one: nobody may wait for ever.
                told = error if isinstance(error, ChainUnavailableError) else _not_asked(self._pool.network, error)
                for future in batch.values():
                    future.set_exception(told)
                    future.exception()  # whoever asked may be gone
                if not isinstance(error, Exception):
                    raise
                if told is not error:
                    log.exception("%s: signatures cannot be asked for", self._pool.network)
                continue
            for future, state in zip(batch.values(), states, strict=True):
                future.set_result(state)

    async def _states(self, txs: list[str]) -> list[TxState]:
        """What one endpoint does not know is asked of all others, too: it may have fallen behind."""
        known = await self._pool.run(guarded(_question(txs)))
        missing = [tx for tx, state in zip(txs, known, strict=True) if state is TxState.UNKNOWN]
        if not missing or len(self._pool.endpoints) == 1:
            return known
        found = await self._pool.search(guarded(_question(missing)), _known, len(missing))
        better = dict(zip(missing, found, strict=True))
        return [better.get(tx, state) for tx, state in zip(txs, known, strict=True)]


def _not_asked(network: str, error: BaseException) -> ChainUnavailableError:
    return ChainUnavailableError(f"{network} was not asked ({type(error).__name__}).")


def _known(states: Sequence[TxState]) -> int:
    return sum(state is not TxState.UNKNOWN for state in states)


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
