"""PostgreSQL behind a pooler, after a switchover, and away."""

from __future__ import annotations

import asyncio
import logging
import os
import re

import pytest
from sqlalchemy import text
from tests.fixtures.processes import free_port

from ws402.errors import ConfigurationError
from ws402.gateway.ledger.database import Database, DatabaseUnavailableError

pytestmark = pytest.mark.postgres
on_postgres = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
ADD = text("INSERT INTO networks (network, first_block, block) VALUES (:name, 1, 1)")


async def test_a_pooler_that_lends_connections_by_the_transaction_is_as_good_as_a_server() -> None:
    url = os.environ.get("DATABASE_URL_POOL", "")
    if not url:
        pytest.skip("DATABASE_URL_POOL names no pooler before PostgreSQL")
    query = "options=-c%20statement_timeout%3D77s"
    both = Database(url), Database(f"{url}{'&' if '?' in url else '?'}{query}")

    async def work(database: Database, number: int) -> None:
        for _ in range(5):
            async with database.begin() as connection:
                question = text("SELECT :number + 1, current_setting('idle_in_transaction_session_timeout')")
                assert (await connection.execute(question, {"number": number})).one() == (number + 1, "10s")
            async with database.read() as connection:
                assert (await connection.execute(text("SHOW transaction_isolation"))).scalar() == "repeatable read"

    for database in both:
        await database.check()
        await database.create()
    await asyncio.gather(*(work(database, number) for database in both for number in range(30)))
    for database, timeout in zip(both, ("0", "77s"), strict=True):
        async with database.begin() as connection:
            assert (await connection.execute(text("SHOW statement_timeout"))).scalar() == timeout
        await database.writable()
        await database.close()


@on_postgres
async def test_connections_to_an_old_primary_are_given_up(database_url: str) -> None:
    database = Database(database_url)
    await database.create()

    async def end_as_a_standby() -> None:
        async with database.begin() as connection:
            # A session that is open stays with the server that it was opened to; this is how it finds that later.
            await connection.execute(text("SET default_transaction_read_only = on"))
            await ready.wait()

    ready = asyncio.Event()
    sessions = [asyncio.create_task(end_as_a_standby()) for _ in range(8)]
    await asyncio.sleep(0.2)
    ready.set()
    await asyncio.gather(*sessions)
    with pytest.raises(DatabaseUnavailableError):
        async with database.begin() as connection:
            await connection.execute(ADD, {"name": "first"})
    for name in ("second", "third"):
        async with database.begin() as connection:
            await connection.execute(ADD, {"name": name})
    await database.close()


@on_postgres
async def test_a_server_that_only_reads_is_refused_and_is_not_ready(database_url: str) -> None:
    database = Database(database_url)
    await database.create()
    async with database.begin() as connection:
        name = (await connection.execute(text("SELECT current_database()"))).scalar()
        await connection.execute(text("SET default_transaction_read_only = on"))
        await connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    for _ in range(2):
        with pytest.raises(DatabaseUnavailableError):
            await database.writable()
    fresh = Database(database_url)
    with pytest.raises(ConfigurationError, match="refuses"):
        await fresh.check()
    await fresh.close()
    await database.close()


@on_postgres
async def test_a46_a_refused_login_tells_no_password(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = re.sub(r":[^:@/]+@", ":zebraGiraffe@", database_url)
    database = Database(wrong)
    with pytest.raises(ConfigurationError, match="password authentication failed") as caught:
        await database.check()
    with pytest.raises(DatabaseUnavailableError) as later:
        async with database.begin() as connection:
            await connection.execute(text("SELECT 1"))
    await database.close()
    assert "zebra" not in f"{caught.value} {later.value} {caplog.text} {database.__dict__}"


@on_postgres
async def test_the_next_of_several_hosts_is_asked_where_one_is_away(database_url: str) -> None:
    head, _, tail = database_url.rpartition("@")
    database = Database(f"{head}@127.0.0.1:{free_port()},{tail}")
    await database.create()
    async with database.begin() as connection:
        await connection.execute(ADD, {"name": "base"})
    await database.close()


async def test_a_server_that_is_away_is_an_outage() -> None:
    database = Database(f"postgresql://u:zebra@127.0.0.1:{free_port()}/d")
    with pytest.raises(DatabaseUnavailableError) as caught:
        async with database.begin():
            pass
    assert "zebra" not in str(caught.value)
    await database.close()
