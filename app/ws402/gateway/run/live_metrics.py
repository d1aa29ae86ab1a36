"""What metrics read of a running gateway at each scrape: numbers in memory. The ledger's come from `LedgerMetrics`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from ws402.observability import metrics
from ws402.observability.instruments import Labels
from ws402.protocol import EndReason, RejectCode

if TYPE_CHECKING:
    from ws402.chains.base import EndpointState
    from ws402.gateway.refunds import RefundEngine
    from ws402.gateway.refunds.key_context import KeyContext
    from ws402.gateway.service import PaymentService
    from ws402.keys.keeper import Keeper

Numbers = Iterable[tuple[Labels, float]]

_OWN: Final = ("refunds_final", "refunds_held", "refunds_credited", "refunds_returned")
"""Counters of the engine that have a metric of their own."""


_BY_ASSET: Final = (
    metrics.PAYMENTS_VERIFIED,
    metrics.PAYMENT_VOLUME,
    metrics.REFUNDS_ISSUED,
    metrics.UNCLAIMED_RETURNED,
    metrics.UNCLAIMED_NAMELESS,
)
"""Counters that show 0 for every asset from the start on."""


def observe(service: PaymentService, engine: RefundEngine) -> ExitStack:
    """Show this gateway in the metrics until the answer is closed."""
    bound = ExitStack()
    for gauge, source in (
        (metrics.PAYMENTS_VERIFIED, service.verifier.verified_by.items),
        (metrics.PAYMENT_VOLUME, service.verifier.volume.items),
        (metrics.PAYMENTS_REJECTED, lambda: _by(service.verifier.rejected)),
        (metrics.COLLECTIONS, service.collector.answers.items),
        (metrics.BATCH_QUEUE, lambda: [((each.name,), each.waiting) for each in service.batchers]),
        (metrics.CHAIN_UP, lambda: [((name,), float(name not in service.watcher.errors)) for name in service.chains]),
        (metrics.CHAIN_HEAD, lambda: _by(service.watcher.heads)),
        (metrics.CHAIN_FINAL, lambda: _by(service.watcher.finals)),
        (metrics.CHAIN_LAG, lambda: _lags(service.watcher.head_times)),
        (metrics.ENDPOINT_BEHIND, lambda: _endpoints(service, lambda each: each.behind)),
        (metrics.ENDPOINT_LAGGING, lambda: _endpoints(service, lambda each: float(each.lagging))),
        (metrics.CHAIN_REORGS, lambda: _by(service.watcher.reorgs_by)),
        (metrics.CONNECTIONS, lambda: [((), service.database.connections_used)]),
        (metrics.LEDGER_BYTES, lambda: _volume(service, 0)),
        (metrics.VOLUME_FREE, lambda: _volume(service, 1)),
        (metrics.VOLUME_SIZE, lambda: _volume(service, 2)),
        (metrics.REFUND_TRANSACTIONS, lambda: _events(engine)),
        (metrics.REFUNDS_DELIVERED, lambda: _events(engine, "refunds_final")),
        (metrics.REFUNDS_FAILED, lambda: _events(engine, "refunds_held")),
        (metrics.REFUNDS_CREDITED, lambda: _events(engine, "refunds_credited")),
        (metrics.LEASE_HELD, lambda: _contexts(engine, lambda context: float(context.lease.held))),
        (metrics.SIGNER_PAUSED, lambda: _held(engine, lambda context: float(context.condition.paused is not None))),
        (metrics.LEDGER_RESTORED, lambda: _held(engine, lambda context: float(context.condition.restored))),
        (metrics.NONCE_GAPS, lambda: _held(engine, lambda context: context.condition.nonce_gaps)),
        (metrics.SIGNER_SHORT, lambda: _assets(engine, lambda context, asset: context.condition.short.get(asset, 0))),
        (
            metrics.SIGNER_LIMITED,
            lambda: _assets(engine, lambda context, asset: float(asset in context.condition.limited)),
        ),
    ):
        bound.callback(gauge.bind(source))
    _show_zeros(service)
    return bound


def _volume(service: PaymentService, which: int) -> Numbers:
    found = service.database.volume()
    return [] if found is None else [((), found[which])]


def _endpoints(service: PaymentService, value: Callable[[EndpointState], float]) -> Numbers:
    return [((name, each.name), value(each)) for name, chain in service.chains.items() for each in chain.endpoints()]


def observe_secrets(keeper: Keeper) -> ExitStack:
    """Show a gateway's source of secrets in the metrics until the answer is closed."""
    bound, counters = ExitStack(), keeper.counters
    for gauge, source in (
        (metrics.VAULT_LOGINS, lambda: [(("ok",), counters.logins), (("error",), counters.logins_failed)]),
        (metrics.VAULT_RENEWALS, lambda: [(("ok",), counters.renewals), (("error",), counters.renewals_failed)]),
        (metrics.VAULT_REMAINING, lambda: _remaining(counters.token_ends)),
        (metrics.SECRET_VERSION, lambda: _by(keeper.snapshot.versions)),
        (metrics.SECRET_AGE, lambda: _by({name: time.time() - at for name, at in keeper.snapshot.made.items()})),
        (metrics.SECRET_CHECKED, lambda: _by(dict.fromkeys(keeper.snapshot.versions, keeper.age))),
        (metrics.SECRET_FAILURES, lambda: _by(dict(counters.failures))),
    ):
        bound.callback(gauge.bind(source))
    return bound


def _remaining(ends: float | None) -> Numbers:
    return [] if ends is None else [((), max(0.0, ends - time.monotonic()))]


def _show_zeros(service: PaymentService) -> None:
    """Series that begin at 0 now: a first event must be seen as a rise."""
    for code in RejectCode:
        metrics.PAYMENTS_REJECTED.ready(code.value)
    for reason in EndReason:
        metrics.SESSIONS_SETTLED.ready(reason.value)
    metrics.AUDIT_FAILURES.ready()
    for network in service.collector.workers:
        for state in ("open", "known", "pending", "refused", "failed"):
            metrics.COLLECTIONS.ready(network, state)
    for network, chain in service.chains.items():
        metrics.PAYMENT_OPEN_SECONDS.of(network)
        metrics.REFUND_DELIVERY_SECONDS.of(network)
        metrics.CHAIN_REORGS.ready(network)
        for asset in chain.assets:
            for counter in _BY_ASSET:
                counter.ready(network, asset)


def _by(numbers: Mapping[str, float]) -> Iterator[tuple[Labels, float]]:
    return (((name,), number) for name, number in numbers.items())


def _lags(times: Mapping[str, int]) -> Numbers:
    now = time.time()
    return [((network,), max(0.0, now - at / 1000)) for network, at in times.items()]


def _events(engine: RefundEngine, only: str | None = None) -> Iterator[tuple[Labels, float]]:
    for network, worker in engine.workers.items():
        for name, total in asdict(worker.context.counters).items():
            if only is None and name not in _OWN:
                yield (network, name), total
            elif name == only:
                yield (network,), total


def _contexts(engine: RefundEngine, read: Callable[[KeyContext], float]) -> Iterator[tuple[Labels, float]]:
    return (((network,), read(worker.context)) for network, worker in engine.workers.items())


def _held(engine: RefundEngine, read: Callable[[KeyContext], float]) -> Iterator[tuple[Labels, float]]:
    """Of the keys that this process holds: what it knows of the others is old."""
    return (
        ((network,), read(worker.context)) for network, worker in engine.workers.items() if worker.context.lease.held
    )


def _assets(engine: RefundEngine, read: Callable[[KeyContext, str], float]) -> Iterator[tuple[Labels, float]]:
    for network, worker in engine.workers.items():
        if worker.context.lease.held:
            for asset in worker.context.chain.assets:
                yield (network, asset), read(worker.context, asset)
