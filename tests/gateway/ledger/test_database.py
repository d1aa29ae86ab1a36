"""The database below the ledger, where other processes use it, too."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from ws402.errors import ConfigurationError
from ws402.gateway.ledger import database as ledger
from ws402.gateway.ledger.database import Database, DatabaseUnavailableError
from ws402.gateway.ledger.postgres import IDLE_SECONDS
from ws402.gateway.ledger.sqlite import connect

LOOK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM networks").fetchone()[0])
connection.close()
"""


def look(path: Path) -> int:
    """Count rows from a process of its own, which opens the file and closes it again."""
    return int(subprocess.run([sys.executable, "-c", LOOK, str(path)], capture_output=True, check=True).stdout)


async def test_a19_whoever_looks_at_a_running_gateways_ledger_takes_nothing_from_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    gateway = Database(f"sqlite:///{path}")
    await gateway.check()
    await gateway.create()
    await gateway.check()  # while connections are open
    assert look(path) == 0
    async with gateway.begin() as connection:
        await connection.execute(text("INSERT INTO networks (network, first_block, block) VALUES ('base', 1, 1)"))
    assert look(path) == 1, "what was committed is in a file that is gone"
    await gateway.close()
    assert look(path) == 1


@pytest.mark.parametrize("database_url", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
async def test_a23_a_gateway_that_stalls_within_a_transaction_lets_the_others_go_on(database_url: str) -> None:
    stalled, other = Database(database_url), Database(database_url)
    await stalled.create()
    mine = text("INSERT INTO networks (network, first_block, block) VALUES ('base', 1, 1)")

    async def stall() -> None:
        async with stalled.begin() as connection:
            await connection.execute(mine)
            async with asyncio.timeout(IDLE_SECONDS + 10), other.begin() as another:
                await another.execute(mine)  # waits for the one that stalls, and gets in when that is cut off
            await connection.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailableError):
        await stall()
    await stalled.close()
    await other.close()


async def test_a_ledger_that_cannot_be_written_is_told_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"cannot be written.*Give the process a folder"):
        await Database(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}").check()


async def test_a_full_disk_is_an_outage_that_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    await database.create()
    await database.writable()
    async with database.begin() as connection:
        await connection.execute(text("PRAGMA max_page_count = 1"))  # as many as there are: no room for another
    for _ in range(3):
        with pytest.raises(DatabaseUnavailableError, match="disk is full"):
            async with database.begin() as connection:
                await connection.execute(
                    text("INSERT INTO networks (network, first_block, block) VALUES (:name, 1, 1)"),
                    [{"name": "x" * 1000 + str(number)} for number in range(50)],
                )
    monkeypatch.setattr(ledger, "LEAST_ROOM", 2**62)
    with pytest.raises(DatabaseUnavailableError, match="disk is full"):
        await database.writable()
    assert caplog.text.count("cannot be written") == 1
    monkeypatch.undo()
    async with database.begin() as connection:
        await connection.execute(text("PRAGMA max_page_count = 1000000"))
    await database.writable()
    await database.close()


async def test_who_is_cancelled_while_a_connection_is_opened_leaves_none_open(tmp_path: Path) -> None:
    for turns in range(60):
        opening = [asyncio.create_task(connect(tmp_path / "ledger.db")) for _ in range(3)]
        for _ in range(turns % 12):
            await asyncio.sleep(0)
        await asyncio.sleep(0.0005 * (turns % 5))
        for each in opening:
            each.cancel()
        for made in await asyncio.gather(*opening, return_exceptions=True):
            if not isinstance(made, BaseException):
                await made.close()
    assert [each.path for each in psutil.Process().open_files() if each.path.startswith(str(tmp_path))] == []


async def test_a_transaction_that_is_cancelled_keeps_no_lock(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    await database.create()

    async def write() -> None:
        while True:
            async with database.begin() as connection:
                await connection.execute(text("CREATE TABLE IF NOT EXISTS tried (n INTEGER)"))
                await connection.execute(text("INSERT INTO tried VALUES (1)"))
                await connection.execute(text("SELECT n FROM tried"))

    for turns in range(60):
        writers = [asyncio.create_task(write()) for _ in range(2)]
        for _ in range(turns % 15):
            await asyncio.sleep(0)
        await asyncio.sleep(0.0005 * (turns % 7))
        for each in writers:
            each.cancel()
        async with asyncio.timeout(10), database.begin() as connection:
            await connection.execute(text("SELECT 1"))
        await asyncio.gather(*writers, return_exceptions=True)
    await database.close()
