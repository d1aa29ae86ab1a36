"""Token buckets: how often somebody may do something."""

from __future__ import annotations

import pytest

from ws402.errors import RateLimitedError
from ws402.limits import MAX_KEYS, Buckets, PerMinute, TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_a_burst_and_refills() -> None:
    clock = Clock()
    bucket = TokenBucket(rate=64, burst=3, clock=clock)
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert bucket.empty
    assert bucket.take() == pytest.approx(1 / 64)
    clock.now += 1 / 64
    assert not bucket.empty
    assert bucket.take() == 0
    clock.now += 3600
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert bucket.take() > 0


def test_each_key_has_a_bucket_of_its_own_and_looking_takes_nothing() -> None:
    buckets = Buckets(rate=1, burst=1, clock=Clock())
    assert not buckets.empty("a")
    assert buckets.take("a") == 0
    assert buckets.empty("a")
    assert not buckets.empty("b")
    assert buckets.take("b") == 0
    assert buckets.take("a") == 1


def test_endless_keys_take_bounded_memory() -> None:
    buckets = Buckets(rate=1, burst=1, clock=Clock())
    for number in range(3 * MAX_KEYS):
        buckets.take(f"address {number}")
    assert len(buckets) == MAX_KEYS
    assert buckets.empty(f"address {3 * MAX_KEYS - 1}")
    assert not buckets.empty("address 1")


def test_a_minute_has_a_limit_for_each_address_that_comes_back_bit_by_bit() -> None:
    clock = Clock()
    limit = PerMinute(2, clock)
    limit.take("a")
    limit.take("a")
    limit.take("b")
    with pytest.raises(RateLimitedError) as refused:
        limit.take("a")
    assert refused.value.retry_after == pytest.approx(30)
    clock.now += 30
    limit.take("a")
    with pytest.raises(RateLimitedError):
        limit.take("a")
