"""The meter: exact, monotonic, never above what was paid, whatever the price and whenever one looks."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from ws402.prices import Price, Rate, by_second
from ws402.server.sessions.meter import Meter

amounts = st.integers(1, 2**256 - 1)
prices = st.one_of(st.integers(1, 10**24), st.just(1), st.integers(1, 2000))
moments = st.integers(0, 10**9)
limits = st.integers(1, 10**8)


@given(amounts, prices, moments, limits, st.lists(st.integers(0, 10**9), max_size=20))
def test_use_and_price_rise_and_stay_within_what_was_paid(
    paid: int, rate: int, start: int, limit: int, later: list[int]
) -> None:
    meter = Meter(paid=paid, price=by_second(rate), now=start, limit_ms=limit)
    before = (0, 0)
    for moment in sorted(later):
        reading = (meter.elapsed_ms(start + moment), meter.consumed(start + moment))
        assert reading >= before
        assert reading[0] <= min(moment, limit)
        assert reading[1] <= paid
        assert meter.remaining(start + moment) == paid - reading[1]
        before = reading


@given(amounts, prices, moments, st.integers(0, 10**9))
def test_a21_a_close_costs_its_exact_time_to_the_millisecond(paid: int, rate: int, start: int, elapsed: int) -> None:
    meter = Meter(paid=paid, price=by_second(rate), now=start, limit_ms=2**62)
    assert meter.stop(start + elapsed) == min(elapsed, -(-paid * 1000 // rate))
    assert meter.consumed(start + elapsed + 12345) == min(paid, by_second(rate).cost(elapsed))


@given(amounts, prices, moments)
def test_the_end_is_the_first_millisecond_at_which_all_is_used(paid: int, rate: int, start: int) -> None:
    meter = Meter(paid=paid, price=by_second(rate), now=start, limit_ms=2**300)
    end = meter.stops_at
    assert by_second(rate).cost(end - start) >= paid > by_second(rate).cost(end - start - 1)
    assert meter.is_exhausted(end)
    assert not meter.is_exhausted(end - 1)
    assert meter.consumed(end) == paid


@given(amounts, prices, moments, limits, st.integers(0, 10**6))
def test_looking_late_costs_nothing(paid: int, rate: int, start: int, limit: int, late: int) -> None:
    meter = Meter(paid=paid, price=by_second(rate), now=start, limit_ms=limit)
    end = meter.stops_at
    assert meter.elapsed_ms(end + late) == meter.elapsed_ms(end)
    assert meter.consumed(end + late) == meter.consumed(end)


@given(st.lists(amounts, min_size=1, max_size=6), prices, moments, st.integers(0, 10**9))
def test_top_ups_before_the_end_are_as_if_all_had_been_paid_at_once(
    payments: list[int], rate: int, start: int, elapsed: int
) -> None:
    meter = Meter(paid=payments[0], price=by_second(rate), now=start, limit_ms=2**62)
    for more in payments[1:]:
        meter.add(more)
    whole = Meter(paid=sum(payments), price=by_second(rate), now=start, limit_ms=2**62)
    assert meter.stops_at == whole.stops_at
    assert meter.consumed(start + elapsed) == whole.consumed(start + elapsed)


@given(amounts, prices, st.lists(st.integers(0, 10**6), min_size=1, max_size=8))
def test_a_session_in_pieces_costs_as_much_as_in_one(paid: int, rate: int, pieces: list[int]) -> None:
    used = now = 0
    for piece in pieces:
        now += 10**7  # a pause between two sockets costs nothing
        meter = Meter(paid=paid, price=by_second(rate), now=now, limit_ms=2**62, used_ms=used)
        used = meter.stop(now + piece)
        now += piece
    assert meter.consumed(now) == min(paid, by_second(rate).cost(sum(pieces)))


@given(amounts, prices, moments, st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_fast_reading_is_the_exact_one(paid: int, rate: int, start: int, used: int, elapsed: int) -> None:
    meter = Meter(paid=paid, price=by_second(rate), now=start, limit_ms=2**62, used_ms=used)
    if start + elapsed < meter.stops_at:
        assert meter.reading(start + elapsed) == (meter.elapsed_ms(start + elapsed), meter.consumed(start + elapsed))


@given(amounts, prices, moments, st.integers(0, 10**6), st.integers(0, 10**6))
def test_preparation_is_free(paid: int, rate: int, start: int, used: int, waited: int) -> None:
    meter = Meter(paid=paid, price=by_second(rate), now=start, limit_ms=2**62, used_ms=used)
    meter.begin(start + waited)
    assert meter.stop(start + waited) == min(used, -(-paid * 1000 // rate))


@given(amounts, prices, moments, moments)
def test_what_was_stopped_stays_stopped(paid: int, rate: int, start: int, elapsed: int) -> None:
    meter = Meter(paid=paid, price=by_second(rate), now=start, limit_ms=2**62)
    first = meter.stop(start + elapsed)
    meter.add(10**30)
    assert meter.stop(start + elapsed + 10**6) == first
    assert meter.elapsed_ms(start + elapsed + 10**6) == first


UNITS = ("messages", "bytes", "tokens")
rates = st.tuples(st.integers(1, 10**20), st.integers(1, 10**9))
tariffs = st.dictionaries(st.sampled_from(("seconds", *UNITS)), rates, min_size=1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 10**6)),
        st.tuples(st.sampled_from(UNITS), st.integers(0, 10**9)),
        st.tuples(st.just("pay"), amounts),
        st.tuples(st.just("move"), st.integers(0, 10**6)),
    ),
    max_size=30,
)


def tariff(chosen: dict[str, tuple[int, int]]) -> Price:
    exact = {unit: Fraction(*rate) for unit, rate in chosen.items()}
    return Price(tuple(Rate(unit, each.numerator, each.denominator) for unit, each in exact.items()))


def exactly(price: Price, elapsed_ms: int, units: dict[str, int]) -> int:
    """What use costs, by the definition alone."""
    used = {"seconds": Fraction(elapsed_ms, 1000), **{unit: Fraction(count) for unit, count in units.items()}}
    cost = sum((Fraction(each.amount, each.per) * used.get(each.unit, 0) for each in price.rates), Fraction())
    return cost.numerator // cost.denominator


@given(tariffs, amounts, moments, limits, steps)
def test_no_order_of_use_charges_top_ups_and_moves_takes_more_than_was_paid(
    chosen: dict[str, tuple[int, int]], paid: int, now: int, limit: int, taken: list[tuple[str, int]]
) -> None:
    price = tariff(chosen)
    meter = Meter(paid=paid, price=price, now=now, limit_ms=limit)
    before = (0, 0)
    for what, size in taken:
        over = now >= meter.stops_at
        match what:
            case "wait":
                now += size
            case "pay" if not over:
                meter.add(size)
            case "move":  # to another server, after a pause
                used = meter.stop(now)
                now += size
                meter = Meter(paid=meter.paid, price=price, now=now, limit_ms=limit, used_ms=used, units=meter.units)
            case unit if unit in UNITS:
                meter.charge(now, unit, size)
                if over:
                    assert meter.consumed(now) == before[1], "a meter that stands still charges nothing"
            case _:
                pass
        elapsed, consumed, units = meter.elapsed_ms(now), meter.consumed(now), meter.units or {}
        assert (elapsed, consumed) >= before
        assert 0 <= consumed <= meter.paid
        assert meter.remaining(now) == meter.paid - consumed >= 0
        assert consumed == min(meter.paid, exactly(price, elapsed, units))
        if now < meter.stops_at:
            assert meter.reading(now) == (elapsed, consumed)
            assert consumed < meter.paid
        elif elapsed < limit:
            assert consumed == meter.paid
        before = (elapsed, consumed)


@given(tariffs, st.integers(1, 10**6), st.dictionaries(st.sampled_from(UNITS), st.integers(0, 10**12)))
def test_what_is_paid_for_use_is_enough_for_it(
    chosen: dict[str, tuple[int, int]], seconds: int, units: dict[str, int]
) -> None:
    price = tariff(chosen)
    assert price.quote(seconds, units) - 1 <= exactly(price, seconds * 1000, units) <= price.quote(seconds, units)
