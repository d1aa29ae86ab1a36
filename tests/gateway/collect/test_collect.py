"""What a payer signed is collected once, opens one session, and what is not used goes back by itself."""

from __future__ import annotations

import asyncio

import pytest
from tests.fixtures.evm import Evm
from tests.gateway.collect.world import AMOUNT, PRICE, Shop, deliveries, running, sessions


@pytest.fixture
def shop(evm: Evm, database_url: str) -> Shop:
    return Shop(evm, database_url)


async def test_a_signed_transfer_opens_a_session_and_the_rest_goes_back(shop: Shop) -> None:
    payer = await asyncio.to_thread(shop.payer)
    before = shop.held(payer.address)
    async with running(shop) as gateway:
        opened = await gateway.collect(shop.sign(payer))
        assert (opened.state, opened.payer, opened.paid) == ("open", payer.address, AMOUNT)
        assert shop.held(payer.address) == before - AMOUNT
        assert opened.session_id is not None
        assert opened.resume_token
        settled = await gateway.settle(opened, 0)
        assert settled.refund == AMOUNT
        told = await gateway.refunded(opened.session_id)
        assert (told.state, told.paid_amount, told.consumed_amount) == ("ended", AMOUNT, 0)
        assert shop.held(payer.address) == before
        assert await gateway.sent() == 1
        await gateway.check()


async def test_the_refund_is_what_was_not_used_to_the_unit(shop: Shop) -> None:
    payer = await asyncio.to_thread(shop.payer)
    async with running(shop) as gateway:
        opened = await gateway.collect(shop.sign(payer))
        settled = await gateway.settle(opened, 1_234)
        consumed = 1_234 * PRICE // 1000
        assert (settled.consumed, settled.refund) == (consumed, AMOUNT - consumed)
        await gateway.refunded(opened.session_id or "")
        assert shop.held(payer.address) == 10 * AMOUNT - consumed
        await gateway.check()


async def test_a_payment_shown_many_times_is_one_transaction_and_one_session(shop: Shop) -> None:
    payer = await asyncio.to_thread(shop.payer)
    async with running(shop) as gateway:
        transfer = shop.sign(payer)
        answers = await asyncio.gather(*(gateway.collect(transfer, server_id=f"server-{n}") for n in range(20)))
        assert sorted(each.state for each in answers) == ["known"] * 19 + ["open"]
        assert len({each.session_id for each in answers}) == 1
        assert await gateway.sent() == 1
        assert (await gateway.count(deliveries), await gateway.count(sessions)) == (1, 1)
