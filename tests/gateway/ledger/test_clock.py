"""The ledger's clock follows its reference, and never goes back."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws402.gateway.ledger.clock import LedgerClock
from ws402.gateway.ledger.database import Database

MS = 1_000_000


class Hands:
    """Two clocks that a test moves."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000_000 * MS
        self.monotonic = 5 * MS

    def clock(self) -> LedgerClock:
        return LedgerClock(wall=lambda: self.wall, monotonic=lambda: self.monotonic)

    def pass_ms(self, ms: int) -> None:
        self.monotonic += ms * MS


def test_time_passes_by_the_monotonic_clock() -> None:
    hands = Hands()
    clock = hands.clock()
    start = clock.now_ms()
    hands.wall -= 3_600_000 * MS
    hands.pass_ms(250)
    assert clock.now_ms() == start + 250


def test_a_reference_that_is_ahead_counts_at_once() -> None:
    hands = Hands()
    clock = hands.clock()
    start = clock.now_ms()
    clock.set(start + 120_000, clock.mark())
    assert clock.now_ms() == start + 120_000
    assert clock.skew_ms == 120_000


def test_a_reference_that_is_behind_is_waited_for_at_half_the_pace() -> None:
    hands = Hands()
    clock = hands.clock()
    start = clock.now_ms()
    clock.set(start - 1000, clock.mark())
    assert (clock.now_ms(), clock.reference_ms()) == (start, start - 1000)
    hands.pass_ms(1000)
    assert clock.now_ms() == start + 500
    hands.pass_ms(1000)
    assert clock.now_ms() == clock.reference_ms() == start + 1000
    hands.pass_ms(1000)
    assert clock.now_ms() == start + 2000


def test_a_machine_whose_clock_is_ahead_begins_with_the_references_time() -> None:
    hands = Hands()
    clock = hands.clock()
    clock.set(hands.wall // MS - 120_000, clock.mark())
    assert clock.now_ms() == clock.reference_ms() == hands.wall // MS - 120_000
    assert clock.skew_ms == -120_000


@pytest.mark.parametrize("database_url", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
@pytest.mark.parametrize("ahead_s", [120, -120])
async def test_two_gateways_whose_clocks_differ_tell_one_time(database_url: str, ahead_s: int) -> None:
    async with AsyncExitStack() as opened:
        right, wrong = Database(database_url), Database(database_url)
        wrong.clock = LedgerClock(wall=lambda: time.time_ns() + ahead_s * 1_000 * MS)
        for each in (right, wrong):
            opened.push_async_callback(each.close)
            await each.create()
        assert abs(wrong.now_ms() - right.now_ms()) < 10_000


def test_the_way_of_the_answer_counts_half() -> None:
    hands = Hands()
    clock = hands.clock()
    start, asked = clock.now_ms(), clock.mark()
    hands.pass_ms(200)
    clock.set(start, asked)
    assert clock.reference_ms() == start + 100


def test_time_begins_after_what_the_ledger_was_told() -> None:
    hands = Hands()
    clock = hands.clock()
    newest = clock.now_ms() + 3_600_000
    clock.set(clock.now_ms(), clock.mark(), least_ms=newest)
    assert clock.now_ms() == newest


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(-300_000, 300_000)), max_size=30))
def test_it_never_goes_back(moves: list[tuple[int, int]]) -> None:
    hands = Hands()
    clock = hands.clock()
    told = clock.now_ms()
    for passed, step in moves:
        hands.pass_ms(passed)
        assert clock.now_ms() >= told
        clock.set(clock.reference_ms() + step, clock.mark())
        assert (told := clock.now_ms()) >= told
