"""A chain's state in one file (SQLite), so that it goes on after a restart. Each block is in it before anybody sees it.

What is in a block survives the end of the process at any moment, and of the machine up to its last seconds
(`synchronous=NORMAL`). The pool does not: as with other nodes, what waits for a block is sent again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ws402.errors import ConfigurationError

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS store (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
"""


class State:
    """The file of one chain. One thread, and one process, at a time."""

    def __init__(self, path: Path, kind: str) -> None:
        """Open it, or make it; `kind` names the chain that it must be of. Raises ConfigurationError."""
        self._path = path
        try:
            self._file = sqlite3.connect(path, isolation_level=None, timeout=0)
        except sqlite3.Error as error:
            raise self._refused(error) from error
        try:
            # Nobody else opens it as long as this process has it; and WAL then needs no file for shared memory.
            self._file.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=NORMAL")
            self._file.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
            known = self.fact("kind")
        except sqlite3.Error as error:
            self._file.close()
            raise self._refused(error) from error
        if known not in (None, kind):
            self._file.close()
            raise ConfigurationError(
                f"{path} has the state of another chain: {known}, not {kind}.",
                remedy="Name another file with --state, or start the chain that it is of.",
            )
        if known is None:
            self.remember("kind", kind)

    def _refused(self, error: sqlite3.Error) -> ConfigurationError:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY:
            return ConfigurationError(
                f"Another process has {self._path} open.", remedy="Stop it first, or name another file with --state."
            )
        return ConfigurationError(
            f"{self._path} cannot be used as a chain's state: {error}.",
            remedy="Name another file with --state, or move this one away to begin anew.",
        )

    def close(self) -> None:
        """Let go of it."""
        self._file.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """All that is written within, or nothing of it."""
        self._file.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._file.execute("ROLLBACK")
            raise
        self._file.execute("COMMIT")

    # --- Facts ---------------------------------------------------------------------------------------------------

    def fact(self, name: str) -> str | None:
        """What was remembered."""
        row = self._file.execute("SELECT value FROM facts WHERE name = ?", [name]).fetchone()
        return None if row is None else str(row[0])

    def remember(self, name: str, value: str) -> None:
        """Remember it."""
        self._file.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", [name, value])

    # --- Accounts and blocks -------------------------------------------------------------------------------------

    def store(self) -> dict[bytes, bytes]:
        """All keys and values."""
        return dict(self._file.execute("SELECT key, value FROM store"))

    def write(self, values: Iterable[tuple[bytes, bytes]], gone: Iterable[bytes] = ()) -> None:
        """Set keys, and delete others."""
        self._file.executemany("INSERT OR REPLACE INTO store VALUES (?, ?)", values)
        self._file.executemany("DELETE FROM store WHERE key = ?", ([each] for each in gone))

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Numbers and bodies, oldest first."""
        return iter(self._file.execute("SELECT number, body FROM blocks ORDER BY number"))

    def append(self, number: int, body: bytes) -> None:
        """A new block; any that had its number or a higher one is gone."""
        self._file.execute("DELETE FROM blocks WHERE number >= ?", [number])
        self._file.execute("INSERT INTO blocks VALUES (?, ?)", [number, body])
