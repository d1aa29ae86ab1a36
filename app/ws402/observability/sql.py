"""Statements of the ledger in the traces of those that they work for (database semantic conventions)."""

from __future__ import annotations

import time
from typing import Any, Final

from sqlalchemy import Engine, event

from ws402.observability import tracing

TEXT: Final = 400
"""Characters of a statement that a span keeps: batches write long ones, and their beginning tells which it is."""


def instrument(engine: Engine) -> None:
    """Make spans of this engine's statements. Their text has placeholders where values stand."""

    @event.listens_for(engine, "before_cursor_execute")
    def before(_: Any, __: Any, ___: Any, ____: Any, context: Any, _____: Any) -> None:
        if context is not None and tracing.active():
            context.ws402_started_ns = time.time_ns()

    @event.listens_for(engine, "after_cursor_execute")
    def after(_: Any, __: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        started = getattr(context, "ws402_started_ns", 0)
        if started:
            note(engine.dialect.name, statement, started, len(parameters) if many else 0)


def note(system: str, statement: str, started_ns: int, size: int = 0) -> None:
    """Make a span of a statement that has ended now; `size`: how many sets of parameters it ran with, if with many."""
    operation, table = _names(statement)
    about: dict[str, str | int] = {
        "db.system.name": system,
        "db.operation.name": operation,
        "db.collection.name": table,
        "db.query.text": statement[:TEXT],
    }
    if size:
        about["db.operation.batch.size"] = size
    tracing.spread(f"{operation} {table}".strip(), tracing.CLIENT, about, started_ns, time.time_ns())


def _names(statement: str) -> tuple[str, str]:
    """The operation and the table that it is about, as far as the statement's words tell."""
    words = statement.split(None, 3)[:3]
    operation = words[0].upper() if words else "SQL"
    if operation in ("SELECT", "DELETE", "INSERT"):
        _, _, rest = statement.partition("INTO" if operation == "INSERT" else "FROM")
        words = ["", *rest[:80].split(None, 1)[:1]]
    return operation, words[1].strip("(,") if len(words) > 1 else ""
