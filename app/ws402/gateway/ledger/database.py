"""The ledger's database: SQLite (one gateway) or PostgreSQL 15+ (several), behind one small class.

SQLite runs in WAL mode with `synchronous=FULL`: a commit that returned survives a power cut. Its writers queue in this
process, and wait for other processes by its own lock. PostgreSQL runs at READ COMMITTED; whatever must not race locks
its rows in a fixed order or leaves the decision to a UNIQUE constraint.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import AsyncAdaptedQueuePool, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ws402.errors import ConfigurationError, UnavailableError
from ws402.gateway.ledger import address
from ws402.gateway.ledger.clock import LedgerClock
from ws402.gateway.ledger.postgres import Postgres
from ws402.gateway.ledger.runners import PostgresRunner, Runner, SqliteRunner
from ws402.gateway.ledger.schema import require_newest, upgrade
from ws402.gateway.ledger.sqlite import connect, open_file
from ws402.gateway.ledger.transactions import Outbox, Transaction, calls_after, set_outbox
from ws402.observability import metrics, tracing
from ws402.observability.sql import instrument

log = logging.getLogger(__name__)

T = TypeVar("T")


READ_ONLY: Final = "ws402_read_only"
"""Execution option of connections that will not write."""


SQLITE_OUTAGES: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
)

LEAST_ROOM: Final = 16 * 2**20
"""With less free than this, in bytes, an SQLite ledger is as good as full: its write-ahead log alone takes some MiB."""

ROOM: Final = "Make room on its volume; nothing was changed, and the same call works then."

TELL_SECONDS: Final = 60.0


_POSTGRES_NOW: Final = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)")
_NEWEST_ENTRY: Final = text("SELECT created_at FROM entries ORDER BY id DESC LIMIT 1")


class DatabaseUnavailableError(UnavailableError):
    """The database does not answer; nothing was changed."""

    code = "database_unavailable"


class StorageFullError(DatabaseUnavailableError):
    """The ledger's volume has no room; nothing was changed."""

    code = "storage_full"


def now_ms() -> int:
    """Now by this machine's clock, in milliseconds since the epoch: for what is only shown."""
    return time.time_ns() // 1_000_000


class Database:
    """One ledger. `url` is `sqlite:///path` or one of libpq's (`ws402.gateway.ledger.address`).

    Raises ConfigurationError, which quotes no part of a password.
    """

    dialect: Literal["sqlite", "postgresql"]

    def __init__(self, url: str) -> None:
        scheme = url.partition("://")[0]
        self._writer = asyncio.Lock()
        self.clock = LedgerClock()
        self.outbox: Outbox | None = None
        """Set, events are written with what they tell of."""
        self._full_told = -math.inf
        if scheme.startswith("sqlite"):
            self.dialect = "sqlite"
            self._path = file_of(url)
            self.name = f"sqlite:///{self._path}"
            self._engine = create_async_engine(
                f"sqlite+aiosqlite:///{self._path}",
                async_creator=partial(connect, self._path),
                pool_size=5,
                max_overflow=0,
                hide_parameters=True,  # errors must not quote rows
            )
            event.listen(self._engine.sync_engine, "begin", _begin_immediate)
            self._runner: Runner = SqliteRunner(self._engine, partial(open_file, self._path), self._writer)
        elif scheme in address.SCHEMES:
            self.dialect = "postgresql"
            where = address.read(url)
            self.name = where.name
            server = Postgres(where)
            self._engine = server.engine
            self._runner = PostgresRunner(server)
        else:
            # Nothing of it is quoted: who forgets the scheme begins with the user and the password.
            raise ConfigurationError(
                "DATABASE_URL names no kind of database that is known.",
                remedy="Write sqlite:///path or postgresql://user:password@host/name.",
            )
        if tracing.enabled():
            instrument(self._engine.sync_engine)

    @property
    def connections_used(self) -> int:
        """Connections of the pool that are in use."""
        pool = self._engine.pool
        return pool.checkedout() - self._runner.idle if isinstance(pool, AsyncAdaptedQueuePool) else 0

    @property
    def file(self) -> Path | None:
        """Where an SQLite ledger is."""
        return self._path if self.dialect == "sqlite" else None

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for migrations."""
        return self._engine

    async def check(self) -> None:
        """Open a connection and write nothing; raises ConfigurationError with a remedy when that fails."""
        if self.dialect == "sqlite":
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._unwritable(error.strerror) from error
            # Asked, not opened: closing the file would end this process's locks on it (POSIX), so that another process
            # could take the write-ahead log away from under it (SQLite, "How To Corrupt", §2.2).
            if not os.access(self._path if self._path.exists() else self._path.parent, os.W_OK):
                raise self._unwritable(os.strerror(errno.EACCES))
        try:
            async with self._engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (DBAPIError, OSError, sqlite3.Error) as error:
            cause = getattr(error, "orig", None) or error
            raise ConfigurationError(
                f"The database {self.name} refuses: {_first_line(cause)}.",
                remedy="Check DATABASE_URL, and that the server runs and lets this user in.",
            ) from error

    async def check_exists(self) -> None:
        """As `check`, and raise ConfigurationError when there is no ledger: none is made."""
        if self.file is not None and not self.file.is_file():
            raise ConfigurationError(f"There is no ledger at {self.file}.", remedy="Check DATABASE_URL.")
        await self.check()

    async def check_revision(self) -> None:
        """Raise ConfigurationError unless the schema is this version's."""
        async with self.read() as connection:
            await connection.run_sync(require_newest)

    def _unwritable(self, reason: str | None) -> ConfigurationError:
        return ConfigurationError(
            f"The ledger {self._path} cannot be written: {reason}.",
            remedy="Give the process a folder that it may write to, or set DATABASE_URL.",
        )

    async def create(self) -> None:
        """Make the schema where it is missing; several gateways may do so at once."""
        async with self.begin() as connection:
            if self.dialect == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(402)"))
            await connection.run_sync(upgrade)
        await self.set_clock()

    def now_ms(self) -> int:
        """Now by the ledger's clock, in milliseconds since the epoch: what gateways write and compare."""
        return self.clock.now_ms()

    async def set_clock(self) -> None:
        """Set the ledger's clock by the database's. SQLite has none: it is this machine's. It is never
        before the newest entry, so that a clock that was turned back takes no time away from anybody.
        """
        async with self.read() as connection:
            newest = (await connection.execute(_NEWEST_ENTRY)).scalar() or 0
            asked = self.clock.mark()
            if self.dialect == "postgresql":
                self.clock.set((await connection.execute(_POSTGRES_NOW)).scalar_one(), asked, least_ms=newest)
            else:
                self.clock.set(now_ms(), asked, least_ms=newest)
        metrics.CLOCK_SKEW.set(self.clock.skew_ms / 1000)

    def begin(self, *, dry_run: bool = False) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that may write: committed at the end of the block, rolled back by an exception or a dry run."""
        return self._begin_sqlite(dry_run=dry_run) if self.dialect == "sqlite" else self._begin(dry_run=dry_run)

    async def run(self, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        """Run a transaction's whole work, and commit; what it raises rolls back. For calls that come all the time.

        The work waits for nothing but its transaction, and runs in another thread (SQLite).
        """
        outbox = self.outbox

        async def told(transaction: Transaction) -> T:
            transaction.outbox = outbox
            return await work(transaction)

        async with self._translated():
            return await self._runner.run(work if outbox is None else told)

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that only reads, from one state of the ledger, and makes no writer wait: for figures."""
        return self._read()

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[AsyncConnection]:
        # SQLite in WAL mode reads a snapshot by itself; PostgreSQL is asked to (its manual, §13.2.2).
        options = {READ_ONLY: True} if self.dialect == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        async with self._translated(), self._engine.connect() as connection:
            reader = await connection.execution_options(**options)
            async with reader.begin():
                yield reader

    @asynccontextmanager
    async def _begin_sqlite(self, *, dry_run: bool) -> AsyncIterator[AsyncConnection]:
        async with self._writer, self._begin(dry_run=dry_run) as connection:
            yield connection

    @asynccontextmanager
    async def _begin(self, *, dry_run: bool) -> AsyncIterator[AsyncConnection]:
        async with self._translated():
            async with self._engine.begin() as connection:
                calls_after(connection)  # of a transaction that failed
                set_outbox(connection, self.outbox)
                yield connection
                calls = calls_after(connection)
                if dry_run:
                    await connection.rollback()
                    calls.clear()
            for call in calls:
                call()

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        """An outage raises DatabaseUnavailableError."""
        try:
            yield
        except DBAPIError as error:
            if _is_full(error.orig):
                self._tell_full(_first_line(error.orig))
                raise StorageFullError("The ledger's disk is full.", remedy=ROOM) from error
            if error.connection_invalidated or _is_outage(error):
                raise DatabaseUnavailableError(f"The database does not answer: {_first_line(error.orig)}.") from error
            raise
        except sqlite3.Error as error:  # a connection that could not be opened
            raise DatabaseUnavailableError(f"The database does not answer: {_first_line(error)}.") from error
        except OSError as error:
            raise DatabaseUnavailableError(f"The database does not answer: {_first_line(error)}.") from error

    def _tell_full(self, reason: str) -> None:
        """Once a minute: the log may be on the same disk."""
        if time.monotonic() >= self._full_told + TELL_SECONDS:
            self._full_told = time.monotonic()
            log.error("the ledger %s cannot be written: %s", self.name, reason)

    async def writable(self) -> None:
        """Readiness: raise DatabaseUnavailableError unless a transaction can be committed now."""
        async with self.begin() as connection:
            if self.dialect == "postgresql":
                if (await connection.execute(text("SHOW transaction_read_only"))).scalar() == "on":
                    raise DatabaseUnavailableError("The database only reads: it is a standby, or was made read-only.")
                return
            if shutil.disk_usage(self._path.parent).free < LEAST_ROOM:
                self._tell_full("no space left")
                raise StorageFullError("The ledger's disk is full.", remedy=ROOM)
            # The same number again: it changes nothing, and is written to the disk.
            version = (await connection.exec_driver_sql("PRAGMA user_version")).scalar()
            await connection.exec_driver_sql(f"PRAGMA user_version = {version}")

    def volume(self) -> tuple[int, int, int] | None:
        """Of an SQLite ledger, in bytes: itself with its write-ahead log, free on its volume, the volume's size."""
        if self.dialect != "sqlite":
            return None
        try:
            usage = shutil.disk_usage(self._path.parent)
            log_file = self._path.with_name(f"{self._path.name}-wal")
            size = sum(each.stat().st_size for each in (self._path, log_file) if each.exists())
        except OSError:
            return None  # a volume that is away is told by everything else
        return size, usage.free, usage.total

    async def close(self) -> None:
        """Close all connections."""
        await self._runner.close()
        await self._engine.dispose()


def _begin_immediate(connection: Any) -> None:
    # A deferred transaction that turns into a writer can fail with SQLITE_BUSY at once; this one waits its turn.
    reads = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def file_of(url: str) -> Path:
    """The file of an SQLite URL. Raises ConfigurationError, which quotes nothing of it."""
    scheme, _, rest = url.partition("://")
    path, mark, _ = rest.partition("?")
    if scheme not in {"sqlite", "sqlite+aiosqlite"} or not path.startswith("/") or mark:
        raise ConfigurationError(
            "DATABASE_URL is no URL of an SQLite file.",
            remedy="Write sqlite:///path, or sqlite:////path for one from the root, without parameters.",
        )
    if path in {"/", "/:memory:"}:
        raise ConfigurationError(
            "DATABASE_URL names no file.", remedy="Write sqlite:///path: a ledger in memory would lose money."
        )
    return Path(path[1:])


def _is_full(error: BaseException | None) -> bool:
    """SQLite's SQLITE_FULL and SQLITE_IOERR_WRITE, PostgreSQL's disk_full."""
    codes = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)
    return getattr(error, "sqlite_errorcode", None) in codes or getattr(error, "sqlstate", None) == "53100"


def _is_outage(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None) or ""
    # The low byte of SQLite's extended codes is the primary one: locked by others, unreadable, unwritable.
    if getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in SQLITE_OUTAGES:
        return True
    # Class 08: connection; 57P: shutdown; 53: out of resources; 25006: a standby after a failover, 25P03: idle for too
    # long within a transaction (PostgreSQL, appendix A).
    return state.startswith(("08", "57P", "53", "25006", "25P03"))


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if error and str(error).strip() else type(error).__name__
