"""Everybody gets their turn: nobody's dust, poverty or broken account keeps another's refund."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import insert, update
from tests.fixtures.evm import ETHER, Evm
from tests.gateway.refunds.world import NETWORK, World, world

from ws402.chains.base import ChainUnavailableError, RefundOrder
from ws402.chains.evm import EvmChain
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import refunds, transfers
from ws402.gateway.refunds import Policy
from ws402.gateway.refunds.due import LINE, Line, Place

WORTH = ETHER // 1000
"""More than what sending it costs."""


def account(number: int) -> str:
    return "0x" + f"{number:040x}"


async def owe(w: World, who: Sequence[str], amount: int, *states: str) -> list[str]:
    """Debts to these accounts, each in a transfer of its own, brought through these states; the ids."""
    start = len(await w.refunds())
    rows = [(f"ref_{start + n:06d}", f"0x{start + n:064x}", recipient) for n, recipient in enumerate(who)]
    key = {"network": NETWORK, "idx": -1, "asset": "ETH", "amount": amount}
    seen = {"block": 1, "block_hash": "h", "block_time": 1, "recipient": w.wallet, "tags": "", "state": "seen"}
    debt = {"state": "waiting", "source_block": 1, "created_at": start, "updated_at": w.database.now_ms()}
    async with w.database.begin() as connection:
        await connection.execute(
            insert(transfers),
            [key | seen | {"tx": tx, "sender": recipient, "seen_at": start} for _, tx, recipient in rows],
        )
        await connection.execute(update(transfers).where(transfers.c.seen_at == start).values(state="owed"))
        await connection.execute(
            insert(refunds), [key | debt | {"id": name, "tx": tx, "recipient": to} for name, tx, to in rows]
        )
        for state in states:
            await connection.execute(update(refunds).where(refunds.c.created_at == start).values(state=state))
    return [name for name, _, _ in rows]


async def paid(w: World, ids: Sequence[str]) -> int:
    """How many of these were sent."""
    sent = {row.id for row in await w.refunds("in_flight", "confirmed", "final")}
    return len(sent.intersection(ids))


async def test_a20_credit_of_one_payer_keeps_no_refund_from_the_others(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database) as w:
        await owe(w, [account(666)] * 2500, 1, "due", "credit")
        honest = await owe(w, [account(n) for n in range(1000, 1010)], WORTH, "due")
        (dust,) = await owe(w, [account(666)], 1, "due")
        await w.engine.run_once()
        assert await paid(w, honest) == 10
        assert (await w.refund(dust)).state == "credit"


async def test_a20_thousands_of_due_dust_are_settled_as_credit_beside_the_others(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database) as w:
        await owe(w, [account(666)] * 1000, 1, "due")
        await owe(w, [account(5000 + n) for n in range(1200)], 1, "due")
        honest = await owe(w, [account(n) for n in range(1000, 1010)], WORTH, "due")
        await w.engine.run_once()
        assert await paid(w, honest) == 10
        assert len(await w.refunds("credit")) >= 1200


async def test_a20_a_payers_credit_travels_with_what_is_due_the_largest_first(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database) as w:
        await owe(w, [account(7)] * 300, 1, "due", "credit")
        (large,) = await owe(w, [account(7)], WORTH // 2, "due", "credit")
        (due,) = await owe(w, [account(7)], WORTH, "due")
        await w.engine.run_once()
        assert await paid(w, [large, due]) == 2
        (delivery,) = await w.deliveries()
        assert WORTH * 3 // 2 < delivery.amount <= WORTH * 3 // 2 + 300


async def test_a20_those_whom_the_account_cannot_pay_keep_nothing_from_the_others(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database, policy=Policy(hourly_limit={"ETH": 1000 * ETHER})) as w:
        await owe(w, [account(5000 + n) for n in range(700)], 100 * ETHER, "due")
        honest = await owe(w, [account(n) for n in range(1000, 1010)], WORTH, "due")
        await w.engine.run_once()
        assert await paid(w, honest) == 10


class BrokenFor(EvmChain):
    """A chain on which some recipients cannot be simulated, as one that burns all gas of a node's call."""

    broken: frozenset[str] = frozenset()

    async def estimate_fee(self, order: RefundOrder, sender: str) -> int:
        self._look(order)
        return await super().estimate_fee(order, sender)

    async def sign(self, order: RefundOrder, *arguments: Any, **named: Any) -> Any:
        self._look(order)
        return await super().sign(order, *arguments, **named)

    def _look(self, order: RefundOrder) -> None:
        if order.recipient.lower() in self.broken:
            raise ChainUnavailableError("timed out")


async def test_a20_recipients_that_cannot_be_simulated_keep_nothing_from_the_others(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database) as w:
        w.chain.__class__ = BrokenFor
        w.chain.broken = frozenset(account(5000 + n) for n in range(8))  # type: ignore[attr-defined]
        broken = await owe(w, sorted(w.chain.broken), WORTH, "due")  # type: ignore[attr-defined]
        honest = await owe(w, [account(n) for n in range(1000, 1010)], WORTH, "due")
        await w.engine.run_once()
        assert (await paid(w, honest), await paid(w, broken)) == (10, 0)
        assert [row.nonce for row in await w.deliveries()] == list(range(10))


class DearFor(EvmChain):
    """A chain on which paying some recipients may cost more than anybody has, as a contract that burns gas."""

    dear: frozenset[str] = frozenset()

    async def sign(self, order: RefundOrder, *arguments: Any, **named: Any) -> Any:
        signed = await super().sign(order, *arguments, **named)
        return structs.replace(signed, max_fee=1000 * ETHER) if order.recipient.lower() in self.dear else signed


async def test_a20_one_that_costs_more_than_there_is_keeps_nothing_from_those_behind_it(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database) as w:
        w.chain.__class__ = DearFor
        w.chain.dear = frozenset({account(5000), account(1003)})  # type: ignore[attr-defined]
        dear = await owe(w, [account(5000)], WORTH, "due")
        honest = await owe(w, [account(n) for n in range(1000, 1006)], WORTH, "due")
        await w.engine.run_once()
        assert (await paid(w, dear), await paid(w, honest)) == (0, 5)
        assert [row.nonce for row in await w.deliveries()] == list(range(5))
        assert w.engine.stats()[NETWORK]["short"]["ETH"] > 990 * ETHER


def places(*names: int, passed: bool = False) -> list[Place]:
    return [Place(recipient=str(name), since=name, passed=passed) for name in names]


def test_a_pass_that_is_cut_short_goes_on_where_it_stopped() -> None:
    line = Line()
    line.begin(places(1, 2, 3, 4), 100)
    assert line.next(3) == ["1", "2", "3"]
    line.looked(2)
    line.end()
    assert line.after is not None
    assert (line.after.recipient, line.considered) == ("2", 0)
    line.begin([*places(3, 4), *places(1, 2, passed=True)], 200)
    line.looked(3)  # once around, and one further
    assert line.considered == 100
    line.end()
    assert line.after.recipient == "1"
    line.begin([*places(2, 3, 4), *places(1, passed=True)], 300)
    line.looked(4)
    line.end()
    assert (line.after, line.considered, line.next(1)) == (None, 300, [])


@pytest.mark.parametrize(("count", "after"), [(4, None), (LINE, "1")])
def test_the_first_for_whom_the_hours_limit_has_no_room_is_the_first_again(count: int, after: str | None) -> None:
    line = Line()
    line.begin(places(*range(count)), 100)
    line.looked(2)
    line.looked(count - 2, limited=0)
    line.end()
    assert (line.after and line.after.recipient) == after
