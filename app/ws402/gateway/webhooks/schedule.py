"""When an event that was not taken is tried again."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from ws402.backoff import spread

DELAYS: Final = (5, 60, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds from each failed attempt to the next; after the last one it is given up, three days after the first."""

JITTER: Final = 0.1
"""A delay is up to this much of it longer: many that failed together do not come back together."""

MOST_RETRY_AFTER: Final = 86_400
"""Seconds; a receiver cannot put itself off for longer."""


def next_delay(attempts: int, retry_after: float | None) -> float | None:
    """Seconds to wait after so many attempts that failed; None: give up. `retry_after`: what the receiver asked for."""
    if attempts > len(DELAYS):
        return None
    delay = DELAYS[attempts - 1]
    return max(delay * (1 + spread(0, JITTER)), min(retry_after or 0, MOST_RETRY_AFTER))


def read_retry_after(value: str | None, now_ms: int) -> float | None:
    """Seconds that a header `Retry-After` asks for (RFC 9110, section 10.2.3): a number, or a date."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year or a zone of twenty digits
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.fromtimestamp(now_ms / 1000, UTC)).total_seconds())
