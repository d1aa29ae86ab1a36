"""What a client learns at the end of its session, and the close codes for it."""

from __future__ import annotations

from typing import Final

from ws402.protocol import (
    EndReason,
    ErrorMessage,
    Message,
    PaymentRejected,
    SessionEnded,
    SettleRequest,
    SettleResponse,
)

ABNORMAL: Final = 1006
"""RFC 6455 §7.4.1: the connection was lost without a close frame."""
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
