"""Many rows in one statement, at the least cost for each row.

SQLAlchemy's own executemany costs four times as much CPU a row here (`bench/README.md`). PostgreSQL gets one array a
column, SQLite the driver's executemany.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    Table,
    select,
)

from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.transactions import Connection, fetch
from ws402.gateway.ledger.types import Amount

Row = dict[str, Any]


class _Many(NamedTuple):
    text: str
    amounts: tuple[str, ...]
    """Columns whose integers travel as decimal text."""


async def insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that all have the same columns. Raises IntegrityError."""
    if rows:
        await _execute(connection, table, rows, ignore=False)


async def insert_new(connection: Connection, table: Table, rows: Sequence[Row], *, key: str = "id") -> set[Any]:
    """Insert rows but for those that hurt a UNIQUE constraint; returns the `key`s of the rows that are new."""
    if not rows:
        return set()
    result = await _execute(connection, table, rows, ignore=True, returning=key)
    if connection.dialect.name == "postgresql":
        return {row[0] for row in result}
    keys = {row[key] for row in rows}
    if result.rowcount == len(rows):
        return keys
    return {row[0] for row in await fetch(connection, _present(table, key), keys=keys)}


async def update(connection: Connection, table: Table, key: str, rows: Sequence[Row]) -> None:
    """Set the other columns of the rows that have these keys; all have the same columns. Raises IntegrityError."""
    if not rows:
        return
    names = (*(name for name in rows[0] if name != key), key)
    statement = _update(connection.dialect.name, table, names)
    await connection.exec_driver_sql(statement.text, _parameters(connection, rows, names, statement.amounts))


async def _execute(
    connection: Connection, table: Table, rows: Sequence[Row], *, ignore: bool, returning: str | None = None
) -> Any:
    names = tuple(rows[0])
    statement = _statement(connection.dialect.name, table, names, ignore, returning)
    return await connection.exec_driver_sql(statement.text, _parameters(connection, rows, names, statement.amounts))


def _parameters(connection: Connection, rows: Sequence[Row], names: tuple[str, ...], amounts: tuple[str, ...]) -> Any:
    """One array a column, or one tuple a row."""
    if connection.dialect.name == "postgresql":
        return tuple(_texts(rows, name) if name in amounts else [row[name] for row in rows] for name in names)
    return _tuples(rows, names, amounts)


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
    if value is None:
        return None
    if type(value) is not int:
        raise TypeError(f"an amount must be int, not {type(value).__name__}")
    return str(value)


def _texts(rows: Iterable[Row], name: str) -> list[str | None]:
    return [_text(row[name]) for row in rows]


@lru_cache(maxsize=64)
def _present(table: Table, key: str) -> Statement:
    return Statement(select(table.c[key]).where(one_of(table.c[key], "keys")))


@lru_cache(maxsize=64)
def _statement(dialect: str, table: Table, names: tuple[str, ...], ignore: bool, returning: str | None) -> _Many:
    columns = [table.c[name] for name in names]
    amounts = tuple(column.name for column in columns if isinstance(column.type, Amount))
    conflict = " ON CONFLICT DO NOTHING" if ignore else ""
    into = f"INSERT INTO {table.name} ({', '.join(names)})"
    if dialect == "sqlite":
        return _Many(f"{into} VALUES ({', '.join('?' * len(names))}){conflict}", amounts)
    picked, arrays = _given(columns)
    answer = f" RETURNING {returning}" if returning else ""
    return _Many(f"{into} SELECT {', '.join(picked)} FROM {arrays}{conflict}{answer}", amounts)  # noqa: S608 - names are our own tables'


@lru_cache(maxsize=64)
def _update(dialect: str, table: Table, names: tuple[str, ...]) -> _Many:
    columns = [table.c[name] for name in names]
    amounts = tuple(column.name for column in columns if isinstance(column.type, Amount))
    *changed, key = names
    if dialect == "sqlite":
        changes = ", ".join(f"{name} = ?" for name in changed)
        return _Many(f"UPDATE {table.name} SET {changes} WHERE {key} = ?", amounts)  # noqa: S608 - names are our own
    picked, arrays = _given(columns)
    changes = ", ".join(f"{name} = {value}" for name, value in zip(changed, picked, strict=False))
    return _Many(f"UPDATE {table.name} SET {changes} FROM {arrays} WHERE {table.name}.{key} = {picked[-1]}", amounts)  # noqa: S608 - names are our own tables'


def _given(columns: Sequence[Column[Any]]) -> tuple[list[str], str]:
    """PostgreSQL: the values of a row, and the arrays that they are in."""
    amounts = [isinstance(column.type, Amount) for column in columns]
    values = [f"c{at}{'::numeric' if amount else ''}" for at, amount in enumerate(amounts, 1)]
    arrays = ", ".join(f"${at}::{_array(column)}" for at, column in enumerate(columns, 1))
    aliases = ", ".join(f"c{at}" for at in range(1, len(columns) + 1))
    return values, f"unnest({arrays}) AS given({aliases})"


def _array(column: Column[Any]) -> str:
    kind = column.type
    if isinstance(kind, Boolean):
        return "boolean[]"
    if isinstance(kind, LargeBinary):
        return "bytea[]"
    if isinstance(kind, BigInteger):
        return "bigint[]"
    return "integer[]" if isinstance(kind, Integer) else "text[]"
