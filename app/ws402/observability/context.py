"""What a task works on, for its log records: one assignment, read only when something is logged."""

from __future__ import annotations

from contextvars import ContextVar

session_id: ContextVar[str | None] = ContextVar("ws402_session_id", default=None)
"""The session that this task works for."""
