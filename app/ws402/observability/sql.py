"""Statements of the ledger in the traces of those that they work for (database semantic conventions)."""

from __future__ import annotations

import re
import time
from typing import Any, Final

from sqlalchemy import Engine, event

from ws402.observability import tracing

_TARGET: Final = re.compile(
    r"^\s*(\w+)(?:.*?\b(?:FROM|INTO|UPDATE)\s+([\w.]+)|\s+([\w.]+))?", re.IGNORECASE | re.DOTALL
)


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
            found = _TARGET.match(statement)
            operation = found[1].upper() if found else "SQL"
            table = (found[2] or found[3] or "") if found else ""
            about: dict[str, str | int] = {
                "db.system.name": engine.dialect.name,
                "db.operation.name": operation,
                "db.collection.name": table,
                "db.query.text": statement,
            }
            if many:
                about["db.operation.batch.size"] = len(parameters)
            tracing.spread(f"{operation} {table}".strip(), tracing.CLIENT, about, started, time.time_ns())
