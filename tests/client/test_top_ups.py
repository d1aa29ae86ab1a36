"""More time for a live session: paid within the cap, credited, refused, and answered while the stream is busy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.client.conftest import OurServer
from tests.client.scripted import PRICE, Peer, ScriptedServer
from tests.fixtures.evm import Evm

from ws402.client import EvmWallet, PaymentRejectedError, PolicyError, connect
from ws402.client.channel import MAX_BACKLOG

LIMITS: dict[str, Any] = {"resource": "ticker", "duration": 60, "max_amount": 10**17, "trust_first_use": True}


async def test_a_top_up_is_paid_and_credited(ours: OurServer, wallet: EvmWallet, chain: Evm) -> None:
    async with connect(ours.url, wallet=wallet, **LIMITS) as session:
        assert await session.top_up(30) == 30 * PRICE
        assert session.paid == 90 * PRICE
        assert session.balance > 60 * PRICE
        assert len({payment.tx for payment in session.payments}) == 2
        settlement = await session.end()
    assert settlement.paid == 90 * PRICE
    assert chain.rpc("eth_getTransactionCount", wallet.address, "latest") == "0x2"


async def test_a47_top_ups_count_against_the_cap(ours: OurServer, wallet: EvmWallet, chain: Evm) -> None:
    limits = LIMITS | {"max_amount": 100 * PRICE}
    async with connect(ours.url, wallet=wallet, **limits) as session:
        await session.top_up(40)
        with pytest.raises(PolicyError, match="above") as refused:
            await session.top_up(1)
        assert refused.value.code == "over_cap"
        assert session.live
    assert chain.rpc("eth_getTransactionCount", wallet.address, "latest") == "0x2"


async def test_a_refused_top_up_leaves_the_session_alone(ours: OurServer, wallet: EvmWallet) -> None:
    async with connect(ours.url, wallet=wallet, **LIMITS) as session:
        ours.provider.faults.reject("amount_short")
        with pytest.raises(PaymentRejectedError) as refused:
            await session.top_up(30)
        assert refused.value.code == "amount_short"
        assert refused.value.proof.tx_hash
        assert session.live
        assert session.paid == 60 * PRICE


async def test_a47_a_server_that_credits_less_than_was_paid_does_not_widen_the_cap(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    async def grudge(peer: Peer) -> None:
        await peer.start(resumeToken="t-1", maxSessionDuration=3600)
        for _ in range(2):
            await peer.receive()
            await peer.send("balance_updated", sessionId="s-1", added=1, remainingBalance=60 * PRICE)
        await peer.stay()

    scripted.script = grudge
    limits = LIMITS | {"max_amount": 100 * PRICE}
    async with connect(scripted.url, wallet=wallet, **limits) as session:
        assert await session.top_up(30) == 1
        with pytest.raises(PolicyError) as refused:
            await session.top_up(30)
        assert refused.value.code == "over_cap"


async def test_a_top_up_while_nobody_reads_a_busy_stream_is_answered(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    async def flood(peer: Peer) -> None:
        await peer.start(resumeToken="t-1", maxSessionDuration=3600)
        for number in range(3 * MAX_BACKLOG):
            await peer.socket.send(f"tick {number}")
        top_up = await peer.receive()
        assert top_up["type"] == "payment_proof"
        await peer.send("balance_updated", sessionId="s-1", added=30 * PRICE, remainingBalance=90 * PRICE)
        await peer.stay()

    scripted.script = flood
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        await asyncio.sleep(0.3)
        assert await session.top_up(30) == 30 * PRICE
        assert [await anext(session) for _ in range(3)] == ["tick 0", "tick 1", "tick 2"]
    assert "sessionId=s-1" in scripted.asked[-1]
    assert "token=t-1" in scripted.asked[-1]
