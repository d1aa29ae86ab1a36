"""What metrics read of a running server, and what is counted when a session ends: nothing for each update."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from ws402.observability import metrics
from ws402.protocol import EndReason, RejectCode

if TYPE_CHECKING:
    from ws402.server.sessions.service import Sessions
    from ws402.server.sessions.session import Session


def observe(sessions: Sessions) -> ExitStack:
    """Show this server in the metrics until the answer is closed."""
    bound = ExitStack()
    for gauge, read in (
        (metrics.SESSIONS_ACTIVE, lambda: len(sessions.live)),
        (metrics.SOCKETS_UNPAID, lambda: len(sessions.waiting)),
        (metrics.SETTLEMENTS_WAITING, lambda: sessions.settler.waiting),
        (metrics.USAGE_UPDATES, lambda: sessions.updates),
    ):
        bound.callback(gauge.bind(lambda read=read: [((), read())]))  # type: ignore[misc]
    for reason in EndReason:
        metrics.SESSIONS_ENDED.ready(reason.value)
    for code in RejectCode:
        metrics.PROOFS_REFUSED.ready(code.value)
    for counter in (
        metrics.SESSIONS_OPENED,
        metrics.SESSIONS_RESUMED,
        metrics.METERED_SECONDS,
        metrics.TRANSFERRED_BYTES,
        metrics.MESSAGES,
    ):
        counter.ready()
    return bound


def count_end(session: Session, reason: EndReason, now: int) -> None:
    """A session ended or left at `now`, its meter stopped."""
    milliseconds, units, size, messages = session.metered_from
    meter = session.meter
    metrics.SESSIONS_ENDED.inc(reason.value)
    metrics.METERED_SECONDS.inc(by=max(0, meter.elapsed_ms(now) - milliseconds) / 1000)
    metrics.METERED_UNITS.inc(session.network or "", session.asset or "", by=max(0, meter.consumed(now) - units))
    metrics.TRANSFERRED_BYTES.inc(by=session.bytes_transferred - size)
    metrics.MESSAGES.inc(by=session.message_count - messages)
