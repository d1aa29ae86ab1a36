"""The wheel calls what is due, once, in time, and nothing else."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws402.server.wheel import TICK_MS, Wheel


class Clock:
    def __init__(self, now: int = 1_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class Item:
    def __init__(self, fails: bool = False) -> None:
        self.due_tick = 0
        self.calls: list[int] = []
        self.fails = fails
        self.ended = False

    def tick(self, now: int) -> None:
        self.calls.append(now)
        if self.fails:
            raise RuntimeError("a bug")

    def broken(self) -> None:
        self.ended = True


def turn_to(wheel: Wheel, clock: Clock, moment: int) -> None:
    while clock.now < moment:
        clock.now = min(moment, clock.now + TICK_MS)
        wheel.turn(clock.now)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20_000)), max_size=60))
def test_each_item_is_called_once_at_its_last_moment_or_a_tick_later(plans: list[tuple[int, int]]) -> None:
    clock = Clock()
    wheel = Wheel(clock)
    items = [Item() for _ in range(6)]
    last: dict[int, int] = {}
    for index, after in plans:
        wheel.schedule(items[index], clock.now + after)
        last[index] = clock.now + after
    turn_to(wheel, clock, 1_000_000 + 21_000)
    for index, item in enumerate(items):
        if index in last:
            (called,) = item.calls
            assert last[index] <= called <= last[index] + 2 * TICK_MS
        else:
            assert item.calls == []


def test_a_cancelled_item_is_not_called() -> None:
    clock = Clock()
    wheel = Wheel(clock)
    item = Item()
    wheel.schedule(item, clock.now + 100)
    wheel.cancel(item)
    turn_to(wheel, clock, clock.now + 1000)
    assert item.calls == []


def test_what_is_past_is_called_at_the_next_turn() -> None:
    clock = Clock()
    wheel = Wheel(clock)
    item = Item()
    turn_to(wheel, clock, clock.now + 1000)
    wheel.schedule(item, clock.now - 500)
    turn_to(wheel, clock, clock.now + TICK_MS)
    assert len(item.calls) == 1


def test_a_stalled_loop_catches_up_with_one_call_each() -> None:
    clock = Clock()
    wheel = Wheel(clock)
    item = Item()
    wheel.schedule(item, clock.now + 100)
    clock.now += 60_000
    wheel.turn(clock.now)
    assert item.calls == [clock.now]


def test_a_step_that_fails_ends_its_item_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    wheel = Wheel(clock)
    bad, good = Item(fails=True), Item()
    for item in (bad, good):
        wheel.schedule(item, clock.now + 100)
    turn_to(wheel, clock, clock.now + 500)
    assert bad.ended
    assert len(good.calls) == 1
    assert not good.ended
    assert "a timed step failed" in caplog.text


async def test_one_timer_turns_it() -> None:
    wheel = Wheel()
    item = Item()
    wheel.start()
    wheel.schedule(item, wheel.clock() + 100)
    await asyncio.sleep(0.3)
    wheel.stop()
    assert len(item.calls) == 1
    wheel.schedule(item, wheel.clock())
    await asyncio.sleep(0.15)
    assert len(item.calls) == 1
