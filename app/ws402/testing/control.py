"""What a test in any language may tell a mock gateway: POST /mock with one of these, GET /mock for what came of it."""

from __future__ import annotations

from typing import Any

import msgspec

from ws402.errors import NotFoundError
from ws402.protocol import EndReason, Message, Proof, RejectCode
from ws402.provider.mock.faults import Call
from ws402.provider.mock.provider import MockPaymentProvider
from ws402.provider.mock.records import PAYER, RECIPIENT, TransferState


class Command(Message, kw_only=True, tag_field="do"):
    """One instruction."""


class Pay(Command, kw_only=True, tag="pay"):
    """Pay an invoice on the pretended chain; the answer is its proof. What is unset is as the invoice asks."""

    reference: str
    sender: str = PAYER
    amount: int | None = None
    asset: str | None = None
    recipient: str = RECIPIENT
    state: TransferState = "included"
    at: int | None = None


class Reject(Command, kw_only=True, tag="reject"):
    """Refuse the next proofs with this code; `times` null: until cleared."""

    code: RejectCode
    times: int | None = 1
    reason: str | None = None


class Unavailable(Command, kw_only=True, tag="unavailable"):
    """Answer these calls 503 and do nothing."""

    call: Call = "*"
    times: int | None = 1


class LoseAnswer(Command, kw_only=True, tag="lose_answer"):
    """Do these calls and answer 503 all the same."""

    call: Call = "*"
    times: int | None = 1


class Delay(Command, kw_only=True, tag="delay"):
    """Make these calls slower, until cleared."""

    seconds: float
    call: Call = "*"


class EndSession(Command, kw_only=True, tag="end_session"):
    """End a session at the gateway; its server learns it at its next checkpoint."""

    session_id: str
    reason: EndReason = EndReason.REORGED


class Clear(Command, kw_only=True, tag="clear"):
    """Work well again."""


AnyCommand = Pay | Reject | Unavailable | LoseAnswer | Delay | EndSession | Clear


def obey(provider: MockPaymentProvider, command: AnyCommand) -> Proof | dict[str, str]:
    """Do what a test says. Raises NotFoundError."""
    faults = provider.faults
    match command:
        case Pay():
            return _pay(provider, command)
        case Reject():
            faults.reject(command.code, times=command.times, reason=command.reason)
        case Unavailable():
            faults.unavailable(command.call, times=command.times)
        case LoseAnswer():
            faults.lose_answer(command.call, times=command.times)
        case Delay():
            faults.delay(command.seconds, command.call)
        case EndSession():
            if command.session_id not in provider.sessions:
                raise NotFoundError(f"There is no session '{command.session_id}'.")
            provider.end_session(command.session_id, command.reason)
        case Clear():
            faults.clear()
    return {"status": "ok"}


def _pay(provider: MockPaymentProvider, command: Pay) -> Proof:
    book = provider.service.book
    invoice = book.invoices.get(command.reference)
    if invoice is None:
        raise NotFoundError("No invoice has this reference.")
    transfer = book.pay(
        invoice,
        sender=command.sender,
        amount=command.amount,
        asset=command.asset,
        recipient=command.recipient,
        state=command.state,
        at=command.at,
    )
    return Proof(reference=command.reference, tx_hash=transfer.tx, sender_address=command.sender)


def state(provider: MockPaymentProvider) -> dict[str, Any]:
    """What came of it: sessions, refunds, how often each call was made, and the units that are unaccounted for."""
    return {
        "sessions": [_wire(each) for each in provider.sessions.values()],
        "refunds": [_wire(each) for each in provider.refunds],
        "calls": dict(provider.faults.calls),
        "audit": provider.audit(),
    }


def _wire(record: Any) -> dict[str, Any]:
    """A record in camelCase, without the token that would resume the session."""
    named: dict[str, Any] = msgspec.to_builtins(record)
    named.pop("resume_token", None)
    named.pop("refund", None)
    return {
        "".join(part.capitalize() if position else part for position, part in enumerate(name.split("_"))): value
        for name, value in named.items()
    }
