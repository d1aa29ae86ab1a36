"""A connection to a ledger that is an SQLite file, with the decimal functions that its constraints call."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiosqlite

BUSY_SECONDS: Final = 15
"""How long to wait for another process that writes to the same SQLite file."""


class _Connection(sqlite3.Connection):
    """One that rolls back before it closes.

    SQLite lets a closed connection keep its transaction, and so its lock, while a statement is unfinished
    (sqlite3_close_v2): that of a call that was cancelled, until its cursor is garbage.
    """

    def close(self) -> None:
        with suppress(sqlite3.Error):
            if self.in_transaction:
                self.rollback()
        super().close()


def open_file(path: Path) -> sqlite3.Connection:
    """Open it. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        path, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False, factory=_Connection
    )
    try:
        add_functions(connection)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
    except BaseException:
        connection.close()
        raise
    return connection


async def connect(path: Path) -> aiosqlite.Connection:
    """Open it for SQLAlchemy's pool, or leave nothing open. Raises sqlite3.Error."""

    async def opened() -> aiosqlite.Connection:
        return await aiosqlite.Connection(lambda: open_file(path), iter_chunk_size=256)

    opening = asyncio.create_task(opened(), name="open the ledger")
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await (await opening).close()  # its thread opens it all the same
        raise


def add_functions(connection: sqlite3.Connection) -> None:
    """Give a connection what the ledger's constraints and sums call."""
    connection.create_function("decimal_add", 2, _decimal_add, deterministic=True)
    connection.create_function("decimal_cmp", 2, _decimal_cmp, deterministic=True)
    connection.create_aggregate("decimal_sum", 1, _DecimalSum)  # type: ignore[arg-type]  # typeshed knows int only


def _decimal_add(left: str, right: str) -> str:
    return str(int(left) + int(right))


def _decimal_cmp(left: str, right: str) -> int:
    a, b = int(left), int(right)
    return (a > b) - (a < b)


class _DecimalSum:
    def __init__(self) -> None:
        self.total: int | None = None

    def step(self, value: str | None, /) -> None:
        if value is not None:
            self.total = (self.total or 0) + int(value)

    def finalize(self) -> str | None:
        return None if self.total is None else str(self.total)
