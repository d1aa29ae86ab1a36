"""What transfers, sessions, refunds, deliveries, authorizations and invoices can be, and what may become of each.

Said once, for all: the database refuses every other value (CHECK) and every other move (triggers, migrations 0005 and
0007). An invoice has no column of its own: it is open until a payment names it, then paid, for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

State = TypeVar("State", bound=StrEnum)


class InvoiceState(StrEnum):
    """`paid`: a row of `payments` names it."""

    OPEN = "open"
    PAID = "paid"


class TransferState(StrEnum):
    """`owed`: it pays for no session and has a refund of its own. `orphaned`: in no block since a reorg."""

    SEEN = "seen"
    OWED = "owed"
    ORPHANED = "orphaned"


class SessionState(StrEnum):
    """`released`: no server has it, and it can be resumed. `reversed`: a reorg took a payment of it away."""

    LIVE = "live"
    RELEASED = "released"
    ENDED = "ended"
    REVERSED = "reversed"


class RefundState(StrEnum):
    """A debt's way; see `ws402.gateway.refunds`."""

    WAITING = "waiting"
    DUE = "due"
    CREDIT = "credit"
    IN_FLIGHT = "in_flight"
    CONFIRMED = "confirmed"
    FINAL = "final"
    HELD = "held"
    VOID = "void"
    RESOLVED = "resolved"


class DeliveryState(StrEnum):
    """`included`: it paid; `reverted`: it is in a block and paid nothing; `final`, `failed`: the same for good."""

    SIGNED = "signed"
    INCLUDED = "included"
    REVERTED = "reverted"
    FINAL = "final"
    FAILED = "failed"


class AuthorizationState(StrEnum):
    """A payer's signed transfer: `sent` by us, `landed` whoever sent it, or `expired` unused."""

    ACCEPTED = "accepted"
    SENT = "sent"
    LANDED = "landed"
    EXPIRED = "expired"


_T, _S, _R, _D, _A = TransferState, SessionState, RefundState, DeliveryState, AuthorizationState

MOVES: Final[Mapping[type[StrEnum], Mapping[StrEnum, frozenset[StrEnum]]]] = {
    InvoiceState: {
        InvoiceState.OPEN: frozenset({InvoiceState.PAID}),
        InvoiceState.PAID: frozenset(),
    },
    TransferState: {
        _T.SEEN: frozenset({_T.OWED, _T.ORPHANED}),
        _T.OWED: frozenset({_T.ORPHANED}),  # never seen again: its refund may be on its way
        _T.ORPHANED: frozenset({_T.SEEN, _T.OWED}),
    },
    SessionState: {
        _S.LIVE: frozenset({_S.RELEASED, _S.ENDED, _S.REVERSED}),
        _S.RELEASED: frozenset({_S.LIVE, _S.ENDED, _S.REVERSED}),
        _S.ENDED: frozenset({_S.REVERSED}),
        _S.REVERSED: frozenset(),
    },
    RefundState: {
        _R.WAITING: frozenset({_R.DUE, _R.HELD, _R.VOID}),
        _R.DUE: frozenset({_R.CREDIT, _R.IN_FLIGHT, _R.HELD, _R.VOID}),
        _R.CREDIT: frozenset({_R.IN_FLIGHT, _R.HELD, _R.WAITING, _R.VOID}),
        _R.IN_FLIGHT: frozenset({_R.CONFIRMED, _R.FINAL, _R.DUE, _R.HELD}),
        _R.CONFIRMED: frozenset({_R.IN_FLIGHT, _R.FINAL, _R.DUE, _R.HELD}),
        _R.FINAL: frozenset(),
        _R.HELD: frozenset({_R.WAITING, _R.RESOLVED, _R.VOID}),
        _R.VOID: frozenset({_R.WAITING}),
        _R.RESOLVED: frozenset(),
    },
    DeliveryState: {
        _D.SIGNED: frozenset({_D.INCLUDED, _D.REVERTED, _D.FINAL, _D.FAILED}),
        _D.INCLUDED: frozenset({_D.SIGNED, _D.REVERTED, _D.FINAL, _D.FAILED}),
        _D.REVERTED: frozenset({_D.SIGNED, _D.INCLUDED, _D.FINAL, _D.FAILED}),
        _D.FINAL: frozenset(),
        _D.FAILED: frozenset(),
    },
    AuthorizationState: {
        _A.ACCEPTED: frozenset({_A.SENT, _A.LANDED, _A.EXPIRED}),
        _A.SENT: frozenset({_A.LANDED, _A.EXPIRED}),
        _A.LANDED: frozenset(),
        _A.EXPIRED: frozenset(),
    },
}
"""By kind: what each state may become. Staying what it is is no move."""

GOING_ON: Final = (_S.LIVE, _S.RELEASED)
"""Sessions that can still be used."""
OVER: Final = (_S.ENDED, _S.REVERSED)
"""Sessions that have been settled."""

UNSENT: Final = (_R.WAITING, _R.DUE, _R.HELD, _R.CREDIT)
"""Refunds that no transaction carries: a reorg that takes their payment away takes them, too."""
SENT: Final = (_R.IN_FLIGHT, _R.CONFIRMED, _R.FINAL)
"""Refunds that a delivery carries."""
MOVING: Final = (_R.WAITING, _R.DUE, _R.IN_FLIGHT, _R.CONFIRMED)
"""Refunds that should get on by themselves."""
UNFINISHED: Final = (_R.WAITING, _R.DUE, _R.CREDIT, _R.HELD, _R.IN_FLIGHT, _R.CONFIRMED)
"""Refunds that are still owed."""

UNDECIDED: Final = (_D.SIGNED, _D.INCLUDED, _D.REVERTED)
"""Deliveries of which the chain may still say something else."""

ACCOUNT_OF: Final[Mapping[RefundState, str]] = {
    _R.WAITING: "payer_due",
    _R.DUE: "payer_due",
    _R.HELD: "payer_due",
    _R.CREDIT: "credit",
    _R.IN_FLIGHT: "refund_in_flight",
    _R.CONFIRMED: "refund_in_flight",
}
"""The ledger's account that holds an unfinished refund."""


def sources(state: State) -> tuple[State, ...]:
    """The states that may become this one."""
    kind = type(state)
    return tuple(each for each in kind if state in MOVES[kind][each])


def one_of(states: type[StrEnum] | tuple[StrEnum, ...]) -> str:
    """A list of states for SQL's IN."""
    return ", ".join(f"'{each}'" for each in states)
