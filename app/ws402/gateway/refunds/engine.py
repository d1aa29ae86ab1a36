"""The refund engine: one worker a network, active in the process that holds the lease of the network's key."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import func, select

from ws402.chains.base import Chain
from ws402.errors import ConfigurationError
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.states import MOVING, UNDECIDED, UNFINISHED
from ws402.gateway.ledger.tables import deliveries, refunds
from ws402.gateway.refunds.deliver import Deliverer
from ws402.gateway.refunds.key_context import Counters, KeyContext
from ws402.gateway.refunds.key_worker import KeyWorker
from ws402.gateway.refunds.lease import Lease
from ws402.gateway.refunds.policy import Policy, policies
from ws402.gateway.refunds.promote import Promoter
from ws402.keys.base import Signer
from ws402.settings import GatewaySettings

log = logging.getLogger(__name__)

GATHER_SECONDS: Final = 0.05
"""After news, so that a burst of debts is one look."""

TELL_SECONDS: Final = 60.0

COUNT_SECONDS: Final = 5.0
"""How often unfinished refunds are counted."""


class Worker(KeyWorker):
    """Delivers one network's refunds with one key.

    `retiring`: the key was rotated. What it signed is seen through, with higher fees and nonces filled where needed;
    new refunds are the new key's; `finished` is called when nothing is left to see through.
    """

    def __init__(
        self, context: KeyContext, interval: float, finished: Callable[[Worker], None], *, retiring: bool = False
    ) -> None:
        name = f"refunds {context.network}" + (" of an earlier key" if retiring else "")
        super().__init__(context, name, interval, gather=min(GATHER_SECONDS, interval))
        self.finished = finished
        self.retiring = retiring
        self.linger_until = 0.0
        """By the monotonic clock: until then another process may go on signing with a key that is retired here."""
        self._promoter = Promoter(context)
        self._deliverer = Deliverer(context, self._sender)
        self._counted = self._told = float("-inf")

    async def step(self) -> None:
        """See `KeyWorker.step`."""
        head, line = await self._reconciler.run()
        if line.restored:
            self._tell_restored()
            return
        await self._mender.run(line)
        if self.retiring:
            return
        await self._promoter.run(head)
        await self._deliverer.run()
        if time.monotonic() - self._counted >= COUNT_SECONDS:
            await self.count()

    def _tell_restored(self) -> None:
        """Once a minute: nobody may overlook why refunds wait."""
        if time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            log.critical("%s: no refund is signed: %s", self.context.network, self.context.condition.paused)

    async def done(self) -> bool:
        """Whether the key is retired and nothing that it signed is unfinished, here or in another process."""
        if not self.retiring or time.monotonic() < self.linger_until:
            return False
        mine = (deliveries.c.network == self.context.network) & (deliveries.c.signer == self.context.address)
        open_ = select(deliveries.c.id).where(mine, deliveries.c.state.in_(UNDECIDED)).limit(1)
        async with self.context.database.begin() as connection:
            return (await connection.execute(open_)).first() is None and self.retiring

    async def count(self) -> None:
        """Count unfinished refunds, for metrics."""
        mine = refunds.c.network == self.context.network
        query = (
            select(refunds.c.state, func.count().label("total"), func.min(refunds.c.created_at).label("oldest"))
            .where(mine, refunds.c.state.in_(UNFINISHED))
            .group_by(refunds.c.state)
        )
        async with self.context.database.begin() as connection:
            rows = (await connection.execute(query)).all()
        self.context.condition.states = {row.state: row.total for row in rows}
        self.context.condition.oldest_ms = min((row.oldest for row in rows if row.state in MOVING), default=None)
        self._counted = time.monotonic()

    async def turn(self) -> None:
        """See `KeyWorker.turn`; a retired key that is done is told by `finished`."""
        if await self._turn() and await self.done():
            self.finished(self)


class RefundEngine:
    """Delivers the refunds that are recorded in the ledger: each exactly once, whatever fails.

    Any number of processes may run one over the same ledger; `holder_id` names this one in the ledger. `rules`
    overrides what `settings` say for a network. A network without a signer keeps its refunds until it has one.
    Raises ConfigurationError for limits on unknown assets: a typo must not lift a limit.
    """

    def __init__(
        self,
        database: Database,
        chains: Mapping[str, Chain],
        signers: Mapping[str, Signer],
        settings: GatewaySettings,
        holder_id: str,
        *,
        rules: Mapping[str, Policy] | None = None,
    ) -> None:
        self._counters: dict[str, Counters] = {network: Counters() for network in chains}
        self.workers: dict[str, Worker] = {}
        self.retiring: list[Worker] = []
        """Workers of keys that were rotated, until what they signed is done."""
        self.on_retired: Callable[[str, Signer], None] | None = None
        self._database = database
        self._chains = chains
        self._settings = settings
        self._holder = holder_id
        self._closing: set[asyncio.Task[None]] = set()
        self._policies = policies(settings, chains) | dict(rules or {})
        for network, chain in chains.items():
            if network not in signers:
                log.warning("%s has no refund key: its refunds wait", network)
                continue
            policy = self._policies.get(network, Policy())
            if unknown := sorted({*policy.min_refund, *policy.hourly_limit} - set(chain.assets)):
                raise ConfigurationError(
                    f"{network} has refund limits for unknown assets: {', '.join(unknown)}.",
                    remedy=f"Use {', '.join(chain.assets)}.",
                )
            self.workers[network] = self._worker(network, signers[network])

    def _worker(self, network: str, signer: Signer, *, retiring: bool = False) -> Worker:
        chain = self._chains[network]
        address = chain.address_of(signer)
        context = KeyContext(
            database=self._database,
            chain=chain,
            signer=signer,
            address=address,
            lease=Lease(self._database, network, address, self._holder, self._settings.refund_lease_seconds),
            policy=self._policies.get(network, Policy()),
            counters=self._counters[network],
        )
        return Worker(context, self._settings.refund_interval_seconds, self._finished, retiring=retiring)

    async def start(self, missing: Collection[str] = ()) -> None:
        """Work in the background. The schema exists, and the chains are started, but for those that are `missing`."""
        for network, worker in self.workers.items():
            if network not in missing:
                worker.job.start()

    def join(self, network: str) -> None:
        """Work on a network that was missing at the start."""
        if network in self.workers:
            self.workers[network].job.start()

    def rotate(self, network: str, signer: Signer, *, linger: float = 0) -> None:
        """Sign new refunds of a network with another key from now on; the key before sees through what it signed.

        `linger`: for how many seconds other processes may sign with it still; it is kept for at least as long.
        """
        before = self.workers.get(network)
        address = self._chains[network].address_of(signer)
        if before is not None and before.context.address == address:
            before.context.signer = signer
            return
        again = next((each for each in self.retiring if each.context.address == address), None)
        if again is not None:  # rotated back
            self.retiring.remove(again)
            again.retiring = False
        worker = again or self._worker(network, signer)
        self.workers[network] = worker
        if before is not None:
            before.retiring, before.linger_until = True, time.monotonic() + linger
            self.retiring.append(before)
        if again is None:
            worker.job.start()
        log.warning("%s: new refunds are signed by %s", network, address)

    def retire(self, network: str, signer: Signer, *, linger: float = 0) -> None:
        """See through what an earlier key signed before this process started. `linger`: as for `rotate`."""
        worker = self._worker(network, signer, retiring=True)
        worker.linger_until = time.monotonic() + linger
        if all(each.context.address != worker.context.address for each in (*self.workers.values(), *self.retiring)):
            self.retiring.append(worker)
            worker.job.start()

    def _finished(self, worker: Worker) -> None:
        """A retired key is done: let go of it."""
        if worker not in self.retiring:
            return
        self.retiring.remove(worker)
        log.info("%s: all that %s signed is done", worker.context.network, worker.context.address)
        if self.on_retired is not None:
            self.on_retired(worker.context.network, worker.context.signer)
        closing = asyncio.create_task(worker.close(), name=f"retired {worker.context.address}")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Stop; what is under way goes on at the next start, here or in another process."""
        for worker in (*self.workers.values(), *self.retiring):
            await worker.close()
        await asyncio.gather(*self._closing)

    def check(self) -> None:
        """Readiness: raise JobDeadError when a network's refunds are not worked on any more."""
        for worker in (*self.workers.values(), *self.retiring):
            worker.job.check()

    def restored(self) -> list[str]:
        """Networks whose refunds wait, for the ledger is a restored copy, as far as this process knows."""
        return [name for name, worker in self.workers.items() if worker.context.condition.restored]

    @property
    def counters(self) -> Counters:
        """Events on all networks."""
        return sum(self._counters.values(), Counters())

    def wake(self) -> None:
        """There is a new debt: look now."""
        for worker in self.workers.values():
            worker.job.wake()

    async def run_once(self) -> None:
        """One pass over every network whose lease can be had, errors raised; for tests and operators."""
        for worker in self.workers.values():
            if await worker.context.lease.hold():
                await worker.step()
                await worker.count()

    def stats(self) -> dict[str, dict[str, Any]]:
        """By network: the key's address, whether this process holds it, and how its holder saw things last."""
        return {
            network: {
                "address": worker.context.address,
                "holds_lease": worker.context.lease.held,
                "retiring": [each.context.address for each in self.retiring if each.context.network == network],
                **asdict(worker.context.condition),
            }
            for network, worker in self.workers.items()
        }
