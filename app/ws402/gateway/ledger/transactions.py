"""Transactions of the calls that come all the time: statements go straight to the driver, and are compiled once.

A SQLite transaction runs as a whole in the ledger's own thread: its methods are coroutines that never wait, so that the
same code serves both databases.
"""

from __future__ import annotations

import abc
import sqlite3
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.gateway.ledger.statements import Compiled, Rows, Statement, Values
from ws402.observability import tracing
from ws402.observability.sql import note

T = TypeVar("T")

_AFTER: Final = "ws402_after_commit"
_OUTBOX: Final = "ws402_outbox"


@dataclass(frozen=True, slots=True)
class Outbox:
    """Somebody outside wants to be told of the ledger (`ws402.gateway.ledger.outbox`)."""

    decimals: Mapping[str, Mapping[str, int]]
    """By network and asset of the settings; the ledger may have money of others."""
    on_told: Callable[[], object] = lambda: None
    """Called when a transaction that told something is committed."""


class Transaction(abc.ABC):
    """One transaction. `after`: what is called when it is committed. `failed`: a statement raised, so that it may only
    be rolled back, whatever its work makes of that.
    """

    outbox: Outbox | None = None

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.after: list[Callable[[], object]] = []
        self.failed = False

    async def fetch(self, statement: Statement, **values: Any) -> Rows:
        """Run a statement with these parameters."""
        compiled = statement.compiled(self.dialect)
        return await self._noted(compiled.text, self._run(compiled, values))

    async def exec_driver_sql(self, text: str, parameters: Any) -> Rows:
        """Run SQL as the driver takes it; SQLite: for each of a list of parameters."""
        size = len(parameters) if isinstance(parameters, list) else 0
        return await self._noted(text, self._run_text(text, parameters), size)

    async def _noted(self, text: str, running: Coroutine[Any, Any, Rows], size: int = 0) -> Rows:
        started = time.time_ns() if tracing.active() else 0
        try:
            rows = await running
        except BaseException:
            self.failed = True
            raise
        if started:
            note(self.dialect.name, text, started, size)
        return rows

    def check(self) -> None:
        """Before a commit: raises RuntimeError if a statement failed."""
        if self.failed:
            raise RuntimeError("The work went on after a statement had failed; nothing of it is committed.")

    @abc.abstractmethod
    async def _run(self, compiled: Compiled, values: Values) -> Rows: ...

    @abc.abstractmethod
    async def _run_text(self, text: str, parameters: Any) -> Rows: ...


Connection = AsyncConnection | Transaction
"""What functions of the ledger work on."""


async def fetch(connection: Connection, statement: Statement, **values: Any) -> Any:
    """Run a statement on either."""
    if isinstance(connection, Transaction):
        return await connection.fetch(statement, **values)
    return await connection.execute(statement.clause, values)


def after_commit(connection: Connection, call: Callable[[], object]) -> None:
    """Call it when this transaction of the database's `begin` or `run` is committed; never when it is not."""
    if isinstance(connection, Transaction):
        connection.after.append(call)
    else:
        connection.info.setdefault(_AFTER, []).append(call)


def outbox_of(connection: Connection) -> Outbox | None:
    """Where to tell what this transaction does; None: nobody listens."""
    if isinstance(connection, Transaction):
        return connection.outbox
    outbox: Outbox | None = connection.info.get(_OUTBOX)
    return outbox


def set_outbox(connection: AsyncConnection, outbox: Outbox | None) -> None:
    """Let `outbox_of` answer this for a connection, which may have been another's before."""
    connection.info[_OUTBOX] = outbox


def calls_after(connection: AsyncConnection) -> list[Callable[[], object]]:
    """Take what `after_commit` was told of this connection."""
    calls: list[Callable[[], object]] = connection.info.pop(_AFTER, [])
    return calls


class SqliteTransaction(Transaction):
    """In the ledger's own thread."""

    def __init__(self, dialect: Dialect, driver: sqlite3.Connection) -> None:
        super().__init__(dialect)
        self._driver = driver

    async def _run(self, compiled: Compiled, values: Values) -> Rows:
        cursor = self._driver.execute(compiled.text, compiled.arguments(values))
        return compiled.rows(cursor.fetchall(), texts=True)

    async def _run_text(self, text: str, parameters: Any) -> Rows:
        if isinstance(parameters, list):
            cursor = self._driver.executemany(text, parameters)
        else:
            cursor = self._driver.execute(text, parameters)
        rows = Rows(cursor.fetchall())
        rows.rowcount = cursor.rowcount
        return rows


class PostgresTransaction(Transaction):
    """On a connection of asyncpg's, whose NUMERIC comes as int."""

    def __init__(self, dialect: Dialect, driver: Any) -> None:
        super().__init__(dialect)
        self._driver = driver

    async def _run(self, compiled: Compiled, values: Values) -> Rows:
        return compiled.rows(await self._driver.fetch(compiled.text, *compiled.arguments(values)), texts=False)

    async def _run_text(self, text: str, parameters: Any) -> Rows:
        return Rows(await self._driver.fetch(text, *parameters))


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing, without an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    work.close()
    raise RuntimeError("A transaction waited for something else than its database.")


def as_dbapi_error(error: Exception, *, lost: bool = False) -> DBAPIError:
    """A driver's own error as SQLAlchemy raises it; `lost`: its connection is closed.

    What was asked is not in it, for errors must not quote rows.
    """
    state = getattr(error, "sqlstate", None) or ""
    # Class 23: an integrity constraint (PostgreSQL, appendix A).
    kind = IntegrityError if isinstance(error, sqlite3.IntegrityError) or state.startswith("23") else OperationalError
    return kind("a transaction", None, error, hide_parameters=True, connection_invalidated=lost)
