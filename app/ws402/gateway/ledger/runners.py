"""What runs a whole transaction: the ledger's own thread (SQLite), or a connection of asyncpg's (PostgreSQL)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final, Protocol, TypeVar

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from ws402.gateway.ledger.postgres import Postgres, gives_up
from ws402.gateway.ledger.transactions import (
    PostgresTransaction,
    SqliteTransaction,
    Transaction,
    as_dbapi_error,
    finish,
)
from ws402.observability import tracing

T = TypeVar("T")
Work = Callable[[Transaction], Coroutine[Any, Any, T]]

KEEP: Final = 8
"""Connections kept between transactions: one for each kind of batch. The rest of the engine's pool is for others."""


class Runner(Protocol):
    """Runs transactions: committed when the work returns, rolled back when it raises."""

    async def run(self, work: Work[T]) -> T:
        """Raises DBAPIError, OSError, sqlite3.Error, and what the work raises."""

    async def close(self) -> None:
        """Close its connections."""

    @property
    def idle(self) -> int:
        """Connections of the engine's pool that it keeps without using them."""


class SqliteRunner:
    """One thread, one connection; `writer` is what the process's writers take in turn."""

    idle = 0

    def __init__(self, engine: AsyncEngine, connect: Callable[[], sqlite3.Connection], writer: asyncio.Lock) -> None:
        self._dialect = engine.dialect
        self._connect = connect
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def run(self, work: Work[T]) -> T:
        """See `Runner.run`. Cancelled, the transaction still ends before the next one begins."""
        await self._writer.acquire()
        transact: Callable[..., tuple[T, list[Callable[[], object]]]] = self._transact
        try:
            loop = asyncio.get_running_loop()
            if tracing.active():
                running = loop.run_in_executor(self._thread, copy_context().run, transact, work)
            else:
                running = loop.run_in_executor(self._thread, transact, work)
        except BaseException:
            self._writer.release()
            raise
        running.add_done_callback(self._ended)
        result, _ = await asyncio.shield(running)
        return result

    def _ended(self, running: asyncio.Future[tuple[Any, list[Callable[[], object]]]]) -> None:
        self._writer.release()
        if not running.cancelled() and running.exception() is None:
            for call in running.result()[1]:
                call()

    def _transact(self, work: Work[T]) -> tuple[T, list[Callable[[], object]]]:
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        transaction = SqliteTransaction(self._dialect, connection)
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = finish(work(transaction))
                transaction.check()
                connection.execute("COMMIT")
            except BaseException:
                self._roll_back(connection)
                raise
        except sqlite3.Error as error:
            raise as_dbapi_error(error) from error
        return result, transaction.after

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._connection = None
            connection.close()  # which rolls back, too

    async def close(self) -> None:
        """See `Runner.close`."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._end)
        self._thread.shutdown(wait=False)

    def _end(self) -> None:
        """In the thread, so that a transaction under way ends before."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class PostgresRunner:
    """Connections of the engine's pool, kept between transactions: the pool's own checks cost more than a batch."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._idle: list[tuple[int, Any]] = []
        """Each with the server's age that it was made in."""
        self._closed = False

    @property
    def idle(self) -> int:
        """See `Runner.idle`."""
        return len(self._idle)

    async def run(self, work: Work[T]) -> T:
        """See `Runner.run`."""
        age, pooled = await self._begun()
        driver = pooled.driver_connection
        transaction = PostgresTransaction(self._server.engine.dialect, driver)
        try:
            result = await work(transaction)
            transaction.check()
            await driver.execute("COMMIT")
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if gives_up(error):
                self._server.give_up()
            lost = driver.is_closed()
            await self._roll_back(age, pooled)
            raise as_dbapi_error(error, lost=lost) from error
        except BaseException:
            await self._roll_back(age, pooled)
            raise
        self._keep(age, pooled)
        for call in transaction.after:
            call()
        return result

    async def _begun(self) -> tuple[int, Any]:
        """A connection in a transaction. One that died while it was idle is replaced: nothing was asked of it yet."""
        while True:
            age, pooled = self._kept() or (self._server.age, None)
            kept = pooled is not None
            if pooled is None:
                pooled = await self._server.engine.raw_connection()
            driver: Any = pooled.driver_connection
            try:
                await driver.execute(self._server.begin)
                if not kept:
                    # Within the transaction: a pooler may lead two calls to two servers.
                    await driver.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=int, format="text")
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                lost = driver.is_closed()
                _drop(pooled)
                if not kept:
                    raise error if isinstance(error, OSError) else as_dbapi_error(error, lost=lost) from error
            except BaseException:
                _drop(pooled)
                raise
            else:
                return age, pooled

    def _kept(self) -> tuple[int, Any] | None:
        while self._idle:
            age, pooled = self._idle.pop()
            if age == self._server.age:
                return age, pooled
            _drop(pooled)
        return None

    def _keep(self, age: int, pooled: Any) -> None:
        if self._closed or len(self._idle) >= KEEP or pooled.driver_connection.is_closed():
            _drop(pooled)
        else:
            self._idle.append((age, pooled))

    async def _roll_back(self, age: int, pooled: Any) -> None:
        driver = pooled.driver_connection
        try:
            if driver.is_in_transaction():
                await driver.execute("ROLLBACK")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            _drop(pooled)  # what the transaction failed of is told, not this
            return
        except BaseException:
            _drop(pooled)
            raise
        self._keep(age, pooled)

    async def close(self) -> None:
        """See `Runner.close`."""
        self._closed = True
        while self._idle:
            _, pooled = self._idle.pop()
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await pooled.driver_connection.close(timeout=2)
            _drop(pooled)


def _drop(pooled: Any) -> None:
    """Give up a connection: the pool opens another one when it needs it."""
    pooled.invalidate()
