"""Direct look-ups of transactions that proofs name, for what the watcher has not seen: few, whatever strangers show.

The watcher records plain transfers by itself. A look-up finds what it cannot see: money moved by a contract, failed
transactions, transfers to somebody else. All who wait for one transaction share it. Whether it is on the chain at all
is asked for many together: once when it is first named, then when blocks have come, more and more rarely, and for only
so many in each block. Only what is there is looked up, by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import select

from ws402.chains.base import Chain, ChainUnavailableError, TransferLookup, TxState
from ws402.errors import RateLimitedError
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.statements import one_of
from ws402.gateway.ledger.tables import transfers
from ws402.gateway.watch.watcher import Watcher

log = logging.getLogger(__name__)

PER_INVOICE: Final = 16
"""Different proofs that may be shown for one invoice before the chain is asked no more about it."""

ASKED_PER_BLOCK: Final = 128
"""Transactions of which a network is asked in the time of one block; the others wait for the next, those asked for
least first.
"""

PER_BLOCK: Final = 32
"""Look-ups that one block causes on a network; the others wait for the next."""

AT_ONCE: Final = 8
"""Look-ups under way at a time on a network; above, a new one waits for a block as well."""

AGAIN_SECONDS: Final = 1.0
"""The chain is asked again after this long when it could not be asked."""

REMEMBERED: Final = 20_000
"""Invoices and finished look-ups that are remembered, each."""


class Sought(NamedTuple):
    """A transaction that somebody waits for. Above a limit of `amount` endpoints must agree; with `agree`, that is all
    that is asked, for its transfers are in the ledger already.
    """

    network: str
    tx: str
    amount: int
    agree: bool


@dataclass(slots=True, eq=False)
class _Search:
    sought: Sought
    waiters: set[asyncio.Future[TransferLookup | None]] = field(default_factory=set)
    looks: int = 0
    due: int = 0
    """The block from which on it is sought again."""
    there: bool = False
    """It is on the chain, as far as is known: it is to be looked up."""
    running: bool = False
    """It is asked for, or looked up."""
    error: ChainUnavailableError | None = None
    """Why the last question failed."""


@dataclass(slots=True, eq=False)
class _Desk:
    """What is under way on one network."""

    running: int = 0
    """Look-ups."""
    asked: int = 0
    """Transactions that were asked for since the last block."""
    queue: list[_Search] = field(default_factory=list)
    """To be asked for."""
    asking: bool = False


class LookUps:
    """Those of one gateway."""

    def __init__(self, database: Database, chains: Mapping[str, Chain], watcher: Watcher) -> None:
        self._database = database
        self._chains = chains
        self._watcher = watcher
        self._searches: dict[Sought, _Search] = {}
        self._desks = {network: _Desk() for network in chains}
        self._finished: OrderedDict[Sought, tuple[int, TransferLookup | None]] = OrderedDict()
        """What the last look-ups answered, at which block: the same question has the same answer until the next."""
        self._shown: OrderedDict[str, set[str]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        watcher.on_block.append(self._block)
        watcher.on_recorded.append(self._recorded)

    @property
    def waiting(self) -> int:
        """Transactions that are waited for."""
        return len(self._searches)

    async def close(self) -> None:
        """Stop looking."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spend(self, invoice: str, proof: str) -> None:
        """One more proof is shown for this invoice, of which the chain must be asked. Raises RateLimitedError when
        there were too many different ones.
        """
        shown = self._shown.setdefault(invoice, set())
        self._shown.move_to_end(invoice)
        if proof not in shown and len(shown) >= PER_INVOICE:
            raise RateLimitedError(
                f"More than {PER_INVOICE} different proofs were shown for this invoice.",
                retry_after=60,
                remedy="Show the transaction that paid it, or ask for a new invoice.",
            )
        shown.add(proof)
        if len(self._shown) > REMEMBERED:
            self._shown.popitem(last=False)

    async def wait(self, sought: Sought, deadline: float) -> TransferLookup | None:
        """What the chain says of a transaction, by the loop's clock at the latest at `deadline`.

        None: its transfers are in the ledger. Raises TimeoutError while it is not on the chain, and
        ChainUnavailableError when the chain could not be asked.
        """
        at, known = self._finished.get(sought, (-1, None))
        fresh = known is not None and at >= self._height(sought.network)
        if known is not None and fresh and known.state not in (TxState.UNKNOWN, TxState.PENDING):
            return known
        search = self._searches.get(sought)
        if search is None:
            search = self._searches[sought] = _Search(sought, there=sought.agree)
            if fresh:
                search.looks, search.due = 1, at + 1
            else:
                self._seek(search)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[TransferLookup | None] = loop.create_future()
        search.waiters.add(future)
        try:
            await asyncio.wait([future], timeout=max(deadline - loop.time(), 0))
            if future.done():  # what is there counts, however late it is seen
                return future.result()
            if search.error is not None:
                raise search.error
            raise TimeoutError
        finally:
            search.waiters.discard(future)
            if not search.waiters:
                self._searches.pop(sought, None)

    def _height(self, network: str) -> int:
        return self._watcher.heads.get(network, -1)

    def _block(self, network: str) -> None:
        """A block has come: seek again what is due, at first in the ledger, where others may have recorded it."""
        self._desks[network].asked = 0
        mine = [search for search in self._searches.values() if search.sought.network == network]
        if mine:
            self._spawn(self._again(network, mine))

    async def _again(self, network: str, searches: list[_Search]) -> None:
        try:
            async with self._database.read() as connection:
                query = select(transfers.c.tx).where(
                    transfers.c.network == network,
                    one_of(transfers.c.tx, {search.sought.tx for search in searches}),
                )
                recorded = set((await connection.execute(query)).scalars())
        except Exception as error:  # noqa: BLE001 - the chain is asked all the same
            log.warning("recorded transfers cannot be read: %s", error)
            recorded = set()
        height = self._height(network)
        due = []
        for search in searches:
            if search.sought.tx in recorded and not search.sought.agree:
                self._answer(search, None)
            elif search.due <= height and not search.running and search.waiters:
                due.append(search)
        due.sort(key=lambda search: search.looks)
        for search in [search for search in due if search.there][:PER_BLOCK]:
            self._begin(search)
        for search in due:
            if not search.there:
                self._ask(search)

    def _seek(self, search: _Search) -> None:
        """Ask for it now, if there is room; else with the next block."""
        if not search.there:
            self._ask(search)
        elif self._desks[search.sought.network].running < AT_ONCE:
            self._begin(search)
        else:
            search.due = 0

    def _ask(self, search: _Search) -> None:
        """Ask whether it is on the chain, together with all that want to know at this moment."""
        desk = self._desks[search.sought.network]
        if desk.asked >= ASKED_PER_BLOCK:
            search.due = 0
            return
        desk.asked += 1
        search.running = True
        desk.queue.append(search)
        if not desk.asking:
            desk.asking = True
            self._spawn(self._asking(search.sought.network, desk))

    async def _asking(self, network: str, desk: _Desk) -> None:
        try:
            while desk.queue:
                await asyncio.sleep(0)  # so that those of this moment come together
                searches, desk.queue = desk.queue, []
                await self._states(network, searches)
        finally:
            desk.asking = False

    async def _states(self, network: str, searches: list[_Search]) -> None:
        height = self._height(network)
        try:
            states = await self._chains[network].states([search.sought.tx for search in searches])
        except Exception as error:  # noqa: BLE001 - logged there
            unavailable = self._unavailable(network, error)
            self._desks[network].asked -= min(len(searches), self._desks[network].asked)  # nothing was learnt
            for search in searches:
                search.running = False
                self._later(search, unavailable)
            return
        for search, state in zip(searches, states, strict=True):
            search.running, search.error = False, None
            if state is TxState.INCLUDED:
                search.there = True
                self._seek(search)
            else:
                self._absent(search, height, state)

    def _absent(self, search: _Search, height: int, state: TxState) -> None:
        """It is in no block at this height."""
        search.there = search.sought.agree
        search.looks += 1
        later = 1 if state is TxState.PENDING else int(2 ** min(search.looks - 1, 5))
        search.due = height + later
        self._finish(search.sought, height, TransferLookup(state=state))

    def _finish(self, sought: Sought, height: int, found: TransferLookup) -> None:
        self._finished[sought] = height, found
        self._finished.move_to_end(sought)
        if len(self._finished) > REMEMBERED:
            self._finished.popitem(last=False)

    def _begin(self, search: _Search) -> None:
        search.running = True
        self._desks[search.sought.network].running += 1
        self._spawn(self._look(search))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self, search: _Search) -> None:
        network, tx, amount, _ = search.sought
        height = self._height(network)
        try:
            found = await self._chains[network].lookup(tx, amount=amount)
            if found.transfers:
                await self._watcher.record(found.transfers)
                self._watcher.wake(network)  # it may be in a block that is newer than what was seen
        except Exception as error:  # noqa: BLE001 - logged there
            self._later(search, self._unavailable(network, error))
        else:
            search.error = None
            if found.state in (TxState.PENDING, TxState.UNKNOWN):
                self._absent(search, height, found.state)
            else:
                self._answer(search, found)
                self._finish(search.sought, height, found)
        finally:
            search.running = False
            self._desks[network].running -= 1

    def _unavailable(self, network: str, error: Exception) -> ChainUnavailableError:
        if isinstance(error, ChainUnavailableError):
            return error
        log.error("looking up a transaction on %s failed", network, exc_info=error)
        return ChainUnavailableError(f"{network}: {type(error).__name__}")

    def _later(self, search: _Search, error: ChainUnavailableError) -> None:
        """The chain could not be asked: ask again soon, for it may be back before it makes a block."""
        search.error = error
        asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._retry, search)

    def _retry(self, search: _Search) -> None:
        if search.waiters and not search.running and not self._closed:
            self._seek(search)

    def _recorded(self, network: str, txs: set[str]) -> None:
        for sought, search in self._searches.items():
            if sought.network == network and sought.tx in txs and not sought.agree:
                self._answer(search, None)

    def _answer(self, search: _Search, found: TransferLookup | None) -> None:
        for future in search.waiters:
            if not future.done():
                future.set_result(found)
