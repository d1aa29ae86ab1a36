"""The database below the ledger, where other processes use it, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from ws402.errors import ConfigurationError
from ws402.gateway.ledger.database import Database

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


async def test_a_ledger_that_cannot_be_written_is_told_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"cannot be written.*Give the process a folder"):
        await Database(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}").check()
