"""What is told at the end of a session: to its client, with close codes, to the server's owner, and to metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ws402.observability import metrics
from ws402.protocol import (
    EndReason,
    ErrorMessage,
    Message,
    PaymentRejected,
    SessionEnded,
    SettleRequest,
    SettleResponse,
)
from ws402.server.events import RefundIssued, SessionEnd

if TYPE_CHECKING:
    from ws402.server.sessions.session import Session

RESUME_LATER: Final = 4000
"""A client that closes with this code will resume on another socket: hand the session back instead of settling it."""
SUPERSEDED: Final = 4001
"""The session goes on on another socket; this one is closed."""


def settlement_news(request: SettleRequest, answer: SettleResponse) -> SessionEnded:
    """The last message of a session, once the gateway has settled it."""
    return SessionEnded(
        session_id=answer.session_id,
        reason=request.reason,
        paid_amount=answer.paid,
        consumed_amount=answer.consumed,
        refund_amount=answer.refund,
        refund_id=answer.refund_id,
        units=request.units,
    )


def lost(reason: EndReason | None) -> tuple[int, str, Message]:
    """Close code, its reason and what the client is told, when the gateway ended a session behind our back."""
    if reason is EndReason.REORGED:
        return 1008, "payment reversed", PaymentRejected(reason="The payment left the chain.", code=reason)
    if reason is EndReason.SUPERSEDED:
        return SUPERSEDED, "resumed elsewhere", ErrorMessage(code=reason, message="The session goes on elsewhere.")
    code = reason or "unknown_session"
    message = "The gateway has settled the session; what was not used is refunded."
    return 1000, "session ended", ErrorMessage(code=code, message=message)


def session_end(session: Session, reason: EndReason, now: int) -> SessionEnd:
    """The event of a session that ended at `now`."""
    return SessionEnd(
        session_id=session.id,
        user_id=session.user_id,
        resource_id=session.resource.settings.id,
        reason=reason,
        elapsed_ms=session.meter.elapsed_ms(now),
        paid=session.meter.paid,
        consumed=session.meter.consumed(now),
        bytes_transferred=session.bytes_transferred,
        message_count=session.message_count,
        units=dict(session.meter.units or {}),
    )


def refund_issued(session: Session, answer: SettleResponse) -> RefundIssued:
    """The event of a settlement with something left."""
    return RefundIssued(
        session_id=session.id,
        user_id=session.user_id,
        resource_id=session.resource.settings.id,
        amount=int(answer.refund),
        refund_id=answer.refund_id,
    )


def count_end(session: Session, reason: EndReason, now: int) -> None:
    """A session ended or left at `now`, its meter stopped."""
    milliseconds, units, size, messages = session.metered_from
    meter = session.meter
    metrics.SESSIONS_ENDED.inc(reason.value)
    metrics.METERED_SECONDS.inc(by=max(0, meter.elapsed_ms(now) - milliseconds) / 1000)
    metrics.METERED_UNITS.inc(session.network or "", session.asset or "", by=max(0, meter.consumed(now) - units))
    metrics.TRANSFERRED_BYTES.inc(by=session.bytes_transferred - size)
    metrics.MESSAGES.inc(by=session.message_count - messages)
