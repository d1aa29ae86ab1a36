"""Amounts are integers in and out, exactly, whatever is thrown at them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws402.money import (
    MAX_AMOUNT,
    MAX_JSON_INTEGER,
    AmountError,
    from_decimal,
    parse_amount,
    to_decimal,
    wire_amount,
)

amounts = st.integers(min_value=1, max_value=MAX_AMOUNT) | st.integers(MAX_JSON_INTEGER - 2, MAX_JSON_INTEGER + 2)


@given(amounts)
def test_an_amount_comes_back_from_json_as_it_went(amount: int) -> None:
    sent = msgspec.json.encode(wire_amount(amount))
    assert parse_amount(msgspec.json.decode(sent)) == amount
    assert parse_amount(json.loads(sent)) == amount


@given(amounts)
def test_a_json_number_is_one_that_every_reader_keeps_exact(amount: int) -> None:
    spelled = wire_amount(amount)
    assert isinstance(spelled, int) == (amount <= MAX_JSON_INTEGER)
    if isinstance(spelled, int):
        assert int(float(spelled)) == amount


@given(amounts)
def test_number_and_string_are_the_same_amount(amount: int) -> None:
    assert parse_amount(amount) == parse_amount(str(amount)) == amount


@given(st.floats() | st.booleans() | st.none() | st.lists(st.integers()) | st.dictionaries(st.text(), st.integers()))
def test_a10_what_is_no_whole_number_is_refused_and_never_rounded(value: Any) -> None:
    with pytest.raises(AmountError) as refused:
        parse_amount(value, field="price")
    assert "'price'" in refused.value.message
    assert refused.value.status == 400


@given(st.integers(max_value=0) | st.integers(min_value=MAX_AMOUNT + 1))
def test_an_integer_out_of_range_is_refused(value: int) -> None:
    with pytest.raises(AmountError):
        parse_amount(value)
    with pytest.raises(AmountError):
        parse_amount(str(value))


@given(st.text().filter(lambda text: not (text.isascii() and text.isdigit())))
def test_a_string_of_anything_but_digits_is_refused(text: str) -> None:
    with pytest.raises(AmountError):
        parse_amount(text)


@pytest.mark.parametrize("text", ["", " 5", "5 ", "+5", "-5", "0x5", "1e3", "1.0", "1_000", "٣", "²", "9" * 79])
def test_strings_that_python_or_javascript_would_read_are_refused(text: str) -> None:
    with pytest.raises(AmountError):
        parse_amount(text)


def test_zero_is_an_amount_only_where_it_may_be() -> None:
    assert parse_amount(0, zero=True) == parse_amount("0", zero=True) == 0
    with pytest.raises(AmountError):
        parse_amount(0)


@given(st.integers(0, MAX_AMOUNT), st.integers(0, 36))
def test_whole_coins_come_back_as_they_went(amount: int, decimals: int) -> None:
    text = to_decimal(amount, decimals)
    assert from_decimal(text, decimals) == amount
    assert not (("." in text) and text.endswith("0"))
    assert "e" not in text


@pytest.mark.parametrize(
    ("amount", "decimals", "text"),
    [(1_500_000, 6, "1.5"), (1, 18, "0.000000000000000001"), (10**18, 18, "1"), (0, 18, "0"), (7, 0, "7")],
)
def test_whole_coins_read_as_people_write_them(amount: int, decimals: int, text: str) -> None:
    assert to_decimal(amount, decimals) == text


@pytest.mark.parametrize("text", ["", ".", ".5", "1.0000001", "1e3", "-1", "1.2.3", "a", " 1", "٣"])
def test_whole_coins_that_would_have_to_be_rounded_or_guessed_are_refused(text: str) -> None:
    with pytest.raises(AmountError):
        from_decimal(text, 6)
