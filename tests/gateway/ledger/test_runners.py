"""Whole transactions that a driver runs: all of one is committed, or nothing; and their connections."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from sqlalchemy import bindparam, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from ws402.gateway.ledger.bulk import insert, insert_new, update
from ws402.gateway.ledger.database import Database, DatabaseUnavailableError
from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.tables import entries, networks
from ws402.gateway.ledger.transactions import Transaction, after_commit

on_postgres = pytest.mark.parametrize(
    "database_url", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)
NAMED = Statement(select(networks.c.network, networks.c.block).where(one_of(networks.c.network, "names")))
AT = Statement(select(networks.c.network).where(networks.c.block == bindparam("block")))
WHO = Statement(select(func.pg_backend_pid()))
AGAIN = Statement(text("INSERT INTO networks (network, first_block, block) VALUES ('first', 1, 1)"))
ONLY_READ = Statement(text("SET default_transaction_read_only = on"))


def row(name: str) -> dict[str, Any]:
    return {"network": name, "first_block": 1, "block": 1}


async def names(database: Database) -> set[str]:
    async with database.read() as connection:
        return set((await connection.execute(select(networks.c.network))).scalars())


async def test_what_fails_in_the_middle_leaves_nothing_and_the_next_one_goes_on(database: Database) -> None:
    committed: list[str] = []

    async def twice(connection: Transaction) -> None:
        after_commit(connection, lambda: committed.append("twice"))
        await insert(connection, networks, [row("first")])
        await insert(connection, networks, [row("second"), row("first")])

    async def once(connection: Transaction) -> int:
        after_commit(connection, lambda: committed.append("once"))
        await insert(connection, networks, [row("third")])
        return len(await connection.fetch(NAMED, names=["first", "second", "third"]))

    with pytest.raises(IntegrityError):
        await database.run(twice)
    assert await database.run(once) == 1
    assert (await names(database), committed) == ({"third"}, ["once"])


async def test_a_work_that_goes_on_after_a_failed_statement_is_not_committed(database: Database) -> None:
    async def swallow(connection: Transaction) -> None:
        await insert(connection, networks, [row("first")])
        with pytest.raises(Exception, match=r"(?i)unique"):
            await connection.fetch(AGAIN)

    with pytest.raises(RuntimeError, match="after a statement had failed"):
        await database.run(swallow)
    assert await names(database) == set()


async def test_a_cancelled_call_leaves_all_or_nothing_and_the_next_one_its_turn(database: Database) -> None:
    async def work(name: str, connection: Transaction) -> None:
        await insert(connection, networks, [row(name)])
        await insert(connection, networks, [row(f"{name}, too")])

    for name in "abcdefgh":
        call = asyncio.ensure_future(database.run(lambda connection, name=name: work(name, connection)))  # type: ignore[misc]
        for _ in range(ord(name) - ord("a")):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
    await database.run(lambda connection: work("last", connection))
    found = await names(database)
    assert "last" in found
    assert {f"{name}, too" for name in found if "too" not in name} == {name for name in found if "too" in name}


async def test_a_parameter_that_was_forgotten_is_no_null(database: Database) -> None:
    with pytest.raises(KeyError):
        await database.run(lambda connection: connection.fetch(AT))
    with pytest.raises(KeyError):
        await database.run(lambda connection: connection.fetch(NAMED))


async def test_an_amount_is_an_integer(database: Database) -> None:
    move = {"debit": "chain", "credit": "capital", "network": "n", "asset": "ETH", "kind": "k", "created_at": 1}

    async def book(amount: Any, connection: Transaction) -> None:
        await insert(connection, entries, [{**move, "amount": amount, "subject": str(amount)}])

    async def sum_up(connection: Transaction) -> list[int]:
        return (await connection.fetch(Statement(select(entries.c.amount).order_by(entries.c.id)))).scalars()

    for amount in (1.5, True, "1"):
        with pytest.raises(TypeError, match="must be int"):
            await database.run(lambda connection, amount=amount: book(amount, connection))  # type: ignore[misc]
    await database.run(lambda connection: book(2**256 - 1, connection))
    assert await database.run(sum_up) == [2**256 - 1]


async def test_only_what_is_new_is_told_as_new(database: Database) -> None:
    async def add(connection: Transaction) -> tuple[set[Any], list[int]]:
        await insert(connection, networks, [row("first")])
        new = await insert_new(connection, networks, [row("first"), row("second")], key="network")
        await update(connection, networks, "network", [{"network": "second", "block": 9}])
        found = await connection.fetch(NAMED, names=["first", "second"])
        return new, sorted(each.block for each in found)

    new, blocks = await database.run(add)
    assert ("second" in new, blocks) == (True, [1, 9])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_work_that_waits_for_something_else_is_rolled_back(database: Database) -> None:
    async def wait(connection: Transaction) -> None:
        await insert(connection, networks, [row("first")])
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waited for something else"):
        await database.run(wait)
    assert await names(database) == set()


@on_postgres
async def test_many_at_once_leave_connections_to_others(database: Database) -> None:
    async def who(connection: Transaction) -> int:
        return int((await connection.fetch(WHO)).scalar())

    await asyncio.gather(*(database.run(who) for _ in range(20)))
    assert database.connections_used == 0
    async with asyncio.timeout(10):
        begun = [database.begin() for _ in range(10)]
        for each in begun:
            await each.__aenter__()
        assert database.connections_used == 10
        await database.run(who)
        for each in begun:
            await each.__aexit__(None, None, None)


@on_postgres
async def test_a_connection_that_died_is_replaced_or_an_outage(database: Database) -> None:
    async def who(connection: Transaction) -> int:
        return int((await connection.fetch(WHO)).scalar())

    async def end(pid: int) -> None:
        async with database.begin() as connection:
            await connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    async def end_within(connection: Transaction) -> None:
        await insert(connection, networks, [row("first")])
        await end(int((await connection.fetch(WHO)).scalar()))
        await insert(connection, networks, [row("second")])

    first = await database.run(who)
    await end(first)
    assert await database.run(who) != first
    with pytest.raises(DatabaseUnavailableError):
        await database.run(end_within)
    assert await names(database) == set()
    await database.run(lambda connection: insert(connection, networks, [row("third")]))
    assert await names(database) == {"third"}


@on_postgres
async def test_connections_to_an_old_primary_are_given_up_by_all(database: Database) -> None:
    begun = asyncio.Barrier(4)

    async def become_a_standby(connection: Transaction) -> None:
        await connection.fetch(ONLY_READ)  # for the session's later transactions
        await begun.wait()

    await asyncio.gather(*(database.run(become_a_standby) for _ in range(4)))
    with pytest.raises(DatabaseUnavailableError):
        await database.run(lambda connection: insert(connection, networks, [row("first")]))
    for name in ("second", "third"):
        await database.run(lambda connection, name=name: insert(connection, networks, [row(name)]))  # type: ignore[misc]
    assert await names(database) == {"second", "third"}


@on_postgres
async def test_a_value_that_does_not_fit_is_no_outage(database: Database) -> None:
    with pytest.raises(DBAPIError) as raised:
        await database.run(lambda connection: insert(connection, networks, [row("first") | {"block": 2**64}]))
    assert not raised.value.connection_invalidated


@pytest.mark.postgres
async def test_a_pooler_lends_a_connection_for_each_whole_transaction() -> None:
    url = os.environ.get("DATABASE_URL_POOL", "")
    if not url:
        pytest.skip("DATABASE_URL_POOL names no pooler before PostgreSQL")
    both = Database(url), Database(url)
    for database in both:
        await database.create()
    names = [f"pooled {number}" for number in range(30)]
    settings = Statement(select(func.current_setting("idle_in_transaction_session_timeout")))

    async def add(name: str, connection: Transaction) -> tuple[int, str]:
        await insert_new(connection, networks, [row(name)], key="network")
        await connection.fetch(AT, block=1)
        return len(await connection.fetch(NAMED, names=[name])), (await connection.fetch(settings)).scalar()

    for database in both:
        for _ in range(2):
            answers = await asyncio.gather(
                *(database.run(lambda connection, name=name: add(name, connection)) for name in names)  # type: ignore[misc]
            )
            assert answers == [(1, "10s")] * len(names)
    async with both[0].begin() as connection:
        await connection.execute(text("DELETE FROM networks WHERE network LIKE 'pooled %'"))
    for database in both:
        await database.close()
