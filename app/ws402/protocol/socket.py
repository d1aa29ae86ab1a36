"""The WebSocket: what a client sends, and what a server sends."""

from __future__ import annotations

import msgspec

from ws402.money import WireAmount
from ws402.protocol.base import Count, EndReason, Message
from ws402.protocol.gateway import Proof
from ws402.protocol.prices import PriceTerms


class PaymentProofMessage(Message, kw_only=True, tag_field="type", tag="payment_proof"):
    """The proof that opens the session; again in a live session: a top-up.

    `traceparent` (W3C Trace Context) is for a client that wants its trace to go on here.
    """

    proof: Proof
    claim_token: str | None = None
    payer_signature: str | None = None
    traceparent: str | None = None


class ResumeMessage(Message, kw_only=True, tag_field="type", tag="resume"):
    """Go on with a session on a new socket."""

    token: str


class EndSessionMessage(Message, kw_only=True, tag_field="type", tag="end_session"):
    """End the session now and answer with `session_ended`."""


ClientMessage = PaymentProofMessage | ResumeMessage | EndSessionMessage


class SessionStarted(Message, kw_only=True, tag_field="type", tag="session_started"):
    """The session is open; metering began. `price` in full is what counts, `price_per_second` is rounded up."""

    session_id: str
    balance: WireAmount
    price_per_second: WireAmount
    resume_token: str | None = None
    max_session_duration: Count | None = None
    resumed: bool = False
    traceparent: str | None = None
    price: PriceTerms | None = None


class HttpAccessGranted(Message, kw_only=True, tag_field="type", tag="http_access_granted"):
    """Where and with what token the HTTP resource is to be had while the session lives."""

    http_token: str
    resource_url: str


class UsageUpdate(Message, kw_only=True, tag_field="type", tag="usage_update", omit_defaults=False):
    """Sent every update interval. Mutable, and reused by the ticker: one object for all sessions.

    `units`: how many of each unit that has a price, but time, were used.
    """

    session_id: str
    elapsed_seconds: Count
    consumed_amount: WireAmount
    remaining_balance: WireAmount
    bytes_transferred: Count
    message_count: Count
    units: dict[str, Count] | msgspec.UnsetType = msgspec.UNSET


class BalanceLow(Message, kw_only=True, tag_field="type", tag="balance_low"):
    """The balance lasts for `remaining_seconds` more."""

    session_id: str
    remaining_balance: WireAmount
    remaining_seconds: Count


class BalanceUpdated(Message, kw_only=True, tag_field="type", tag="balance_updated"):
    """A top-up was credited: `added` is new, `remaining_balance` what is left now."""

    session_id: str
    added: WireAmount
    remaining_balance: WireAmount


class BalanceExhausted(Message, kw_only=True, tag_field="type", tag="balance_exhausted"):
    """All that was paid is used; close 1000 follows."""

    message: str


class MaxDurationReached(Message, kw_only=True, tag_field="type", tag="max_duration_reached"):
    """The session is as long as one may be; close 1000 follows."""

    message: str


class PaymentRejected(Message, kw_only=True, tag_field="type", tag="payment_rejected"):
    """The proof was refused; close 1008 follows (in a live session, a refused top-up, nothing follows)."""

    reason: str
    code: str | None = None


class Draining(Message, kw_only=True, tag_field="type", tag="draining"):
    """This server goes away at `deadline` (ms epoch): reconnect after `reconnect_after_ms` and resume."""

    deadline: Count
    reconnect_after_ms: Count


class SessionEnded(Message, kw_only=True, tag_field="type", tag="session_ended"):
    """The settlement, sent before the socket closes."""

    session_id: str
    reason: EndReason
    paid_amount: WireAmount
    consumed_amount: WireAmount
    refund_amount: WireAmount
    refund_id: str | None = None
    units: dict[str, Count] | None = None


class ErrorMessage(Message, kw_only=True, tag_field="type", tag="error"):
    """Something the client sent could not be served; the session goes on unless a close follows."""

    code: str
    message: str


ServerMessage = (
    SessionStarted
    | HttpAccessGranted
    | UsageUpdate
    | BalanceLow
    | BalanceUpdated
    | BalanceExhausted
    | MaxDurationReached
    | PaymentRejected
    | Draining
    | SessionEnded
    | ErrorMessage
)
