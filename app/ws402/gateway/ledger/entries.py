"""Double entry: a row moves one amount from one account to another, so the books balance by construction.

Debits raise `chain` (what our addresses hold) and `gas` (an expense); credits raise what we owe or earned. Each event
has a (kind, subject) that is UNIQUE with its accounts: it cannot be booked twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, literal, select, true, union_all
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.gateway.ledger.bulk import Row, insert
from ws402.gateway.ledger.tables import entries
from ws402.gateway.ledger.transactions import Connection
from ws402.gateway.ledger.types import amount_sum


def move(debit: str, credit: str, network: str, asset: str, amount: int, kind: str, subject: str, at: int) -> Row:
    """One entry: `amount` smallest units from `credit` to `debit`, `at` ms since the epoch."""
    return {
        "debit": debit,
        "credit": credit,
        "network": network,
        "asset": asset,
        "amount": amount,
        "kind": kind,
        "subject": subject,
        "created_at": at,
    }


async def post(connection: Connection, rows: Sequence[Row]) -> None:
    """Book entries. Booking the same event again raises IntegrityError: callers decide by a state first."""
    await insert(connection, entries, rows)


def insert_ignore(connection: Connection, table: Any) -> Any:
    """INSERT … ON CONFLICT DO NOTHING in the connection's dialect."""
    module = sqlite if connection.dialect.name == "sqlite" else postgresql
    return module.insert(table).on_conflict_do_nothing()


Balances = dict[tuple[str, str, str], int]
"""(account, network, asset) to what is in it: debits minus credits for `chain` and `gas`, else credits minus debits."""


async def balances(connection: AsyncConnection, where: ColumnElement[bool] | None = None) -> Balances:
    """What every account holds, summed from all entries, or what those of `where` changed."""
    chosen = true() if where is None else where
    sides = union_all(
        select(
            entries.c.debit.label("account"),
            literal("d").label("side"),
            *(entries.c[n] for n in ("network", "asset", "amount")),
        ).where(chosen),
        select(
            entries.c.credit.label("account"),
            literal("c").label("side"),
            *(entries.c[n] for n in ("network", "asset", "amount")),
        ).where(chosen),
    ).subquery()
    keys = (sides.c.account, sides.c.network, sides.c.asset)
    query = select(*keys, sides.c.side, amount_sum(sides.c.amount).label("total")).group_by(*keys, sides.c.side)
    result: Balances = {}
    for account, network, asset, side, total in await connection.execute(query):
        sign = 1 if (side == "d") == (account in ("chain", "gas")) else -1
        key = (account, network, asset)
        result[key] = result.get(key, 0) + sign * total
    return result
