"""The schema's revisions make exactly the tables of `ledger.tables`, constraints included."""

from __future__ import annotations

import asyncio
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from ws402.errors import ConfigurationError
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.schema import config, newest
from ws402.gateway.ledger.tables import metadata


def _constraints(connection: Connection) -> dict[str, list[tuple[str, str]]]:
    """Every CHECK and UNIQUE by table, as the database itself spells it."""
    found = inspect(connection)
    return {
        table: sorted(
            [(each["name"], each["sqltext"]) for each in found.get_check_constraints(table)]
            + [(each["name"], ",".join(each["column_names"])) for each in found.get_unique_constraints(table)]
        )
        for table in metadata.tables
    }


async def test_the_revisions_make_what_the_tables_say(database: Database) -> None:
    async with database.begin() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync, opts={"compare_type": False}), metadata)
        )
        migrated = await connection.run_sync(_constraints)
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
        declared = await connection.run_sync(_constraints)
    assert differences == []
    assert migrated == declared
    assert any("within_paid" in name for name, _ in migrated["sessions"])


async def test_making_the_schema_again_changes_nothing(database: Database) -> None:
    async with database.begin() as connection:
        await connection.execute(text("INSERT INTO networks (network, first_block, block) VALUES ('base', 1, 2)"))
    await database.create()
    async with database.begin() as connection:
        assert (await connection.execute(text("SELECT block FROM networks"))).scalar_one() == 2


CREATE = """
import asyncio, sys
from ws402.gateway.ledger.database import Database

async def main():
    database = Database(sys.argv[1])
    await database.create()
    await database.close()

asyncio.run(main())
"""


def test_the_newest_file_is_the_only_head() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [newest()]


WITHOUT_ALEMBIC = CREATE + 'print([name for name in sys.modules if name.partition(".")[0] == "alembic"])'


async def test_a_ledger_that_is_up_to_date_is_opened_without_alembic(database: Database, database_url: str) -> None:
    command = [sys.executable, "-c", WITHOUT_ALEMBIC, database_url]
    again = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert (await again.communicate())[0].strip() == b"[]"


async def test_several_gateways_may_make_the_schema_at_once(database_url: str) -> None:
    several = [await asyncio.create_subprocess_exec(sys.executable, "-c", CREATE, database_url) for _ in range(4)]
    assert [await each.wait() for each in several] == [0] * 4


async def test_a_newer_ledger_is_refused(database: Database) -> None:
    async with database.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match=r"9999.*newer than this version.*Run the newer version"):
        await database.create()
