"""Many rows in one statement, at the least cost for each row.

SQLAlchemy's own executemany and IN lists cost four times as much CPU a row here (`bench/README.md`): a batch of 64
claims spends most of its time in them. PostgreSQL gets one array a column, SQLite the driver's executemany.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Integer,
    LargeBinary,
    Table,
    Text,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.gateway.ledger.types import Amount

Row = dict[str, Any]


class _Insert(NamedTuple):
    text: str
    amounts: tuple[str, ...]
    """Columns whose integers travel as decimal text."""


async def insert(connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that all have the same columns. Raises IntegrityError."""
    if rows:
        await _execute(connection, table, rows, ignore=False)


async def insert_new(connection: AsyncConnection, table: Table, rows: Sequence[Row], *, key: str = "id") -> set[Any]:
    """Insert rows but for those that hurt a UNIQUE constraint; returns the `key`s of the rows that are new."""
    if not rows:
        return set()
    result = await _execute(connection, table, rows, ignore=True, returning=key)
    if connection.dialect.name == "postgresql":
        return {row[0] for row in result}
    keys = {row[key] for row in rows}
    if result.rowcount == len(rows):
        return keys
    column = table.c[key]
    return set((await connection.execute(select(column).where(among(connection, column, keys)))).scalars())


def among(connection: AsyncConnection, column: Column[Any], values: Collection[str]) -> ColumnElement[bool]:
    """`column IN (values)` with one parameter, however many values there are."""
    if connection.dialect.name == "postgresql":
        return column == any_(bindparam(None, list(values), type_=ARRAY(Text)))
    listed = func.json_each(json.dumps(list(values))).table_valued("value")
    return column.in_(select(listed.c.value))


async def _execute(
    connection: AsyncConnection, table: Table, rows: Sequence[Row], *, ignore: bool, returning: str | None = None
) -> Any:
    names = tuple(rows[0])
    statement = _statement(connection.dialect.name, table, names, ignore, returning)
    if connection.dialect.name == "postgresql":
        columns = tuple(
            _texts(rows, name) if name in statement.amounts else [row[name] for row in rows] for name in names
        )
        return await connection.exec_driver_sql(statement.text, columns)
    return await connection.exec_driver_sql(statement.text, _tuples(rows, names, statement.amounts))


def _tuples(rows: Sequence[Row], names: tuple[str, ...], amounts: tuple[str, ...]) -> list[Any]:
    picked = map(itemgetter(*names), rows)
    if not amounts:
        return list(picked)
    positions = [names.index(name) for name in amounts]
    values = []
    for row in picked:
        changed = list(row)
        for position in positions:
            changed[position] = _text(changed[position])
        values.append(tuple(changed))
    return values


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)


def _texts(rows: Iterable[Row], name: str) -> list[str | None]:
    return [_text(row[name]) for row in rows]


@lru_cache(maxsize=64)
def _statement(dialect: str, table: Table, names: tuple[str, ...], ignore: bool, returning: str | None) -> _Insert:
    columns = [table.c[name] for name in names]
    amounts = tuple(column.name for column in columns if isinstance(column.type, Amount))
    conflict = " ON CONFLICT DO NOTHING" if ignore else ""
    into = f"INSERT INTO {table.name} ({', '.join(names)})"
    if dialect == "sqlite":
        return _Insert(f"{into} VALUES ({', '.join('?' * len(names))}){conflict}", amounts)
    arrays = ", ".join(f"${position}::{_array(column)}" for position, column in enumerate(columns, 1))
    picked = ", ".join(f"c{i}{'::numeric' if column.name in amounts else ''}" for i, column in enumerate(columns, 1))
    aliases = ", ".join(f"c{i}" for i in range(1, len(columns) + 1))
    answer = f" RETURNING {returning}" if returning else ""
    return _Insert(f"{into} SELECT {picked} FROM unnest({arrays}) AS given({aliases}){conflict}{answer}", amounts)  # noqa: S608 - names are our own tables'


def _array(column: Column[Any]) -> str:
    kind = column.type
    if isinstance(kind, Boolean):
        return "boolean[]"
    if isinstance(kind, LargeBinary):
        return "bytea[]"
    if isinstance(kind, BigInteger):
        return "bigint[]"
    return "integer[]" if isinstance(kind, Integer) else "text[]"
