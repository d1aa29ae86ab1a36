"""What must never happen is refused by the database itself, whoever asks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import balances, move, post
from ws402.gateway.ledger.states import SENT, RefundState
from ws402.gateway.ledger.tables import (
    attempts,
    deliveries,
    entries,
    invoices,
    payments,
    refunds,
    sessions,
    transfers,
)
from ws402.money import MAX_AMOUNT

SESSION = {
    "id": "ses_1",
    "tenant": "t",
    "network": "base",
    "asset": "ETH",
    "payer": "0xp",
    "resource_id": "r",
    "price_per_second": 1,
    "paid": 100,
    "consumed": 0,
    "refunded": 0,
    "state": "live",
    "metered": True,
    "epoch": 0,
    "answered": True,
    "source_block": 1,
    "opened_at": 1,
}
TRANSFER = {
    "network": "base",
    "tx": "0x1",
    "idx": -1,
    "block": 1,
    "block_hash": "0xb",
    "block_time": 1,
    "sender": "0xp",
    "recipient": "0xm",
    "asset": "ETH",
    "amount": 100,
    "tags": "",
    "state": "seen",
    "seen_at": 1,
}
INVOICE = {
    "id": "inv_1",
    "tenant": "t",
    "tag": "aa",
    "network": "base",
    "asset": "ETH",
    "recipient": "0xm",
    "amount": 100,
    "resource_id": "r",
    "estimated_duration": 1,
    "created_at": 1,
    "expires_at": 2,
}
PAYMENT = {
    "id": "pay_1",
    "network": "base",
    "tx": "0x1",
    "idx": -1,
    "invoice_id": "inv_1",
    "session_id": "ses_1",
    "payer": "0xp",
    "amount": 100,
    "binding": "tag",
    "created_at": 1,
}
REFUND = {
    "id": "ref_1",
    "session_id": "ses_1",
    "network": "base",
    "asset": "ETH",
    "recipient": "0xp",
    "amount": 60,
    "state": "waiting",
    "source_block": 1,
    "created_at": 1,
    "updated_at": 1,
}
DELIVERY = {
    "id": "del_1",
    "network": "base",
    "signer": "0xm",
    "nonce": 1,
    "kind": "refund",
    "recipient": "0xp",
    "asset": "ETH",
    "amount": 60,
    "state": "signed",
    "created_at": 1,
    "updated_at": 1,
}
ATTEMPT = {
    "delivery_id": "del_1",
    "number": 1,
    "kind": "refund",
    "tx": "0x2",
    "raw": b"signed",
    "max_fee": 1,
    "fee_params": "{}",
    "created_at": 1,
}


AUTHORIZATION = {
    "id": "aut_1",
    "network": "base",
    "asset": "USDC",
    "payer": "0xp",
    "nonce": "01" * 32,
    "recipient": "0xm",
    "amount": 100,
    "valid_after": 0,
    "valid_before": 9,
    "signature": b"signed",
    "payload_hash": "00",
    "invoice_id": "inv_1",
    "state": "accepted",
    "since_block": 1,
    "created_at": 1,
    "updated_at": 1,
}


async def _insert(database: Database, *rows: tuple[Any, dict[str, Any]]) -> None:
    async with database.begin() as connection:
        for table, row in rows:
            await connection.execute(insert(table), [row])


async def _refused(database: Database, *rows: tuple[Any, dict[str, Any]]) -> None:
    with pytest.raises(IntegrityError):
        await _insert(database, *rows)


@pytest.fixture
async def paid(database: Database) -> Database:
    """A ledger with one paid session."""
    await _insert(database, (invoices, INVOICE), (transfers, TRANSFER), (payments, PAYMENT), (sessions, SESSION))
    return database


async def test_a01_a_transfer_pays_once(paid: Database) -> None:
    await _refused(
        paid,
        (invoices, INVOICE | {"id": "inv_2", "tag": "bb"}),
        (payments, PAYMENT | {"id": "pay_2", "invoice_id": "inv_2"}),
    )


async def test_an_invoice_is_paid_once(paid: Database) -> None:
    await _refused(paid, (transfers, TRANSFER | {"idx": 3}), (payments, PAYMENT | {"id": "pay_2", "idx": 3}))


async def test_a17_consumed_and_refunded_never_exceed_paid(paid: Database) -> None:
    for values in ({"consumed": 41, "refunded": 60}, {"refunded": 101}, {"consumed": -1}):
        with pytest.raises(IntegrityError):
            async with paid.begin() as connection:
                await connection.execute(update(sessions).values(**values))
    async with paid.begin() as connection:
        await connection.execute(update(sessions).values(consumed=40, refunded=60))


async def test_a18_a_session_has_one_refund(paid: Database) -> None:
    await _insert(paid, (refunds, REFUND))
    await _refused(paid, (refunds, REFUND | {"id": "ref_2"}))


async def test_a_refund_has_exactly_one_source(paid: Database) -> None:
    await _refused(paid, (refunds, REFUND | {"tx": "0x1", "idx": -1}))
    await _refused(paid, (refunds, REFUND | {"session_id": None}))


async def test_a_transfer_is_owed_back_once(paid: Database) -> None:
    stray = REFUND | {"session_id": None, "tx": "0x1", "idx": -1}
    await _insert(paid, (refunds, stray))
    await _refused(paid, (refunds, stray | {"id": "ref_2"}))


@pytest.mark.parametrize("state", RefundState)
async def test_a_refund_is_in_a_delivery_exactly_while_it_is_sent(paid: Database, state: RefundState) -> None:
    await _insert(paid, (deliveries, DELIVERY))
    sent, unsent = (REFUND | {"state": state, "delivery_id": each} for each in ("del_1", None))
    wrong, right = (unsent, sent) if state in SENT else (sent, unsent)
    await _refused(paid, (refunds, wrong))
    await _insert(paid, (refunds, right))


async def test_a_refund_is_in_no_delivery_that_there_is_not(paid: Database) -> None:
    await _refused(paid, (refunds, REFUND | {"state": "in_flight", "delivery_id": "del_1"}))


async def test_a23_a_nonce_belongs_to_one_delivery(database: Database) -> None:
    await _insert(database, (deliveries, DELIVERY))
    other = DELIVERY | {"id": "del_2"}
    await _refused(database, (deliveries, other))
    await _insert(database, (deliveries, other | {"nonce": 2}), (deliveries, other | {"id": "del_3", "signer": "0xn"}))


async def test_a18_signed_bytes_are_stored_once_and_belong_to_a_delivery(database: Database) -> None:
    await _refused(database, (attempts, ATTEMPT))
    await _insert(database, (deliveries, DELIVERY), (attempts, ATTEMPT))
    await _refused(database, (attempts, ATTEMPT | {"number": 2}))


@pytest.mark.parametrize("amount", [0, -5])
async def test_money_rows_hold_positive_amounts(paid: Database, amount: int) -> None:
    await _refused(paid, (refunds, REFUND | {"amount": amount}))
    await _refused(paid, (transfers, TRANSFER | {"idx": 4, "amount": amount}))
    await _refused(paid, (entries, move("chain", "unclaimed", "base", "ETH", amount, "k", "s", 1)))


async def test_an_event_is_booked_once(database: Database) -> None:
    row = move("chain", "unclaimed", "base", "ETH", 5, "transfer", "x", 1)
    await _insert(database, (entries, row))
    await _refused(database, (entries, row))


async def test_an_entry_moves_money_between_two_accounts_that_there_are(database: Database) -> None:
    for debit, credit in (("chain", "chain"), ("chain", "pocket"), ("pocket", "chain")):
        await _refused(database, (entries, move(debit, credit, "base", "ETH", 5, "transfer", "x", 1)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    amounts=st.lists(
        st.tuples(
            st.sampled_from(["chain", "unclaimed", "session_escrow", "revenue", "payer_due", "gas"]),
            st.sampled_from(["chain", "unclaimed", "session_escrow", "revenue", "payer_due", "gas"]),
            st.integers(1, MAX_AMOUNT),
        ).filter(lambda each: each[0] != each[1]),
        max_size=12,
    )
)
async def test_the_books_balance_and_keep_every_digit(sqlite_database: Database, amounts: Any) -> None:
    async with sqlite_database.begin() as connection:
        await connection.execute(text("DROP TRIGGER IF EXISTS entries_no_delete"))
        await connection.execute(delete(entries))
        rows = [move(d, c, "base", "ETH", amount, "k", str(i), 1) for i, (d, c, amount) in enumerate(amounts)]
        await post(connection, rows)
        stored = (await connection.execute(select(entries.c.amount).order_by(entries.c.id))).scalars().all()
        books = await balances(connection)
    assert list(stored) == [amount for _, _, amount in amounts]
    assets = sum(value for (account, _, _), value in books.items() if account in ("chain", "gas"))
    claims = sum(value for (account, _, _), value in books.items() if account not in ("chain", "gas"))
    assert assets == claims


async def test_an_amount_is_never_a_float(paid: Database) -> None:
    with pytest.raises(Exception, match="must be int, not float"):
        async with paid.begin() as connection:
            await connection.execute(update(sessions).values(consumed=1.5))
