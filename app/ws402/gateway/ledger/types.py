"""Column types and functions that PostgreSQL and SQLite share."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from sqlalchemy import BigInteger, CheckConstraint, ColumnElement, Numeric, Table, Text, literal_column
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

_CLOCKS: Final = {
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)",
    # SQLite before 3.42 has no unixepoch('subsec').
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
}


def database_clock(dialect: str) -> ColumnElement[int]:
    """Now by the database's clock, in milliseconds since the epoch: for leases, which all processes must see alike."""
    return literal_column(_CLOCKS[dialect], BigInteger)


class Amount(TypeDecorator[int]):
    """A whole number of smallest units up to 2^256-1: NUMERIC(78, 0) in PostgreSQL, decimal text in SQLite.

    SQLite's integers end at 2^63-1, about 9.2 ether. Arithmetic in its constraints uses `decimal_add`, `decimal_cmp`
    and `decimal_sum`, functions of SQLite's own decimal extension: its shell has them, and
    `ledger.database` registers them.
    """

    impl = Numeric(78, 0)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text in SQLite."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Numeric(78, 0))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Integers only: a float here is a bug, and is refused."""
        if value is None:
            return None
        if type(value) is not int:
            msg = f"an amount must be int, not {type(value).__name__}"
            raise TypeError(msg)
        return str(value) if dialect.name == "sqlite" else Decimal(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Back to int."""
        return None if value is None else int(value)


class amount_sum(FunctionElement[int]):  # noqa: N801
    """SUM of an Amount column, exact in both databases; NULL for no rows."""

    type = Amount()
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)


@compiles(amount_sum)
def _sum(element: amount_sum, compiler: SQLCompiler, **kw: Any) -> str:
    return f"sum({compiler.process(element.clauses, **kw)})"


@compiles(amount_sum, "sqlite")
def _decimal_sum(element: amount_sum, compiler: SQLCompiler, **kw: Any) -> str:
    return f"decimal_sum({compiler.process(element.clauses, **kw)})"


def dialect_check(table: Table, name: str, postgresql: str, sqlite: str) -> None:
    """Add a constraint that each database spells its own way."""
    for dialect, text in (("postgresql", postgresql), ("sqlite", sqlite)):
        table.append_constraint(CheckConstraint(text, name=name).ddl_if(dialect=dialect))
