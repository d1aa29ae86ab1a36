"""What may become of a transfer, a session, a refund and a delivery is decided by the database, whoever asks."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Table, delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from tests.gateway.ledger.test_constraints import AUTHORIZATION, DELIVERY, INVOICE, PAYMENT, REFUND, SESSION, TRANSFER

from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.schema import config
from ws402.gateway.ledger.states import (
    MOVES,
    OVER,
    SENT,
    AuthorizationState,
    DeliveryState,
    InvoiceState,
    RefundState,
    SessionState,
    TransferState,
)
from ws402.gateway.ledger.tables import authorizations, deliveries, invoices, payments, refunds, sessions, transfers

KINDS: dict[type[StrEnum], tuple[Table, dict[str, Any]]] = {
    TransferState: (transfers, TRANSFER),
    SessionState: (sessions, SESSION),
    RefundState: (refunds, REFUND),
    DeliveryState: (deliveries, DELIVERY),
    AuthorizationState: (authorizations, AUTHORIZATION),
}
NEEDED = {
    RefundState: [(sessions, SESSION), (deliveries, DELIVERY)],
    AuthorizationState: [(deliveries, DELIVERY)],
}


def _so(state: StrEnum) -> dict[str, Any]:
    """A state, and what a row must have in it."""
    row: dict[str, Any] = {"state": state}
    if isinstance(state, SessionState):
        row["ended_at"] = 2 if state in OVER else None
    if isinstance(state, RefundState):
        row["delivery_id"] = "del_1" if state in SENT else None
    if isinstance(state, AuthorizationState):
        row["delivery_id"] = "del_1" if state is AuthorizationState.SENT else None
    return row


async def _refusal(database: Database, was: StrEnum, becomes: StrEnum) -> str | None:
    """Why a row may not move so; None where it may."""
    table, row = KINDS[type(was)]
    async with database.begin() as connection:
        for each in (*(each for each, _ in reversed(NEEDED.get(type(was), []))), table):
            await connection.execute(delete(each))
        for each, needed in NEEDED.get(type(was), []):
            await connection.execute(insert(each), [needed])
        await connection.execute(insert(table), [row | _so(was)])
    try:
        async with database.begin() as connection:
            await connection.execute(update(table).values(**_so(becomes)))
    except DBAPIError as error:
        return str(error)
    finally:
        async with database.begin() as connection:
            await connection.execute(delete(table))
    return None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_a_state_moves_as_it_may_and_in_no_other_way(database: Database, kind: type[StrEnum]) -> None:
    for was in kind:
        for becomes in kind:
            told = await _refusal(database, was, becomes)
            if was is becomes or becomes in MOVES[kind][was]:
                assert told is None, f"{was} > {becomes}"
            else:
                assert "do not move" in (told or ""), f"{was} > {becomes}"


def test_the_database_was_told_the_same_moves() -> None:
    scripts = ScriptDirectory.from_config(config())
    told = scripts.get_revision("0005").module.MOVES | scripts.get_revision("0007").module.MOVES
    for kind, (table, _) in KINDS.items():
        assert set(told[table.name].split()) == {
            f"{was}>{each}" for was, moves in MOVES[kind].items() for each in moves
        }
    assert set(MOVES) == {*KINDS, InvoiceState}  # what an invoice is, its payment says


async def test_a_payment_is_never_changed_or_taken_away(database: Database) -> None:
    async with database.begin() as connection:
        for table, row in ((invoices, INVOICE), (transfers, TRANSFER), (payments, PAYMENT), (sessions, SESSION)):
            await connection.execute(insert(table), [row])
    for statement in (update(payments).values(amount=1), delete(payments)):
        with pytest.raises(DBAPIError, match="append-only"):
            async with database.begin() as connection:
                await connection.execute(statement)


def _upgrade(connection: Connection, revision: str) -> None:
    command.upgrade(config(connection), revision)


async def test_an_older_ledger_is_mended_where_a_transfer_was_owed_and_claimable(database_url: str) -> None:
    database = Database(database_url)
    async with database.begin() as connection:
        await connection.run_sync(_upgrade, "0004")
        await connection.execute(insert(transfers), [TRANSFER | {"idx": idx} for idx in (0, 1, 2)])
        owed = {"session_id": None, "tx": TRANSFER["tx"]}
        await connection.execute(
            insert(refunds),
            [
                REFUND | owed | {"id": "ref_0", "idx": 0},
                REFUND | owed | {"id": "ref_1", "idx": 1, "state": "void"},
            ],
        )
        await connection.run_sync(_upgrade, "head")
        found = (await connection.execute(select(*transfers.c["idx", "state"]).order_by(transfers.c.idx))).all()
        version = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
    await database.close()
    assert [tuple(row) for row in found] == [(0, "owed"), (1, "seen"), (2, "seen")]
    assert version == ScriptDirectory.from_config(config()).get_current_head()
