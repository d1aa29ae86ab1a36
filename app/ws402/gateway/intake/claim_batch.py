"""What one transaction of claims read, and what it writes: payments, sessions, top-ups, debts for stray transfers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import bindparam, update

from ws402.gateway.ledger.bulk import Row as Entry
from ws402.gateway.ledger.bulk import insert, insert_new
from ws402.gateway.ledger.bulk import update as update_rows
from ws402.gateway.ledger.entries import move, post
from ws402.gateway.ledger.outbox import tell_opened
from ws402.gateway.ledger.statements import Statement
from ws402.gateway.ledger.tables import checkpoints, invoices, payments, sessions, transfers
from ws402.gateway.ledger.transactions import Transaction
from ws402.gateway.usage.sessions import ANSWERED
from ws402.gateway.watch.named import TransferKey
from ws402.gateway.watch.transfers import refund_transfer


@dataclass(slots=True)
class Batch:
    """What one transaction read and will write."""

    now: int
    wanted: set[tuple[str, str]] = field(default_factory=set)
    invoices: dict[str, Any] = field(default_factory=dict)
    transfers: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    sessions: dict[str, Any] = field(default_factory=dict)
    taken: set[TransferKey] = field(default_factory=set)
    taking: set[TransferKey] = field(default_factory=set)
    paid: dict[str, Any] = field(default_factory=dict)
    paying: set[str] = field(default_factory=set)
    payments: list[tuple[int, dict[str, Any], Any]] = field(default_factory=list)
    opened: dict[str, dict[str, Any]] = field(default_factory=dict)
    repeated: set[str] = field(default_factory=set)
    refunds: list[Any] = field(default_factory=list)
    refund_at: list[dict[str, Any]] = field(default_factory=list)
    returned: dict[str, int] = field(default_factory=dict)
    """By invoice: payments that name it and are owed back at once."""

    def is_free(self, key: TransferKey) -> bool:
        """Nothing, as far as was read or judged, has been paid by this transfer."""
        return key not in self.taken and key not in self.taking

    def forget_writes(self) -> None:
        """Start over; what was read stays."""
        self.refunds.clear()
        self.returned.clear()
        for each in (self.taking, self.paying, self.payments, self.opened, self.repeated, self.refund_at):
            each.clear()


async def write(connection: Transaction, batch: Batch) -> list[int]:
    """Write what was judged; returns the positions of those that lost a race."""
    lost: list[int] = []
    if batch.payments:
        rows = sorted((each for _, each, _ in batch.payments), key=lambda row: (row["network"], row["tx"], row["idx"]))
        won = await insert_new(connection, payments, rows)
        lost = [position for position, each, _ in batch.payments if each["id"] not in won]
        paid = [(each, transfer) for _, each, transfer in batch.payments if each["id"] in won]
        ids = {each["session_id"] for each, _ in paid}
        opened = [each for session_id, each in batch.opened.items() if session_id in ids]
        if opened:
            await insert(connection, sessions, opened)
            await insert(connection, checkpoints, [_first_checkpoint(each["id"], batch.now) for each in opened])
            await tell_opened(connection, opened, batch.now)
        await _top_up(connection, batch, [each for each in paid if each[0]["session_id"] not in batch.opened])
        await post(connection, [_claimed(each, transfer, batch.now) for each, transfer in paid])
    if batch.repeated:
        await connection.fetch(ANSWERED, ids=batch.repeated)
    for row in batch.refunds:
        key = (row.network, row.tx, row.idx)
        await refund_transfer(connection, key, row.asset, row.sender, row.amount, row.block, batch.now)
    for invoice_id, more in sorted(batch.returned.items()):  # in one order: another gateway may return to them, too
        await connection.fetch(_RETURNED, b_id=invoice_id, more=more)
    for each in batch.refund_at:
        await connection.fetch(_REFUND_LATER, **each)
    return lost


def _first_checkpoint(session_id: str, now: int) -> dict[str, Any]:
    zeros = dict.fromkeys(("elapsed_ms", "bytes_transferred", "message_count"), 0)
    return {"session_id": session_id, "reported_at": now, **zeros}


def _claimed(payment: dict[str, Any], transfer: Any, now: int) -> Entry:
    network, amount = payment["network"], payment["amount"]
    return move("unclaimed", "session_escrow", network, transfer.asset, amount, "claim", payment["id"], now)


async def _top_up(connection: Transaction, batch: Batch, paid: list[tuple[dict[str, Any], Any]]) -> None:
    rows = []
    for session_id in sorted({payment["session_id"] for payment, _ in paid}):
        session = batch.sessions[session_id]
        mine = [(payment, transfer) for payment, transfer in paid if payment["session_id"] == session_id]
        rows.append(
            {
                "id": session_id,
                "paid": session.paid + sum(payment["amount"] for payment, _ in mine),
                "source_block": max(session.source_block, *(transfer.block for _, transfer in mine)),
            }
        )
    await update_rows(connection, sessions, "id", rows)


_REFUND_LATER: Final = Statement(
    update(transfers)
    .where(
        transfers.c.network == bindparam("b_network"),
        transfers.c.tx == bindparam("b_tx"),
        transfers.c.idx == bindparam("b_idx"),
        transfers.c.refund_at.is_(None) | (transfers.c.refund_at > bindparam("refund_at")),
    )
    .values(refund_at=bindparam("refund_at"))
)
_RETURNED: Final = Statement(
    update(invoices).where(invoices.c.id == bindparam("b_id")).values(returned=invoices.c.returned + bindparam("more"))
)
