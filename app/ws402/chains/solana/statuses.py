"""Where many signatures stand, by few questions: those asked for at the same time travel in one call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ws402.chains.base import ChainUnavailableError, TxState
from ws402.chains.solana.reader import MOST_STATUSES

log = logging.getLogger(__name__)


class Statuses:
    """Asks by `ask`, for the states of several. Says nothing of success: a failed transaction has a status, too."""

    def __init__(self, network: str, ask: Callable[[Sequence[str]], Awaitable[list[TxState]]]) -> None:
        self._network = network
        self._states = ask
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
            batch = {tx: self._waiting[tx] for tx in list(self._waiting)[:MOST_STATUSES]}
            for tx in batch:
                del self._waiting[tx]
            try:
                states = await self._states(list(batch))
            except BaseException as error:
                # Whatever happened, a closed client for one: nobody may wait for ever.
                told = error if isinstance(error, ChainUnavailableError) else _not_asked(self._network, error)
                for future in batch.values():
                    future.set_exception(told)
                    future.exception()  # whoever asked may be gone
                if not isinstance(error, Exception):
                    raise
                if told is not error:
                    log.exception("%s: signatures cannot be asked for", self._network)
                continue
            for future, state in zip(batch.values(), states, strict=True):
                future.set_result(state)


def _not_asked(network: str, error: BaseException) -> ChainUnavailableError:
    return ChainUnavailableError(f"{network} was not asked ({type(error).__name__}).")
