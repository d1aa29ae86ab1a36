"""What goes out, what is kept as credit, and what waits."""

from __future__ import annotations

import pytest

from ws402.gateway.refunds.plan import Bundle, Debt, Means, Plan, plan
from ws402.gateway.refunds.policy import Policy

COST = 100
RICH = 10**9


def debt(amount: int, *, name: str = "ref_1", state: str = "due", cleared: bool = False, to: str = "0xa") -> Debt:
    return Debt(id=name, recipient=to, amount=amount, state=state, cleared=cleared)


def bundle(*debts: Debt) -> Bundle:
    return Bundle(recipient=debts[0].recipient, asset="ETH", debts=debts)


def means(
    *, balance: int = RICH, gas: int = RICH, spent: int = 0, recent: dict[str, int] | None = None, native: bool = True
) -> Means:
    return Means(
        asset="ETH", native=native, cost=COST, balance=balance, gas=gas, spent_in_hour=spent, recent=recent or {}
    )


def sent(decided: Plan) -> list[str]:
    return [each.id for one in decided.send for each in one.debts]


def test_a_refund_worth_its_gas_is_sent() -> None:
    decided = plan([bundle(debt(COST))], means(), Policy(), 10)
    assert sent(decided) == ["ref_1"]


def test_a20_a_refund_that_costs_more_than_it_is_worth_becomes_credit() -> None:
    decided = plan([bundle(debt(COST - 1))], means(), Policy(), 10)
    assert not decided.send
    assert [each.id for each in decided.credit] == ["ref_1"]


def test_a20_a_configured_minimum_counts_instead_of_the_gas() -> None:
    policy = Policy(min_refund={"ETH": 500})
    assert [each.id for each in plan([bundle(debt(499))], means(), policy, 10).credit] == ["ref_1"]
    assert sent(plan([bundle(debt(500))], means(), policy, 10)) == ["ref_1"]


def test_credit_travels_with_the_next_refund() -> None:
    decided = plan([bundle(debt(60, name="old", state="credit"), debt(70, name="new"))], means(), Policy(), 10)
    assert sent(decided) == ["old", "new"]
    assert decided.send[0].amount == 130


def test_credit_that_is_still_too_small_together_is_booked_once() -> None:
    decided = plan([bundle(debt(10, name="old", state="credit"), debt(10, name="new"))], means(), Policy(), 10)
    assert [each.id for each in decided.credit] == ["new"]


def test_an_operators_release_sends_the_smallest_refund() -> None:
    assert sent(plan([bundle(debt(1, cleared=True))], means(), Policy(), 10)) == ["ref_1"]


def test_a_token_without_a_minimum_is_never_credit() -> None:
    assert sent(plan([bundle(debt(1))], means(native=False), Policy(), 10)) == ["ref_1"]


@pytest.mark.parametrize(("recent", "expected"), [(2, ["ref_1"]), (3, [])])
def test_a20_a_payer_gets_a_few_small_refunds_a_minute_and_the_rest_waits(recent: int, expected: list[str]) -> None:
    decided = plan([bundle(debt(5 * COST))], means(recent={"0xa": recent}), Policy(), 10)
    assert sent(decided) == expected
    assert decided.deferred == 1 - len(expected)
    assert not decided.credit


def test_a20_large_refunds_are_not_held_up_by_small_ones() -> None:
    decided = plan([bundle(debt(10 * COST))], means(recent={"0xa": 50}), Policy(), 10)
    assert sent(decided) == ["ref_1"]


def test_what_the_account_does_not_cover_waits_and_the_rest_goes() -> None:
    bundles = [
        bundle(debt(1000, name="big", to="0xa")),
        bundle(debt(200, name="small", to="0xb")),
    ]
    decided = plan(bundles, means(balance=500, gas=500), Policy(), 10)
    assert sent(decided) == ["small"]
    assert decided.short == 1000 + COST - (500 - 200 - COST)


def test_a_token_needs_gas_in_the_native_coin() -> None:
    decided = plan([bundle(debt(1000))], means(native=False, gas=COST - 1), Policy(), 10)
    assert not decided.send
    assert decided.short_of_gas == COST


def test_a46_the_hourly_limit_counts_what_was_sent_and_keeps_the_order() -> None:
    bundles = [
        bundle(debt(300, name="first", to="0xa")),
        bundle(debt(800, name="large", to="0xb")),
        bundle(debt(150, name="last", to="0xc")),
    ]
    decided = plan(bundles, means(spent=200), Policy(hourly_limit={"ETH": 1000}), 10)
    assert sent(decided) == ["first"]
    assert decided.limited


def test_a46_a_refund_above_the_limit_is_held_for_an_operator() -> None:
    bundles = [bundle(debt(1001, name="too large"), debt(400, name="fits"))]
    decided = plan(bundles, means(), Policy(hourly_limit={"ETH": 1000}), 10)
    assert [(each.id, "hourly limit of 1000" in reason) for each, reason in decided.hold] == [("too large", True)]
    assert sent(decided) == ["fits"]


def test_a46_one_payers_many_refunds_are_split_over_the_hours() -> None:
    debts = [debt(400, name=f"ref_{number}") for number in range(4)]
    decided = plan([bundle(*debts)], means(), Policy(hourly_limit={"ETH": 1000}), 10)
    assert sent(decided) == ["ref_0", "ref_1"]


def test_no_more_is_sent_than_there_is_room_for() -> None:
    bundles = [bundle(debt(1000, name=f"ref_{number}", to=f"0x{number}")) for number in range(5)]
    assert sent(plan(bundles, means(), Policy(), 2)) == ["ref_0", "ref_1"]
