"""Token buckets: how often a key may call, and how often a stranger may guess. Kept in this process, not shared."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

MAX_ADDRESSES: Final = 10_000
"""Addresses whose failures are remembered; the longest quiet one is forgotten first."""

FAILURE_BURST: Final = 100
FAILURES_PER_SECOND: Final = 2.0


class TokenBucket:
    """`rate` tokens a second, at most `burst` saved up."""

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._at = time.monotonic()

    def take(self) -> float:
        """Take a token. 0 when there was one, else the seconds until there is."""
        now = time.monotonic()
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
        return self._tokens + (time.monotonic() - self._at) * self.rate < 1


class Failures:
    """Failed authentications by address."""

    def __init__(self, rate: float = FAILURES_PER_SECOND, burst: float = FAILURE_BURST) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def blocked(self, address: str) -> bool:
        """Whether the address failed so often that it has to wait."""
        bucket = self._buckets.get(address)
        return bucket is not None and bucket.empty

    def count(self, address: str) -> float:
        """Count a failure; the seconds that the address has to wait, if it failed too often."""
        bucket = self._buckets.pop(address, None) or TokenBucket(self._rate, self._burst)
        self._buckets[address] = bucket
        while len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return bucket.take()
