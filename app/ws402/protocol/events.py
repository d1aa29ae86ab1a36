"""What webhooks say: one Struct an event, by its type. docs/webhooks.md is written from here.

The envelope is that of Standard Webhooks: `{"type", "timestamp", "data"}`. Unlike elsewhere on the wire, amounts are
always strings of digits (smallest units), for receivers in every language parse the body before they look at it; times
are RFC 3339 in UTC. Fields may be added to an event; none is taken away or changes its meaning.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec

from ws402.protocol.base import EndReason, Message

Digits = Annotated[str, msgspec.Meta(pattern="^[0-9]+$", description="An amount in smallest units.")]
Time = Annotated[str, msgspec.Meta(description="RFC 3339, UTC, with milliseconds.")]
EventType = Literal["session.opened", "session.settled", "refund.sent", "refund.final", "payment.unclaimed"]


class Money(Message, kw_only=True):
    """What every event says of the money that it is about."""

    network: Annotated[str, msgspec.Meta(description="The network's name in the settings, such as `base`.")]
    asset: Annotated[str, msgspec.Meta(description="The asset's symbol.")]
    decimals: Annotated[
        int | None,
        msgspec.Meta(
            description="An amount is a number of units of 10^-decimals; null for an asset that left the settings."
        ),
    ]


class SessionOpened(Money, kw_only=True):
    """A payment opened a session. Top-ups are not told; what they brought is in `session.settled`."""

    session_id: Annotated[str, msgspec.Meta(description="The session.")]
    tenant: Annotated[str, msgspec.Meta(description="Whose API key or account asked for it.")]
    resource_id: Annotated[str, msgspec.Meta(description="What was paid for.")]
    payer: Annotated[str, msgspec.Meta(description="The account that paid, and that a refund goes to.")]
    paid: Annotated[Digits, msgspec.Meta(description="What was paid.")]
    opened_at: Annotated[Time, msgspec.Meta(description="When.")]


class SessionSettled(SessionOpened, kw_only=True):
    """A session ended: what was consumed is revenue, the rest is owed to the payer. `paid` counts top-ups in."""

    consumed: Annotated[Digits, msgspec.Meta(description="What was used.")]
    refund: Annotated[Digits, msgspec.Meta(description="What goes back; `consumed` and it make `paid`.")]
    refund_id: Annotated[str | None, msgspec.Meta(description="The refund; null where nothing goes back.")]
    reason: Annotated[EndReason, msgspec.Meta(description="Why it ended.")]
    ended_at: Annotated[Time, msgspec.Meta(description="When.")]


class RefundSent(Money, kw_only=True):
    """A transaction with this refund was given to the network, or found there. It can still be replaced by one with a
    higher fee, and leave the chain in a reorg: only `refund.final` is for good.
    """

    refund_id: Annotated[str, msgspec.Meta(description="The refund.")]
    session_id: Annotated[
        str | None, msgspec.Meta(description="Its session; null for money that opened none (`payment.unclaimed`).")
    ]
    tenant: Annotated[str | None, msgspec.Meta(description="Whose session it was; null where nobody's is known.")]
    recipient: Annotated[str, msgspec.Meta(description="Who gets it: always who paid.")]
    amount: Annotated[Digits, msgspec.Meta(description="How much.")]
    tx: Annotated[str, msgspec.Meta(description="The transaction; it may carry other refunds, too.")]


class RefundFinal(RefundSent, kw_only=True):
    """The refund is in a final block: nothing about it changes any more."""


class PaymentUnclaimed(Money, kw_only=True):
    """Money arrived that opened no session (too late, too little, or nobody showed it in time), and is owed back to its
    sender. Money that names no invoice at all waits for an operator and is told only when he sends it back.
    """

    tx: Annotated[str, msgspec.Meta(description="The transaction that brought it.")]
    index: Annotated[int, msgspec.Meta(description="Which transfer of that transaction, as the gateway counts them.")]
    invoice_id: Annotated[str | None, msgspec.Meta(description="The invoice that it names, if any.")]
    tenant: Annotated[str | None, msgspec.Meta(description="Whose invoice that is.")]
    sender: Annotated[str, msgspec.Meta(description="Who paid, and gets it back.")]
    amount: Annotated[Digits, msgspec.Meta(description="How much.")]
    refund_id: Annotated[str, msgspec.Meta(description="The refund; `refund.sent` and `refund.final` follow.")]
    arrived_at: Annotated[Time, msgspec.Meta(description="When the gateway saw it.")]


EVENTS: Final[dict[EventType, type[Money]]] = {
    "session.opened": SessionOpened,
    "session.settled": SessionSettled,
    "refund.sent": RefundSent,
    "refund.final": RefundFinal,
    "payment.unclaimed": PaymentUnclaimed,
}
"""Every type of event, and what its `data` is."""


def rfc3339(at_ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339 in UTC: `2026-01-31T12:00:00.000Z`."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def body(kind: EventType, at_ms: int, data: Money) -> str:
    """What is sent of an event. Nulls are written, so that a receiver can tell them from what it misspelt."""
    return msgspec.json.encode({"type": kind, "timestamp": rfc3339(at_ms), "data": data}).decode()
