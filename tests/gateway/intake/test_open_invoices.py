"""Open invoices are bounded, and what is looked up among them is looked up by an index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Select, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.fixtures.evm import Evm
from tests.gateway.till import AMOUNT, Till, open_till

from ws402.errors import UnavailableError
from ws402.gateway.intake.claims import RETURNED_AT_ONCE
from ws402.gateway.intake.open_invoices import COUNT_SECONDS, TAKEN, OpenInvoices, unpaid
from ws402.gateway.ledger.bulk import insert
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import invoices, refunds, transfers
from ws402.gateway.ledger.transactions import Transaction
from ws402.protocol import RejectCode
from ws402.settings import GatewaySettings

NETWORK = "base-sepolia"
MANY = 5000


def invoice(number: int, now: int, *, amount: int, expired: bool = False) -> dict[str, Any]:
    return {
        "id": f"inv_{number:08d}",
        "tenant": "shop",
        "tag": f"tag-{number}",
        "network": NETWORK,
        "asset": "ETH",
        "recipient": "0x1",
        "amount": amount,
        "resource_id": "film",
        "estimated_duration": 300,
        "created_at": now - 2_000_000,
        "expires_at": now + (-1 if expired else 900_000),
    }


@pytest.fixture
async def crowded(database: Database) -> Database:
    """A ledger with many open invoices and as many expired ones."""
    now = database.now_ms()
    rows = [invoice(n, now, amount=10**18 + n) for n in range(MANY)]
    rows += [invoice(MANY + n, now, amount=2 * 10**18 + n, expired=True) for n in range(MANY)]
    async with database.begin() as connection:
        await insert(connection, invoices, rows)
        await connection.execute(text("ANALYZE"))
    return database


async def plan_of(connection: AsyncConnection, query: Select[Any]) -> str:
    spelled = str(query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
    how = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return "\n".join(str(tuple(row)) for row in await connection.execute(text(f"{how} {spelled}")))


async def test_salted_amounts_are_looked_up_by_an_index(crowded: Database) -> None:
    now = crowded.now_ms()
    amounts = [10**18 + 17, 2 * 10**18 + 17, 5]
    values = {"network": NETWORK, "asset": "ETH", "amounts": amounts, "now": now}

    async def explain(connection: Transaction) -> tuple[str, list[int]]:
        compiled = TAKEN.compiled(connection.dialect)
        how = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        plan = await connection.exec_driver_sql(f"{how} {compiled.text}", tuple(compiled.arguments(values)))
        return "\n".join(map(str, map(tuple, plan))), (await connection.fetch(TAKEN, **values)).scalars()

    plan, found = await crowded.run(explain)
    assert "ix_invoices_network_asset_amount_expires_at" in plan
    assert "Seq Scan" not in plan
    assert found == [10**18 + 17]


async def test_unpaid_invoices_are_counted_by_an_index(crowded: Database) -> None:
    now = crowded.now_ms()
    async with crowded.read() as connection:
        plan = await plan_of(connection, unpaid([NETWORK], now + 899_999, 100))
        counts = [(await connection.execute(unpaid([NETWORK], now, most))).scalar_one() for most in (100, 10 * MANY)]
    assert "ix_invoices_network_expires_at" in plan
    assert "Seq Scan on invoices" not in plan
    assert counts == [100, MANY]


async def test_a_crowd_of_open_invoices_costs_a_salted_one_a_few_reads(evm: Evm, crowded: Database) -> None:
    async with open_till(evm, crowded, amount_salt=100_000) as till:
        made = await asyncio.gather(*(till.invoice() for _ in range(20)))
        assert len({each.amount for each in made}) == 20


async def test_salted_amounts_of_one_batch_differ_and_run_out_with_a_remedy(evm: Evm, database: Database) -> None:
    async with open_till(evm, database, amount_salt=5) as till:
        made = await asyncio.gather(*(till.invoice() for _ in range(7)), return_exceptions=True)
        amounts = [each.amount for each in made if not isinstance(each, BaseException)]
        assert sorted(amounts) == [AMOUNT + extra for extra in range(1, 6)]
        refused = [each for each in made if isinstance(each, UnavailableError)]
        assert len(refused) == 2
        assert "AMOUNT_SALT" in str(refused[0].remedy)


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a03_two_gateways_never_draw_the_same_amount(evm: Evm, database: Database, database_url: str) -> None:
    other = Database(database_url)
    async with open_till(evm, database, amount_salt=40) as till:
        rival = Till(till.money, till.chain, other, till.service.settings)
        made = await asyncio.gather(*(each.invoice() for each in (till, rival) * 15))
        assert len({each.amount for each in made}) == 30
    await other.close()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_unpaid_invoices_have_a_bound_and_free_it_when_they_expire(crowded: Database) -> None:
    clock = Clock()
    settings = GatewaySettings(max_unpaid_invoices=MANY + 10)
    open_ = OpenInvoices(settings, crowded, [NETWORK], clock=clock)
    assert [await open_.take(6), await open_.take(6), await open_.take(6)] == [6, 4, 0]
    clock.now += COUNT_SECONDS
    assert await open_.take(20) == 10  # none of those was made after all
    async with crowded.begin() as connection:
        old = update(invoices).where(invoices.c.id < "inv_00000100").values(expires_at=invoices.c.created_at + 1)
        await connection.execute(old)
    clock.now += COUNT_SECONDS
    assert await open_.take(500) == 110


@pytest.fixture
async def narrow(evm: Evm, database: Database) -> AsyncIterator[Till]:
    async with open_till(evm, database, max_unpaid_invoices=2) as made:
        yield made


async def test_beyond_the_bound_new_invoices_are_refused_and_top_ups_are_not(narrow: Till) -> None:
    async def three() -> None:  # the paid one counts until they are counted again
        for _ in range(3):
            await narrow.invoice()

    opened = await narrow.open()
    with pytest.raises(UnavailableError, match="Too many invoices") as refused:
        await three()
    assert refused.value.code == "too_many_invoices"
    top_up = await narrow.invoice(session_id=opened.session_id)
    assert top_up.amount == AMOUNT


async def rows_of(till: Till, column: Any) -> Sequence[Any]:
    return [row[0] for row in await till.rows(select(column))]


async def test_a20_crumbs_to_one_invoice_are_owed_back_later_beyond_a_few(evm: Evm, database: Database) -> None:
    async with open_till(evm, database) as till:
        payer, asked = await till.payer(), await till.invoice()
        proofs = [await till.send(payer, asked, amount=1) for _ in range(RETURNED_AT_ONCE + 2)]
        answers = [await till.verify(proof) for proof in proofs]
        assert {each.code for each in answers} == {RejectCode.AMOUNT_SHORT}
        assert len(await till.rows(select(refunds))) == RETURNED_AT_ONCE
        later = await till.rows(select(transfers).where(transfers.c.refund_at.is_not(None)))
        assert {row.tx for row in later} == {proof.tx for proof in proofs[RETURNED_AT_ONCE:]}
        # The invoice can still be paid, and what came in crumbs comes back in time.
        assert (await till.verify(await till.send(payer, asked))).valid
        async with till.database.begin() as connection:
            await connection.execute(update(transfers).where(transfers.c.refund_at.is_not(None)).values(refund_at=1))
        await till.service.upkeep.sweep()
        assert (await till.rows(select(func.count()).select_from(refunds)))[0][0] == len(proofs)
        assert (await till.accounts())["payer_due"] == len(proofs)
