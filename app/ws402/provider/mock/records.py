"""What the mock remembers of one invoice, transfer, refund and session, and how a proof is judged by it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final, Literal

from ws402.money import Asset
from ws402.prices import Price
from ws402.protocol import Checkpoint, EndReason, RejectCode

RECIPIENT: Final = "0x00000000000000000000000000000000000402aa"
PAYER: Final = "0x00000000000000000000000000000000000402bb"

TransferState = Literal["included", "pending", "failed"]


def now_ms() -> int:
    """Now, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class MockInvoice:
    """What to pay."""

    tenant: str
    reference: str
    network: str
    asset: Asset
    amount: int
    resource_id: str
    price: Price | None
    session_id: str | None
    created_at: int
    expires_at: int
    paid_by: str | None = None
    """The session that its payment opened or topped up."""


@dataclass(slots=True)
class MockTransfer:
    """A pretended payment on chain."""

    tx: str
    sender: str
    recipient: str
    asset: str
    amount: int
    time: int
    state: TransferState
    reference: str = ""
    """Of the invoice that it names."""


@dataclass(slots=True)
class MockRefund:
    """A debt to a payer and whether it was delivered."""

    id: str
    tenant: str
    session_id: str
    recipient: str
    amount: int
    state: str = "due"
    tx: str | None = None


@dataclass(slots=True)
class MockSession:
    """Metered use of a resource; paid = consumed + refunded once it has ended."""

    id: str
    tenant: str
    network: str
    asset: str
    payer: str
    resource_id: str
    price: Price | None
    server_id: str | None
    paid: int = 0
    answered: bool = True
    """False: nobody is known to have got the answer that opened it; the same proof gets it again, once."""
    state: Literal["live", "released", "ended", "reversed"] = "live"
    reason: EndReason | None = None
    epoch: int = 1
    resume_token: str = ""
    elapsed_ms: int = 0
    bytes_transferred: int = 0
    message_count: int = 0
    units: dict[str, int] = field(default_factory=dict)
    consumed: int = 0
    refunded: int = 0
    refund: MockRefund | None = None
    txs: list[str] = field(default_factory=list)

    @property
    def cost(self) -> int:
        """What its use costs; nothing where a stock server meters."""
        return 0 if self.price is None else self.price.cost(self.elapsed_ms, self.price.charged(self.units))


class MockRefusal(Exception):  # noqa: N818 - an answer, not an error
    """A payment proof is refused."""

    def __init__(self, code: RejectCode) -> None:
        super().__init__(code)
        self.code = code


def record(session: MockSession, usage: Checkpoint) -> None:
    """Usage never falls: a late or repeated report changes nothing."""
    session.elapsed_ms = max(session.elapsed_ms, usage.elapsed_ms)
    session.bytes_transferred = max(session.bytes_transferred, usage.bytes_transferred)
    session.message_count = max(session.message_count, usage.message_count)
    session.units |= {unit: max(session.units.get(unit, 0), n) for unit, n in (usage.units or {}).items()}


def check_transfer(invoice: MockInvoice, transfer: MockTransfer, sender: str) -> None:
    """Compare a transfer with what the invoice asks for. Raises MockRefusal."""
    checks = {
        RejectCode.TRANSFER_UNCONFIRMED: transfer.state == "pending",
        RejectCode.TRANSFER_FAILED: transfer.state == "failed",
        RejectCode.WRONG_RECIPIENT: transfer.recipient != RECIPIENT,
        RejectCode.WRONG_ASSET: transfer.asset != invoice.asset.symbol,
        RejectCode.SENDER_MISMATCH: transfer.sender != sender.lower(),
        RejectCode.TRANSFER_TOO_OLD: transfer.time < invoice.created_at,
        RejectCode.TRANSFER_TOO_LATE: transfer.time > invoice.expires_at,
        RejectCode.AMOUNT_SHORT: transfer.amount < invoice.amount,
    }
    for code, wrong in checks.items():
        if wrong:
            raise MockRefusal(code)
