"""Statements that are compiled once for each database, and the rows that they find.

SQLAlchemy writes the SQL; it does not run it: for a batch of 64 claims its execution and its rows cost more than the
database itself (`bench/README.md`).
"""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Text, bindparam
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Boolean, TypeDecorator, TypeEngine

from ws402.gateway.ledger.types import Amount

Values = Mapping[str, Any]


class Rows(list[Any]):
    """What a statement found: named tuples. `rowcount`: how many rows it changed (SQLite)."""

    rowcount: int = -1

    def scalar(self) -> Any:
        """The first row's first value, or None."""
        return self[0][0] if self else None

    def scalars(self) -> list[Any]:
        """The first value of each row."""
        return [row[0] for row in self]


class _Keys(TypeDecorator[Collection[Any]]):
    """Many texts, or amounts, as one parameter: an array in PostgreSQL, JSON in SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """An array in PostgreSQL."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(Text))

    def process_bind_param(self, value: Collection[Any] | None, dialect: Dialect) -> Any:
        """As a list, or as JSON."""
        texts = list(map(str, value or ()))
        return json.dumps(texts) if dialect.name == "sqlite" else texts


class one_of(FunctionElement[bool]):  # noqa: N801 - reads like SQL
    """`column IN (keys)` with one parameter: `keys` are any number of texts or amounts, or the parameter's name."""

    type = Boolean()
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], keys: str | Collection[Any]) -> None:
        kind = _Keys()
        bound = bindparam(keys, type_=kind) if isinstance(keys, str) else bindparam(None, keys, type_=kind)
        super().__init__(column, bound)

    def self_group(self, against: Any = None) -> one_of:  # noqa: ARG002
        """As it is: SQLAlchemy would compare it with 1 in SQLite, which then reads the whole table."""
        return self


@compiles(one_of, "postgresql")
def _any(element: one_of, compiler: SQLCompiler, **kw: Any) -> str:
    column, keys = element.clauses
    kind = "::numeric[]" if isinstance(column.type, Amount) else ""
    return f"{compiler.process(column, **kw)} = ANY ({compiler.process(keys, **kw)}{kind})"


@compiles(one_of, "sqlite")
def _in(element: one_of, compiler: SQLCompiler, **kw: Any) -> str:
    column, keys = (compiler.process(each, **kw) for each in element.clauses)
    return f"({column} IN (SELECT value FROM json_each({keys})))"  # noqa: S608 - a placeholder


@dataclass(slots=True, frozen=True)
class Compiled:
    """A statement as one database's driver takes it."""

    text: str
    names: Sequence[str]
    """Its parameters in order."""
    given: Values
    """Values that are part of the statement."""
    processors: Mapping[str, Callable[[Any], Any]]
    """What turns a parameter's value into the driver's, where that is not the same."""
    row: Callable[[Iterable[Any]], Any] | None
    """What makes a row; None: the statement finds none."""
    amounts: Sequence[int]
    """Positions of amounts in a row."""

    def arguments(self, values: Values) -> list[Any]:
        """The driver's parameters. Raises KeyError for one that is not given."""
        known = {**self.given, **values}
        processors = self.processors
        return [processors[name](known[name]) if name in processors else known[name] for name in self.names]

    def rows(self, found: Iterable[Sequence[Any]], *, texts: bool) -> Rows:
        """Named rows; `texts`: amounts come as decimal text."""
        make = self.row
        if make is None:
            return Rows()
        if not (texts and self.amounts):
            return Rows(map(make, found))
        rows = Rows()
        for each in found:
            values = list(each)
            for position in self.amounts:
                if (value := values[position]) is not None:
                    values[position] = int(value)
            rows.append(make(values))
        return rows


class Statement:
    """A statement of SQLAlchemy's that is the same at every call but for its parameters (`bindparam`, `one_of`)."""

    __slots__ = ("_compiled", "clause")

    def __init__(self, clause: Executable) -> None:
        self.clause = clause
        self._compiled: dict[str, Compiled] = {}

    def compiled(self, dialect: Dialect) -> Compiled:
        """For this database."""
        known = self._compiled.get(dialect.name)
        if known is None:
            known = self._compiled[dialect.name] = _compile(self.clause, dialect)
        return known


def _compile(clause: Any, dialect: Dialect) -> Compiled:
    made: Any = clause.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    needed = {name for name, bound in made.binds.items() if bound.required}
    processors = {}
    for name, bound in made.binds.items():
        processor = bound.type.dialect_impl(dialect).bind_processor(dialect)
        if processor is not None:
            processors[name] = processor
    found = list(getattr(clause, "exported_columns", ()))
    return Compiled(
        text=made.string,
        names=tuple(made.positiontup),
        given={name: value for name, value in made.params.items() if name not in needed},
        processors=processors,
        row=_row(tuple(column.key for column in found)) if found else None,
        amounts=tuple(position for position, column in enumerate(found) if isinstance(column.type, Amount)),
    )


@lru_cache(maxsize=256)
def _row(names: tuple[str, ...]) -> Callable[[Iterable[Any]], Any]:
    kind: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # the names are known only here
    made: Callable[[Iterable[Any]], Any] = kind._make
    return made
