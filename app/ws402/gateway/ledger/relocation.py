"""Copying a ledger row by row into another database: from SQLite to PostgreSQL, and back.

The copy is no ledger before all of it is there and was compared: until then its revision is one that no gateway knows.
What was copied is committed in steps with how far it came, so that a copy that was interrupted goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    tuple_,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.errors import ConflictError, WS402Error
from ws402.gateway.ledger import challenge_tables, copies, event_tables  # noqa: F401 - their tables are copied, too
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.restored import mark_in
from ws402.gateway.ledger.schema import UNFINISHED, current, newest, require_newest, set_revision, upgrade
from ws402.gateway.ledger.tables import metadata, networks, signers
from ws402.gateway.ledger.types import Amount

BATCH: Final = 5_000
"""Rows that are read, written and committed at once."""

_STOP: Final = "Stop every gateway of it first, and wait until its lease has ended (REFUND_LEASE_SECONDS)."

_progress: Final = Table(
    "ledger_copy",
    MetaData(),
    Column("name", Text, primary_key=True),  # of a table; empty: `last` has where the rows come from
    Column("copied", BigInteger, nullable=False),
    Column("last", Text, nullable=False),  # the primary key of the newest copied row, as JSON
)

_HANDED_OVER: Final = "handed over"

Progress = Callable[[str, int, int], None]
"""Called with a table's name, its rows that were copied, and all of its rows."""

Checks = Callable[[Database], AsyncIterator[str]]
"""What is wrong with a whole ledger."""


class Relocation:
    """From one database into another that is empty, or has an unfinished copy of the same."""

    def __init__(self, source: Database, target: Database) -> None:
        """Raises ConflictError when both are one, or a process has an SQLite source open."""
        if source.name == target.name:
            raise ConflictError("Both addresses are of one ledger.", remedy="Name another one to copy to.")
        # Before this process opens it: its own connections would end with the look, too.
        if source.file is not None and source.file.is_file() and copies.in_use(source.file):
            raise ConflictError(f"A process has the ledger {source.file} open.", remedy=_STOP)
        self._source = source
        self._target = target

    async def plan(self, *, move: bool) -> dict[str, int]:
        """Rows by table, in the order in which they are copied; changes nothing. Raises ConflictError."""
        await self._source.set_clock()
        async with self._source.begin(dry_run=True) as reading:
            await self._hold(reading, move=move)
            if self._target.file is None or self._target.file.exists():
                async with self._target.read() as connection:
                    await self._check_target(connection)
            return {each.name: await _count(reading, each) for each in metadata.sorted_tables}

    async def run(self, *, move: bool, checks: Checks, progress: Progress) -> list[str]:
        """Copy all, compare all, and make the copy a ledger; answers its networks.

        `move`: the copy is the ledger from now on, and the source signs nothing any more before it was reconciled with
        the chain; else that is so of the copy. Raises ConflictError, WS402Error.
        """
        await self._target.check()
        await self._source.set_clock()
        async with self._source.begin() as reading:
            await self._hold(reading, move=move)
            await self._prepare()
            for table in metadata.sorted_tables:
                await self._copy(reading, table, progress, move=move)
            wrong = [await self._compare(reading, each, move=move) for each in metadata.sorted_tables]
            wrong += [each async for each in checks(self._target)]
            if found := [each for each in wrong if each]:
                raise WS402Error(
                    f"The copy is not what it should be: {'; '.join(found)}.",
                    remedy="Nothing was changed at the source. Empty the target, and copy again.",
                )
            if move:
                await self._hand_over()
                await mark_in(reading, self._source.now_ms())
        # The source is put away by now: from here on only the copy can become a ledger that signs.
        return await self._finish(move=move)

    async def _hold(self, reading: AsyncConnection, *, move: bool) -> None:
        """Nobody writes to the source until this transaction ends. Raises ConflictError, ConfigurationError."""
        await reading.run_sync(require_newest)
        if self._source.dialect == "postgresql":
            await _never_idle(reading)
            await reading.execute(text("SET LOCAL lock_timeout = '5s'"))
            names = ", ".join(each.name for each in metadata.sorted_tables)
            try:
                await reading.execute(text(f"LOCK TABLE {names} IN SHARE MODE"))
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != "55P03":  # lock_not_available
                    raise
                raise ConflictError("A gateway writes to the ledger.", remedy=_STOP) from error
            held = select(signers.c.address).where(signers.c.lease_until > self._source.now_ms()).limit(1)
            if (key := (await reading.execute(held)).scalar()) is not None:
                raise ConflictError(f"A gateway holds the key {key}.", remedy=_STOP)
        marked = select(networks.c.network).where(networks.c.restored_at.is_not(None)).limit(1)
        if move and (name := (await reading.execute(marked)).scalar()) is not None and not await self._handed_over():
            raise ConflictError(
                f"This ledger is a restored copy that was not reconciled with {name}, or was moved away before.",
                remedy=f"Start a gateway on it, run `ws402 ops reconcile {name}`, and stop it; or leave out --move.",
            )

    # --- The target --------------------------------------------------------------------------------------------------

    async def _check_target(self, connection: AsyncConnection) -> bool:
        """Whether it has an unfinished copy of this source. Raises ConflictError unless it has, or is empty."""
        revision = await connection.run_sync(current)
        if revision is None:
            return False
        if revision != UNFINISHED:
            raise ConflictError(
                f"There is a ledger at {self._target.name} already; nothing was changed.",
                remedy="Name an empty database, or a file that is not there.",
            )
        whose = select(_progress.c.last).where(_progress.c.name == "")
        known = (await connection.execute(whose)).scalar_one()
        if known != self._source.name:
            raise ConflictError(
                f"{self._target.name} has an unfinished copy of another ledger: {known}.", remedy="Empty it first."
            )
        return True

    async def _prepare(self) -> None:
        async with self._target.begin() as writing:
            if self._target.dialect == "postgresql":
                await writing.execute(text("SELECT pg_advisory_xact_lock(402)"))
            if await self._check_target(writing):
                return
            before = await writing.run_sync(_tables)
            await writing.run_sync(upgrade)
            made = await writing.run_sync(_tables) - before - {"alembic_version"}
            if unknown := sorted(made - set(metadata.tables)):
                raise WS402Error(f"This version cannot copy the tables {', '.join(unknown)}; nothing was changed.")
            await writing.run_sync(_progress.create)
            row = {"name": "", "copied": 0, "last": self._source.name}
            await writing.execute(insert(_progress), [row])
            await set_revision(writing, UNFINISHED)

    async def _hand_over(self) -> None:
        """Write down that everything was compared, before the source is put away."""
        async with self._target.begin() as writing:
            await writing.execute(delete(_progress).where(_progress.c.name == _HANDED_OVER))
            await writing.execute(insert(_progress), [{"name": _HANDED_OVER, "copied": 0, "last": ""}])

    async def _handed_over(self) -> bool:
        """Whether an earlier run has put the source away, and was ended before the copy was made the ledger."""
        if self._target.file is not None and not self._target.file.exists():
            return False
        async with self._target.read() as connection:
            if not await self._check_target(connection):
                return False
            known = select(_progress.c.name).where(_progress.c.name == _HANDED_OVER)
            return (await connection.execute(known)).first() is not None

    async def _finish(self, *, move: bool) -> list[str]:
        async with self._target.begin() as writing:
            if not move:
                await mark_in(writing, self._source.now_ms())
            if self._target.dialect == "postgresql":
                for table in metadata.sorted_tables:
                    await _continue_numbers(writing, table)
                await writing.execute(text("ANALYZE"))
            await writing.run_sync(_progress.drop)
            await set_revision(writing, newest())
            return sorted((await writing.execute(select(networks.c.network))).scalars())

    # --- Rows --------------------------------------------------------------------------------------------------------

    async def _copy(self, reading: AsyncConnection, table: Table, progress: Progress, *, move: bool) -> None:
        total = await _count(reading, table)
        async with self._target.read() as connection:
            known = (await connection.execute(select(_progress).where(_progress.c.name == table.name))).first()
        copied = 0 if known is None else known.copied
        last = None if known is None else msgspec.json.decode(known.last)
        while rows := (await reading.execute(_after(table, last))).all():
            copied += len(rows)
            last = [rows[-1]._mapping[each] for each in table.primary_key.columns]  # noqa: SLF001 - documented
            async with self._target.begin() as writing:
                await writing.execute(delete(_progress).where(_progress.c.name == table.name))
                mark = {"name": table.name, "copied": copied, "last": msgspec.json.encode(last).decode()}
                await writing.execute(insert(_progress), [mark])
                await self._write(writing, table, rows, move=move)
            progress(table.name, copied, total)

    async def _write(self, writing: AsyncConnection, table: Table, rows: Sequence[Row[Any]], *, move: bool) -> None:
        values = [dict(row._mapping) for row in rows]  # noqa: SLF001 - documented
        for each in values:
            each |= {name: value for name, value in _new(table, move=move).items() if name in each}
        if self._target.dialect == "sqlite":
            await writing.execute(insert(table), values)
            return
        from asyncpg import PostgresError  # noqa: PLC0415 - needed for PostgreSQL only

        names = [each.name for each in table.columns]
        amounts = {each.name for each in table.columns if isinstance(each.type, Amount)}
        records = [
            tuple(Decimal(each[name]) if name in amounts and each[name] is not None else each[name] for name in names)
            for each in values
        ]
        raw: Any = (await writing.get_raw_connection()).driver_connection
        try:
            await raw.copy_records_to_table(table.name, columns=names, records=records)
        except PostgresError as error:
            raise WS402Error(f"PostgreSQL does not take the rows of {table.name}: {error}.") from error

    async def _compare(self, reading: AsyncConnection, table: Table, *, move: bool) -> str | None:
        """What differs between the two tables. The order of rows is each database's own, and counts for nothing."""
        columns = [each for each in table.columns if each.name not in _new(table, move=move)]
        async with self._target.read() as connection:
            if self._target.dialect == "postgresql":
                await _never_idle(connection)
            theirs = await _digest(connection, columns)
        ours = await _digest(reading, columns)
        if ours == theirs:
            return None
        return f"{table.name} has {ours[0]} rows at the source and {theirs[0]} in the copy, which are not the same"


def _new(table: Table, *, move: bool) -> dict[str, Any]:
    """Columns that the copy has anew: nobody holds its keys, and one that is moved is not a restored one."""
    if table is signers:
        return {"lease_until": 0, "lease_holder": None}
    return {"restored_at": None, "restored_block": None} if move and table is networks else {}


def _tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def _after(table: Table, last: Sequence[Any] | None) -> Any:
    keys = list(table.primary_key.columns)
    query = select(table).order_by(*keys).limit(BATCH)
    return query if last is None else query.where(tuple_(*keys) > tuple_(*last))


async def _count(connection: AsyncConnection, table: Table) -> int:
    return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def _digest(connection: AsyncConnection, columns: Sequence[Column[Any]]) -> tuple[int, int]:
    """Rows, and the sum of their hashes."""
    count = total = 0
    async with connection.stream(select(*columns)) as result:
        async for rows in result.partitions(BATCH):
            count += len(rows)
            hashes = (hashlib.sha256(repr(tuple(row)).encode()).digest() for row in rows)
            total += sum(int.from_bytes(each, "big") for each in hashes)
            await asyncio.sleep(0)
    return count, total % 2**256


async def _never_idle(connection: AsyncConnection) -> None:
    """This transaction waits while the other database works."""
    await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    await connection.execute(text("SET LOCAL statement_timeout = 0"))


async def _continue_numbers(writing: AsyncConnection, table: Table) -> None:
    """Let PostgreSQL number new rows from where the copied ones end."""
    column = table.autoincrement_column
    if column is None:
        return
    sequence = (await writing.execute(select(func.pg_get_serial_sequence(table.name, column.name)))).scalar()
    newest_row = (await writing.execute(select(func.max(column)))).scalar()
    if sequence is not None and newest_row is not None:
        await writing.execute(select(func.setval(sequence, newest_row)))
