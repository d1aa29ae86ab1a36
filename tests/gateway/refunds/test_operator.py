"""What operators can do, and what they cannot."""

from __future__ import annotations

import inspect

import pytest
from tests.fixtures.evm import ETHER, Evm
from tests.gateway.refunds.world import world

from ws402.errors import ConflictError, InvalidRequestError, NotFoundError
from ws402.gateway.ledger.database import Database
from ws402.gateway.refunds import Operator, Policy

SMALL = ETHER // 1000


async def test_a_refund_that_is_held_stays_until_it_is_released(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database) as w:
        (payer,) = await w.payers(1)
        refund_id = await w.owe(payer, SMALL)
        await w.operator.hold(refund_id, "the payer asked to wait")
        await w.finish()
        assert w.received(payer) == 0
        await w.operator.release(refund_id)
        await w.finish()
        assert w.received(payer) == SMALL
        await w.audit()


async def test_credits_are_paid_out_when_an_operator_says_so(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database, policy=Policy(min_refund={"ETH": 10_000})) as w:
        payers = await w.payers(2)
        ids = [await w.owe(payer, 5_000, paid=SMALL) for payer in payers]
        await w.finish()
        await w.operator.hold(ids[0], "look at it")
        assert len(await w.operator.release_all("base-sepolia", "ETH", state="credit")) == 1
        await w.finish()
        assert [w.received(payer) for payer in payers] == [0, 5_000]
        await w.audit()
        assert len(await w.operator.release_all("base-sepolia", "ETH")) == 1
        await w.finish()
        assert [w.received(payer) for payer in payers] == [5_000, 5_000]
        await w.audit()


async def test_what_is_sent_already_can_neither_be_held_nor_released_nor_resolved(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database) as w:
        (payer,) = await w.payers(1)
        refund_id = await w.owe(payer, SMALL)
        await w.step(2)
        for refused in (
            w.operator.hold(refund_id, "too late"),
            w.operator.release(refund_id),
            w.operator.resolve(refund_id, "too late"),
        ):
            with pytest.raises(ConflictError, match="in_flight"):
                await refused
        await w.finish()
        assert w.received(payer) == SMALL


async def test_a_resolved_refund_is_not_sent(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database) as w:
        (payer,) = await w.payers(1)
        refund_id = await w.owe(payer, SMALL)
        with pytest.raises(ConflictError):
            await w.operator.resolve(refund_id, "not held yet")
        await w.operator.hold(refund_id, "a mistake of ours")
        await w.operator.resolve(refund_id, "paid in cash")
        with pytest.raises(ConflictError):
            await w.operator.release(refund_id)
        await w.finish()
        assert w.received(payer) == 0
        await w.audit()


async def test_orders_that_make_no_sense_are_refused(database: Database) -> None:
    operator = Operator(database)
    with pytest.raises(NotFoundError):
        await operator.release("ref_unknown")
    with pytest.raises(NotFoundError):
        await operator.pause("base", "why not")
    with pytest.raises(InvalidRequestError):
        await operator.pause("base", " ")
    with pytest.raises(InvalidRequestError):
        await operator.release_all("base", "ETH", state="final")


def test_a16_no_order_takes_an_address_to_pay() -> None:
    for name, method in inspect.getmembers(Operator, inspect.isfunction):
        if name not in ("pause", "resume"):  # they name our own key
            assert "address" not in inspect.signature(method).parameters or name.startswith("_"), name
