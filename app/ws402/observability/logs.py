"""Logs: one JSON object a line on standard output, or lines for people on a terminal; secrets are taken out of both.

The code logs by the standard library; structlog writes what it, and every library, says.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from ws402.observability import metrics, redact, tracing
from ws402.observability.context import session_id
from ws402.settings.observability import ObservedSettings

TALKATIVE: Final = (
    "aiosqlite",
    "alembic",
    "asyncio",
    "botocore",
    "boto3",
    "httpcore",
    "httpx",
    "opentelemetry",
    "s3transfer",
    "urllib3",
    "uvicorn",
    "websockets",
)
"""Libraries that say much, with what they carry: only their warnings are let through, at any level."""


def configure(settings: ObservedSettings, component: str, stream: TextIO | None = None) -> None:
    """Let everything that is logged go to `stream` (standard output) as the settings say."""
    out = stream or sys.stdout
    redact.register_settings(settings)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_context,
        _count,
    ]
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _redact,
    ]
    if is_json(settings, out):
        last += [_Component(component), structlog.processors.JSONRenderer(default=str)]
    else:
        last.append(structlog.dev.ConsoleRenderer(colors=out.isatty()))
    handler = logging.StreamHandler(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def is_json(settings: ObservedSettings, stream: TextIO) -> bool:
    """Whether lines are JSON."""
    return settings.log_format == "json" or (settings.log_format == "auto" and not stream.isatty())


class _Component:
    """Says which program it is."""

    def __init__(self, component: str) -> None:
        self._component = component

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:  # noqa: ARG002
        event["component"] = self._component
        return event


def _redact(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:  # noqa: ARG001
    cleaned: dict[str, Any] = redact.redact_all(event)
    return cleaned


def _add_context(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:  # noqa: ARG001
    if (session := session_id.get()) is not None:
        event.setdefault("session_id", session)
    trace = tracing.current()
    if trace is not None:
        event["trace_id"], event["span_id"] = trace.trace_id, trace.span_id
    return event


def _count(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:  # noqa: ARG001
    level = event["level"]
    if level in ("warning", "error", "critical"):
        metrics.LOG_RECORDS.inc(level)
    return event
