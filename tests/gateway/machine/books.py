"""What must hold in the ledger whatever happened, by the numbers of docs/invariants.md."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import Engine, Row, select

from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import entries, payments, refunds, sessions, transfers

LIABILITIES = ("unclaimed", "session_escrow", "revenue", "payer_due", "credit", "refund_in_flight")
STATES = {
    "payer_due": ("waiting", "due", "held"),
    "credit": ("credit",),
    "refund_in_flight": ("in_flight", "confirmed"),
}
READ = (
    select(*transfers.c["tx", "idx", "state", "sender", "asset", "amount"]),
    select(*refunds.c["id", "tx", "idx", "state", "recipient", "asset", "amount"]).order_by(refunds.c.created_at),
    select(*sessions.c["id", "state", "asset", "paid", "consumed", "refunded"]),
    select(*payments.c["tx", "idx", "session_id", "amount"]),
    select(*entries.c["debit", "credit", "asset", "amount"]),
)


Rows = list[Any]


def read(engine: Engine) -> Rows:
    """The ledger by a connection of the test's own, the quickest way."""
    with engine.connect() as connection:
        return [connection.execute(statement).all() for statement in READ]


async def read_by(database: Database) -> Rows:
    """The ledger as a gateway reads it."""
    async with database.read() as connection:
        return [(await connection.execute(statement)).all() for statement in READ]


def check(rows: Rows) -> None:
    """Raises AssertionError with the number of what does not hold."""
    moved, debts, open_, paid, booked = rows
    accounts: Counter[tuple[str, str]] = Counter()
    for row in booked:
        accounts[row.debit, row.asset] -= row.amount
        accounts[row.credit, row.asset] += row.amount
    _owed_within_received(moved, debts)
    _nothing_below_zero(accounts)
    _claimed_or_owed_once(moved, debts, open_, paid)
    _sessions_hold_what_was_paid(moved, open_, paid)
    _accounts_say_what_rows_say(accounts, moved, debts, open_, paid)


def _owed_within_received(moved: Any, debts: Any) -> None:
    received: Counter[tuple[str, str]] = Counter()
    for row in moved:
        if row.state != "orphaned":
            received[row.sender, row.asset] += row.amount
    owed: Counter[tuple[str, str]] = Counter()
    for row in debts:
        if row.state not in ("void", "resolved"):  # what an operator paid otherwise is his own affair
            owed[row.recipient, row.asset] += row.amount
    for key, amount in owed.items():
        assert amount <= received[key], f"I1: {key} is owed, was sent or has {amount}, of {received[key]} received"


def _nothing_below_zero(accounts: Counter[tuple[str, str]]) -> None:
    for (name, asset), value in accounts.items():
        assert name not in LIABILITIES or value >= 0, f"I3: {name} of {asset} is {value}"


def _key(row: Row[Any]) -> tuple[str, int]:
    return row.tx, row.idx


def _claimed_or_owed_once(moved: Any, debts: Any, open_: Any, paid: Any) -> None:
    states = {row.id: row.state for row in open_}
    alive = {_key(row) for row in paid if states[row.session_id] != "reversed"}
    owed = {_key(row) for row in debts if row.tx is not None and row.state != "void"}
    assert not alive & owed, "I2: a transfer is owed back and pays for a session"
    resolved = {_key(row) for row in debts if row.tx is not None and row.state == "resolved"}
    for row in moved:
        if row.state == "orphaned" and _key(row) in resolved:
            continue
        assert (row.state == "owed") == (_key(row) in owed), f"I2: {row.tx} is {row.state}, its refund says otherwise"


def _sessions_hold_what_was_paid(moved: Any, open_: Any, paid: Any) -> None:
    states = {_key(row): row.state for row in moved}
    sums: Counter[str] = Counter()
    for row in paid:
        if states[_key(row)] == "seen":
            sums[row.session_id] += row.amount
    for row in open_:
        assert row.consumed + row.refunded <= row.paid, f"I4: {row.id}"
        assert row.paid == sums[row.id], f"I5: {row.id} ({row.state}) has {row.paid}, its payments bring {sums[row.id]}"


def _accounts_say_what_rows_say(
    accounts: Counter[tuple[str, str]], moved: Any, debts: Any, open_: Any, paid: Any
) -> None:
    claimed = {_key(row) for row in paid}
    says: Counter[tuple[str, str]] = Counter()
    for row in moved:
        if row.state == "seen" and _key(row) not in claimed:
            says["unclaimed", row.asset] += row.amount
    for row in open_:
        if row.state in ("live", "released"):
            says["session_escrow", row.asset] += row.paid
        says["revenue", row.asset] += row.consumed
    for row in debts:
        for account, states in STATES.items():
            if row.state in states:
                says[account, row.asset] += row.amount
    for key in {each for each in accounts if each[0] in LIABILITIES} | set(says):
        assert accounts.get(key, 0) == says[key], f"I6: {key} holds {accounts.get(key, 0)}, its rows say {says[key]}"
