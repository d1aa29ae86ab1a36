"""How long to wait before trying again: longer each time, and not in step with others who wait for the same.

Full jitter: evenly spread from 0 to a bound that doubles. It spreads load; it hides nothing.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

_MAX_DOUBLINGS: Final = 60


def doubled(attempt: int, *, first: float, most: float) -> float:
    """`first` seconds, doubled `attempt` times (0: not at all), at most `most`."""
    return float(min(most, first * 2 ** min(attempt, _MAX_DOUBLINGS)))


def backoff(attempt: int, *, first: float, most: float) -> float:
    """Seconds to wait after so many failures (the first: 1)."""
    return spread(0, doubled(attempt, first=first, most=most))


def spread(least: float, most: float) -> float:
    """A number of seconds from `least` to `most`."""
    return random.uniform(least, most)  # noqa: S311 - not a secret


async def pause(attempt: int, *, first: float, most: float) -> None:
    """Wait as `backoff` says."""
    await asyncio.sleep(backoff(attempt, first=first, most=most))
