"""Connections to PostgreSQL: directly, or through a pooler that lends each transaction another one (PgBouncer).

A pooler takes few start-up parameters, and what one transaction leaves in its session (settings, named statements) is
another client's afterwards. So nothing is left there: each transaction makes its settings, and statements are unnamed.
Whether there is a pooler, the connection tells: its process is not the one that it was opened to.
"""

from __future__ import annotations

import logging
import ssl
from typing import Any, Final

import asyncpg
from sqlalchemy import Connection, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from ws402.gateway.ledger.address import Address

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 10
"""After this long PostgreSQL cuts off a gateway that stalls within a transaction, for its locks stop the others."""

STATEMENTS: Final = 100
"""Prepared statements that a direct connection keeps."""


class ConnectError(ConnectionError):
    """No connection could be made. Says why; holds no secret."""


class Postgres:
    """Makes connections for the pool of `engine`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._settings = {"idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s"} | address.settings
        self.pooled = False
        """Whether the connection made last leads through a pooler."""
        self.age = 0
        """How often all connections made so far were given up."""
        self._suspect = False
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            connect_args={"prepared_statement_name_func": self._statement_name},
            pool_size=10,
            max_overflow=10,
            pool_pre_ping=True,
            hide_parameters=True,  # errors must not quote rows
        )
        event.listen(self.engine.sync_engine, "do_connect", self._before_connect)
        event.listen(self.engine.sync_engine, "begin", self._begun)
        event.listen(self.engine.sync_engine, "handle_error", self._failed)
        event.listen(self.engine.sync_engine, "checkout", self._taken)

    @property
    def begin(self) -> str:
        """What begins a transaction on a connection of asyncpg's."""
        return f"BEGIN; SELECT {_set_config(self._settings, local=True)}" if self.pooled else "BEGIN"

    def give_up(self) -> None:
        """Leave all connections made so far. After a switchover the old primary answers every question, and takes no
        write (25006).
        """
        self.age += 1
        self._suspect = True

    def _failed(self, context: ExceptionContext) -> None:
        if gives_up(context.original_exception):
            self.age += 1
            context.is_disconnect = True  # the pool leaves its own by itself

    def _taken(self, *_: object) -> None:
        if self._suspect:
            self._suspect = False
            raise InvalidatePoolError

    def _before_connect(self, dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:  # noqa: ARG002
        """Open the connection first: whether statements may be kept depends on it."""
        opened = await_only(self._connect())

        async def same() -> asyncpg.Connection[Any]:
            return opened

        keep = 0 if self.pooled else STATEMENTS
        return dialect.connect(**{**parameters, "async_creator_fn": same, "prepared_statement_cache_size": keep})

    def _statement_name(self) -> str | None:
        return "" if self.pooled else None

    async def _connect(self) -> asyncpg.Connection[Any]:
        connection = await self._open(pooled=self.pooled)
        pooled = await self._is_pooled(connection)
        if pooled is not self.pooled:
            await connection.close()
            log.info("the database is reached %s", "through a pooler" if pooled else "directly")
            self.pooled = pooled
            self.age += 1
            connection = await self._open(pooled=pooled)
        if not pooled:
            await connection.execute(f"SELECT {_set_config(self._settings, local=False)}")
        return connection

    async def _open(self, *, pooled: bool) -> asyncpg.Connection[Any]:
        arguments = {key: value for key, value in self._address.arguments.items() if value is not None}
        try:
            return await asyncpg.connect(**arguments, statement_cache_size=0 if pooled else STATEMENTS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise ConnectError(_told(error)) from error
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ConnectError(f"{self._address.name}: {_told(error)}") from error

    async def _is_pooled(self, connection: asyncpg.Connection[Any]) -> bool:
        """A simple query leaves no statement behind; its tag says how many rows there were."""
        pid = int(connection.get_server_pid())
        tag: str = await connection.execute(f"SELECT 1 WHERE pg_backend_pid() = {pid}")
        return tag != "SELECT 1"

    def _begun(self, connection: Connection) -> None:
        if self.pooled:
            connection.exec_driver_sql(f"SELECT {_set_config(self._settings, local=True)}")


def _set_config(settings: dict[str, str], *, local: bool) -> str:
    """Calls of set_config(name, value, is_local) (PostgreSQL, §9.28.1)."""
    return ", ".join(f"set_config({_quoted(name)}, {_quoted(value)}, {local})" for name, value in settings.items())


def _quoted(value: str) -> str:
    doubled = value.replace("'", "''").replace("\\", "\\\\")
    return f" E'{doubled}'"


def gives_up(error: BaseException) -> bool:
    """Whether connections like the one that told this will not do any more."""
    state = getattr(error, "sqlstate", None) or ""
    return state.startswith(("08", "57P", "25006", "25P03"))


def _told(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
