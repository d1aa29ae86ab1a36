"""What metrics read of a running server: nothing is done for each update."""

from __future__ import annotations

from contextlib import ExitStack

from ws402.observability import metrics
from ws402.protocol import EndReason, RejectCode
from ws402.server.sessions.service import Sessions


def observe(sessions: Sessions) -> ExitStack:
    """Show this server in the metrics until the answer is closed."""
    bound = ExitStack()
    for gauge, read in (
        (metrics.SESSIONS_ACTIVE, lambda: len(sessions.live)),
        (metrics.SOCKETS_UNPAID, lambda: len(sessions.waiting)),
        (metrics.SETTLEMENTS_WAITING, lambda: sessions.ends.waiting),
        (metrics.USAGE_UPDATES, lambda: sessions.session_context.updates),
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
