"""Figures of the ledger for metrics, counted on a timer and never while somebody scrapes.

Only the gateway that holds a network's signing key counts and audits that network: replicas add no load. The holder
changes; what a former one counted is cleared, so that a sum over replicas counts nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import RefundOrder
from ws402.errors import WS402Error
from ws402.gateway.books.balance_check import audit
from ws402.gateway.collect.register import UNDECIDED
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import Balances, balances
from ws402.gateway.ledger.states import GOING_ON, UNFINISHED, RefundState
from ws402.gateway.ledger.tables import authorizations, entries, invoices, payments, refunds, sessions
from ws402.gateway.refunds.engine import RefundEngine
from ws402.gateway.refunds.key_context import KeyContext
from ws402.gateway.service import PaymentService
from ws402.jobs import Job, Jobs
from ws402.observability import metrics
from ws402.observability.instruments import Gauge, Labels

log = logging.getLogger(__name__)

Shown = dict[Gauge, dict[Labels, float]]

FIRST_SECONDS: Final = 1.0
"""The first count waits this long: by then the leases are had, here or by another gateway."""

SETTLED_MS: Final = 300_000
"""Entries older than this are all committed: no transaction of ours takes as long."""


PLAIN_SENDS: Final = 5
"""A signed transfer takes some five times the gas of sending coins; used until the collector has sent one."""


class Books:
    """The accounts' balances, cheaply: what old entries sum up to is remembered, only the newer are summed anew."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """`now_ms`: the ledger's clock."""
        self._sums: Balances = {}
        self._through = 0
        self._now_ms = now_ms
        self._lock = asyncio.Lock()

    async def read(self, connection: AsyncConnection) -> Balances:
        """What every account holds."""
        async with self._lock:
            return await self._read(connection)

    async def _read(self, connection: AsyncConnection) -> Balances:
        old = select(func.max(entries.c.id)).where(
            entries.c.id > self._through, entries.c.created_at < self._now_ms() - SETTLED_MS
        )
        through = (await connection.execute(old)).scalar()
        if through is not None:
            grown = await balances(connection, entries.c.id.between(self._through + 1, through))
            self._sums = _added(self._sums, grown)
            self._through = through
        return _added(self._sums, await balances(connection, entries.c.id > self._through))


def _added(left: Balances, right: Balances) -> Balances:
    return {key: left.get(key, 0) + right.get(key, 0) for key in left.keys() | right.keys()}


class LedgerMetrics:
    """Counts for one gateway, from `start` to `close`."""

    def __init__(self, service: PaymentService, engine: RefundEngine) -> None:
        self._service = service
        self._engine = engine
        self._database: Database = service.database
        self._books = Books(self._database.now_ms)
        settings = service.settings
        counting = Job("count the ledger", self.count, settings.ledger_metrics_seconds, delay=FIRST_SECONDS)
        auditing = Job("audit", self.audit, settings.audit_seconds, delay=FIRST_SECONDS)
        self.jobs = Jobs((counting, auditing))
        self._shown: dict[Gauge, set[Labels]] = {}

    async def start(self) -> None:
        """Begin."""
        self.jobs.start()

    async def close(self) -> None:
        """End."""
        await self.jobs.close()

    async def count(self) -> None:
        """Count what is open on the networks whose keys this gateway holds."""
        contexts = self._held()
        shown: Shown = {gauge: {} for gauge in _COUNTED}
        if contexts:
            async with self._database.read() as connection:
                now = self._database.now_ms()
                await _count(connection, list(contexts), shown, now)
                for context in contexts.values():
                    await _unconsidered(connection, context, shown, now)
                for (account, network, asset), held in (await self._books.read(connection)).items():
                    if network in contexts:
                        shown[metrics.ACCOUNT_UNITS][network, asset, account] = held
        await self._collecting(shown)
        for context in contexts.values():
            try:
                await _look_at(context, shown)
            except WS402Error as error:  # what the ledger says must be shown all the same
                log.warning("%s: the refund key's account could not be read: %s", context.network, error)
        for gauge, values in shown.items():
            self._show(gauge, values)

    async def _collecting(self, shown: Shown) -> None:
        """What waits to be collected by the keys that this gateway holds, and what their accounts pay for."""
        workers = self._service.collector.workers
        contexts = {name: each.context for name, each in workers.items() if each.context.lease.held}
        if not contexts:
            return
        waiting = (
            select(
                authorizations.c.network,
                func.count().label("total"),
                func.min(authorizations.c.created_at).label("oldest"),
            )
            .where(authorizations.c.network.in_(contexts), authorizations.c.state.in_(UNDECIDED))
            .group_by(authorizations.c.network)
        )
        for network in contexts:
            shown[metrics.COLLECTIONS_WAITING][(network,)] = shown[metrics.COLLECTION_OLDEST][(network,)] = 0
        async with self._database.read() as connection:
            for row in await connection.execute(waiting):
                shown[metrics.COLLECTIONS_WAITING][(row.network,)] = row.total
                age = max(0, self._database.now_ms() - row.oldest) / 1000
                shown[metrics.COLLECTION_OLDEST][(row.network,)] = age
        for network, context in contexts.items():
            try:
                held = await context.chain.balance(context.address, context.chain.native)
                cost = context.condition.delivery_cost or PLAIN_SENDS * await _plain_send(context)
            except WS402Error as error:
                log.warning("%s: the collector's account could not be read: %s", network, error)
                continue
            shown[metrics.COLLECTOR_BALANCE][(network,)] = held
            shown[metrics.COLLECTOR_PAYABLE][(network,)] = held // max(1, cost)

    async def audit(self) -> None:
        """Compare the books with the chains whose keys this gateway holds."""
        contexts = self._held()
        shown: dict[Labels, float] = {}
        if contexts:
            chains = {network: self._service.chains[network] for network in contexts}
            try:
                lines = await audit(self._database, chains, self._service.addresses, self._books.read)
            except (WS402Error, OSError):
                metrics.AUDIT_FAILURES.inc()
                raise
            for line in lines:
                differences = (line.difference, line.escrow_difference, line.owed_difference)
                for check, difference in zip(("chain", "escrow", "owed"), differences, strict=True):
                    shown[line.network, line.asset, check] = abs(difference)
                shown[line.network, line.asset, "sign"] = sum(line.below_zero.values())
                if not line.clean:
                    log.error(
                        "the books of %s on %s do not balance: %s, below zero: %s",
                        *(line.asset, line.network, differences, line.below_zero),
                    )
            metrics.AUDIT_TIME.set(time.time())
        self._show(metrics.IMBALANCE, shown)

    def _held(self) -> dict[str, KeyContext]:
        return {name: each.context for name, each in self._engine.workers.items() if each.context.lease.held}

    def _show(self, gauge: Gauge, values: dict[Labels, float]) -> None:
        for labels in self._shown.get(gauge, set()) - values.keys():
            gauge.clear(*labels)
        for labels, value in values.items():
            gauge.set(value, *labels)
        self._shown[gauge] = set(values)


_COUNTED: Final = (
    metrics.INVOICES_OPEN,
    metrics.LEDGER_SESSIONS,
    metrics.REFUNDS_OPEN,
    metrics.REFUND_OLDEST,
    metrics.REFUND_UNCONSIDERED,
    metrics.ACCOUNT_UNITS,
    metrics.SIGNER_BALANCE,
    metrics.SIGNER_PAYABLE,
    metrics.COLLECTIONS_WAITING,
    metrics.COLLECTION_OLDEST,
    metrics.COLLECTOR_BALANCE,
    metrics.COLLECTOR_PAYABLE,
)


async def _count(connection: AsyncConnection, networks: list[str], shown: Shown, now: int) -> None:
    for network in networks:
        shown[metrics.INVOICES_OPEN][(network,)] = 0
        for state in GOING_ON:
            shown[metrics.LEDGER_SESSIONS][network, state] = 0
        for unfinished_state in UNFINISHED:
            shown[metrics.REFUNDS_OPEN][network, unfinished_state] = 0
            shown[metrics.REFUND_OLDEST][network, unfinished_state] = 0
    paid = select(payments.c.id).where(payments.c.invoice_id == invoices.c.id).exists()
    unpaid = (
        select(invoices.c.network, func.count().label("total"))
        .where(invoices.c.network.in_(networks), invoices.c.expires_at > now, ~paid)
        .group_by(invoices.c.network)
    )
    for row in await connection.execute(unpaid):
        shown[metrics.INVOICES_OPEN][(row.network,)] = row.total
    going_on = (
        select(sessions.c.network, sessions.c.state, func.count().label("total"))
        .where(sessions.c.network.in_(networks), sessions.c.state.in_(GOING_ON))
        .group_by(sessions.c.network, sessions.c.state)
    )
    for row in await connection.execute(going_on):
        shown[metrics.LEDGER_SESSIONS][row.network, row.state] = row.total
    unfinished = (
        select(
            refunds.c.network,
            refunds.c.state,
            func.count().label("total"),
            func.min(refunds.c.created_at).label("oldest"),
        )
        .where(refunds.c.network.in_(networks), refunds.c.state.in_(UNFINISHED))
        .group_by(refunds.c.network, refunds.c.state)
    )
    for row in await connection.execute(unfinished):
        shown[metrics.REFUNDS_OPEN][row.network, row.state] = row.total
        shown[metrics.REFUND_OLDEST][row.network, row.state] = max(0, now - row.oldest) / 1000


async def _unconsidered(connection: AsyncConnection, context: KeyContext, shown: Shown, now: int) -> None:
    """What is due and was not looked at: the passes stand still, or somebody keeps others from their turn."""
    for asset in context.chain.assets:
        considered = context.condition.considered.get(asset, 0)
        since = select(func.min(refunds.c.updated_at)).where(
            refunds.c.network == context.network,
            refunds.c.asset == asset,
            refunds.c.state == RefundState.DUE,
            refunds.c.updated_at > considered,
        )
        oldest = (await connection.execute(since)).scalar()
        shown[metrics.REFUND_UNCONSIDERED][context.network, asset] = max(0, now - (oldest or now)) / 1000


async def _plain_send(context: KeyContext) -> int:
    """What sending the network's coin costs now."""
    order = RefundOrder(recipient=context.address, asset=context.chain.native, amount=1, memo="")
    return await context.chain.estimate_fee(order, context.address)


async def _look_at(context: KeyContext, shown: Shown) -> None:
    """What a key's account holds, and how many deliveries that pays."""
    held = {asset: await context.chain.balance(context.address, asset) for asset in context.chain.assets}
    for asset, amount in held.items():
        shown[metrics.SIGNER_BALANCE][context.network, asset] = amount
    cost = context.condition.delivery_cost
    if cost is None:
        try:
            cost = await _plain_send(context)
        except WS402Error as error:
            log.debug("%s: what a delivery costs is not known yet: %s", context.network, error)
    if cost:
        shown[metrics.SIGNER_PAYABLE][(context.network,)] = held[context.chain.native] // cost
