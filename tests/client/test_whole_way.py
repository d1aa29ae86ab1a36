"""The client with a real gateway: its own servers, and a stock server that knows only the old wire."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.client.conftest import MakeWallet
from tests.fixtures.stack import PRICE, MakeStack, Stack
from tests.wire.peers.provider import StockProvider
from tests.wire.peers.server import StockServer

from ws402.client import EvmWallet, Options, Store, connect
from ws402.protocol import EndReason

LIMITS: dict[str, Any] = {"resource": "ticker", "max_amount": 10**17}


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    return make_stack(servers=2)


@pytest.fixture
def payer(stack: Stack, make_wallet: MakeWallet) -> EvmWallet:
    key = "0x" + "42" * 32
    wallet = make_wallet(stack.rpc_url, key)
    stack.rpc.fund(wallet.address, 10**18)
    return wallet


async def test_pay_top_up_leave_early_and_see_the_refund_on_the_chain(stack: Stack, payer: EvmWallet) -> None:
    async with connect(stack.server_url, wallet=payer, payees=[stack.merchant], duration=300, **LIMITS) as session:
        await anext(session)
        assert await session.top_up(60) == 60 * PRICE
        settlement = await session.end()
        before = await payer.balance()
        refund = await session.refund(40)
    assert settlement.reason is EndReason.CLIENT_ENDED
    assert settlement.paid == 360 * PRICE == settlement.consumed + settlement.refund
    assert refund is not None
    assert refund.seen is True
    assert refund.amount == settlement.refund
    assert await payer.balance() - before in (0, settlement.refund), "the refund came once"


async def test_the_session_goes_on_when_its_server_is_killed_and_comes_back(stack: Stack, payer: EvmWallet) -> None:
    options = Options(reconnect_seconds=60)
    async with connect(stack.server_url, wallet=payer, payees=[stack.merchant], options=options, **LIMITS) as session:
        await anext(session)
        await asyncio.to_thread(stack.server.kill)
        await asyncio.to_thread(stack.server.start)
        await session.send("still here")
        await anext(session)
        settlement = await session.end()
    assert settlement.exact
    assert settlement.paid == settlement.consumed + settlement.refund == 300 * PRICE


async def test_a_draining_server_loses_nobody(stack: Stack, payer: EvmWallet) -> None:
    """A rolling restart: SIGTERM, and the next process on the same address."""
    async with connect(stack.server_url, wallet=payer, payees=[stack.merchant], **LIMITS) as session:
        await anext(session)
        token = session.payments[0].resume_token
        await asyncio.to_thread(stack.server.restart)
        while session.payments[0].resume_token == token:
            await anext(session)
        settlement = await session.end()
    assert settlement.exact
    assert settlement.reason is EndReason.CLIENT_ENDED


async def test_a_stock_server_is_paid_and_its_refund_arrives(stack: Stack, payer: EvmWallet, store: Store) -> None:
    async with (
        StockProvider(stack.gateway_url, stack.api_key) as provider,
        StockServer(provider, price_per_second=PRICE, update_interval=0.5) as server,
    ):
        async with connect(
            server.url, wallet=payer, payees=[stack.merchant], store=store, duration=300, **LIMITS
        ) as session:
            for _ in range(100):
                if session.usage.consumed:
                    break
                await asyncio.sleep(0.05)
            funds = await payer.balance()
            settlement = await session.end()
            assert await session.refund() is None
        for _ in range(300):
            if (held := await payer.balance()) > funds:
                break
            await asyncio.sleep(0.1)
    assert not settlement.exact
    assert abs((held - funds) - settlement.refund) < 5 * PRICE
    assert store.unfinished() == []
