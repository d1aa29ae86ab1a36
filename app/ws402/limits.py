"""Token buckets: how often somebody may do something. Kept in this process, not shared."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ws402.errors import RateLimitedError

MAX_KEYS: Final = 10_000
"""Addresses or other keys whose buckets are kept; the longest quiet one is forgotten first."""

Clock = Callable[[], float]
"""Seconds that never go back."""


class TokenBucket:
    """`rate` tokens a second, at most `burst` saved up; full at first."""

    __slots__ = ("_at", "_clock", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, clock: Clock = time.monotonic) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._tokens = burst
        self._at = clock()

    def take(self) -> float:
        """Take a token. 0 when there was one, else the seconds until there is."""
        now = self._clock()
        tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if tokens >= 1:
            self._tokens = tokens - 1
            return 0.0
        self._tokens = tokens
        return (1 - tokens) / self.rate

    @property
    def empty(self) -> bool:
        """Whether there is no token now."""
        return self._tokens + (self._clock() - self._at) * self.rate < 1


class Buckets:
    """One bucket for each key."""

    def __init__(self, rate: float, burst: float, clock: Clock = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def empty(self, key: str) -> bool:
        """Whether there is no token for this key now; takes none."""
        bucket = self._buckets.get(key)
        return bucket is not None and bucket.empty

    def take(self, key: str) -> float:
        """Take a token of this key. 0 when there was one, else the seconds until there is."""
        bucket = self._buckets.pop(key, None) or TokenBucket(self._rate, self._burst, self._clock)
        self._buckets[key] = bucket
        while len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)
        return bucket.take()


class PerMinute:
    """At most `limit` requests of each address at once, and as many in a minute."""

    def __init__(self, limit: int, clock: Clock = time.monotonic) -> None:
        self._limit = limit
        self._buckets = Buckets(limit / 60, limit, clock)

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, address: str) -> None:
        """One more. Raises RateLimitedError that says when to come back."""
        if wait := self._buckets.take(address):
            raise self._refusal(wait)

    def check(self, address: str) -> None:
        """Raises RateLimitedError where there is no room for one more; counts none."""
        if self._buckets.empty(address):
            raise self._refusal(60 / self._limit)

    def count(self, address: str) -> None:
        """One more that has been let in already."""
        self._buckets.take(address)

    def _refusal(self, wait: float) -> RateLimitedError:
        return RateLimitedError(
            f"More than {self._limit} such requests in a minute came from your address.",
            retry_after=wait,
            remedy="Wait, and ask only for what you mean to use.",
        )
