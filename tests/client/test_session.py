"""A session as the payer sees it: streaming, balance, end, refund, and coming back when the socket is lost."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from tests.client.conftest import OurServer
from tests.client.scripted import PRICE, Peer, ScriptedServer
from tests.fixtures.evm import Evm

from ws402.client import (
    EvmWallet,
    Options,
    OverchargedError,
    SessionLostError,
    connect,
)
from ws402.client.channel import MAX_BACKLOG
from ws402.protocol import EndReason, ServerMessage, UsageUpdate

LIMITS: dict[str, Any] = {"resource": "ticker", "duration": 60, "max_amount": 10**17, "trust_first_use": True}
QUICK = Options(prove_seconds=3, reconnect_seconds=3)


async def test_pay_stream_end_and_get_the_rest_back(ours: OurServer, wallet: EvmWallet, chain: Evm) -> None:
    events: list[ServerMessage] = []
    options = Options(on_event=events.append)
    async with connect(ours.url, wallet=wallet, options=options, **LIMITS) as session:
        assert (session.paid, session.price_per_second, session.asset) == (60 * PRICE, PRICE, "ETH")
        first = await anext(session)
        assert json.loads(first)
        while not any(isinstance(event, UsageUpdate) for event in events):
            await anext(session)
        before = session.balance
        await asyncio.sleep(0.05)
        assert 0 < session.balance < before < 60 * PRICE, "the balance counts on between updates"
        settlement = await session.end()
        assert await session.end() == settlement
        refund = await session.refund()
    assert settlement.exact
    assert settlement.reason is EndReason.CLIENT_ENDED
    assert settlement.paid == settlement.consumed + settlement.refund == 60 * PRICE
    assert 0 < settlement.consumed < 10 * PRICE
    assert refund is not None
    assert (refund.state, refund.amount) == ("final", settlement.refund)
    assert refund.seen is False, "the pretended gateway's refund is on no chain"
    assert ours.provider.audit() == 0


async def test_leaving_the_block_ends_the_session_and_an_exception_in_it_too(
    ours: OurServer, wallet: EvmWallet
) -> None:
    async with connect(ours.url, wallet=wallet, **LIMITS) as session:
        pass
    assert session.settlement is not None
    with pytest.raises(ZeroDivisionError):
        async with connect(ours.url, wallet=wallet, **LIMITS) as session:
            print(1 / 0)
    assert session.settlement is not None
    assert {each.state for each in ours.provider.sessions.values()} == {"ended"}


async def test_a_slow_reader_leaves_the_socket_unread(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    sent = 0

    async def flood(peer: Peer) -> None:
        nonlocal sent
        await peer.start()
        while True:
            await peer.socket.send("x" * 10_000)
            sent += 1

    scripted.script = flood
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        held = 0
        async with asyncio.timeout(20):  # or the server is never slowed down
            while not sent or sent != held:
                held = sent
                await asyncio.sleep(0.3)
        assert held < 4 * MAX_BACKLOG
        await anext(session)


async def test_an_exhausted_balance_ends_the_iteration(ours: OurServer, wallet: EvmWallet) -> None:
    limits = LIMITS | {"resource": "dear", "duration": 1}
    count = 0
    async with connect(ours.url, wallet=wallet, **limits) as session:
        async for _ in session:
            count += 1
    assert count > 0
    assert session.settlement is not None
    assert session.settlement.reason is EndReason.BALANCE_EXHAUSTED
    assert session.settlement.refund == 0
    assert await session.refund() is None


async def test_a_draining_server_hands_the_session_over_and_it_goes_on(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    async def drain(peer: Peer) -> None:
        if peer.hello["type"] == "payment_proof":
            await peer.start(resumeToken="t-1", maxSessionDuration=3600)
            await peer.socket.send("before")
            await peer.send("draining", deadline=int(time.time() * 1000) + 5000, reconnectAfterMs=300)
            await peer.socket.close(1012)
            return
        await peer.start(resumeToken="t-2", maxSessionDuration=3600, resumed=True, balance=50 * PRICE)
        await peer.socket.send("after")
        await peer.stay()

    scripted.script = drain
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        assert await anext(session) == "before"
        began = time.monotonic()
        assert await anext(session) == "after"
        assert time.monotonic() - began > 0.25, "it came back before it was asked to"
        assert session.balance <= 50 * PRICE
        assert session.paid == 60 * PRICE
    assert [hello["type"] for hello in scripted.hellos] == ["payment_proof", "resume"]
    assert scripted.hellos[1]["token"] == "t-1"
    assert scripted.heard == ['{"type":"end_session"}']


@pytest.mark.parametrize("how", ["abort", 1001, 1012])
async def test_a_lost_socket_is_resumed_with_back_off_and_sending_waits_for_it(
    scripted: ScriptedServer, wallet: EvmWallet, how: str | int
) -> None:
    async def lose(peer: Peer) -> None:
        tries = len(scripted.hellos)
        if tries in (2, 3):  # back, but not up yet
            await peer.socket.close(1013)
            return
        await peer.start(resumeToken=f"t-{tries}", maxSessionDuration=3600, resumed=tries > 1)
        if tries == 1:
            await peer.receive()
            if isinstance(how, int):
                await peer.socket.close(how)
            else:
                peer.socket.transport.abort()
            return
        await peer.stay()

    scripted.script = lose
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        await session.send('{"number": 1}')
        await asyncio.sleep(0.1)
        await session.send("after the loss")
        for _ in range(100):
            if scripted.heard:
                break
            await asyncio.sleep(0.05)
    assert scripted.heard == ["after the loss", '{"type":"end_session"}']
    assert [hello.get("token") for hello in scripted.hellos[1:]] == ["t-1"] * 3


async def test_our_server_takes_a_lost_session_up_again(ours: OurServer, wallet: EvmWallet) -> None:
    async with connect(ours.url, wallet=wallet, **LIMITS) as session:
        await anext(session)
        ours.server.sessions.live[session.id].socket.transport.abort()
        before = session.payments[0].resume_token
        for _ in range(3):
            await anext(session)
        while session.payments[0].resume_token == before:
            await anext(session)
        settlement = await session.end()
    assert settlement.exact
    assert len(ours.provider.sessions) == 1
    assert ours.provider.audit() == 0


async def test_a_session_that_cannot_be_resumed_is_lost_and_the_reason_told(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    async def refuse(peer: Peer) -> None:
        if peer.hello["type"] == "resume":
            await peer.send("payment_rejected", reason="The session has ended.", code="session_ended")
            await peer.socket.close(1008)
            return
        await peer.start(resumeToken="t-1", maxSessionDuration=3600)
        await peer.socket.close(1012)

    scripted.script = refuse
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        with pytest.raises(SessionLostError, match="The session has ended") as lost:
            await anext(session)
    assert lost.value.code == "session_ended"
    assert len(scripted.hellos) == 2


@pytest.mark.parametrize("code", ["client_certificate_required", "unauthorized", "forbidden"])
async def test_a_server_that_its_gateway_refuses_is_left_for_another_one(
    scripted: ScriptedServer, wallet: EvmWallet, code: str
) -> None:
    """Both at the beginning and in the middle: the payment is good, and the next server may show it."""

    async def refuse(peer: Peer) -> None:
        turn = len(scripted.hellos)
        if turn in (1, 3):
            await peer.send("payment_rejected", reason="A client certificate is needed.", code=code)
            await peer.socket.close(1008)
        elif turn == 2:
            await peer.start(resumeToken="t-1", maxSessionDuration=3600)
            await peer.socket.close(1012)
        else:
            await peer.start(resumeToken="t-2", maxSessionDuration=3600, resumed=True)
            await peer.socket.send("on another server")
            await peer.stay()

    scripted.script = refuse
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        assert await anext(session) == "on another server"
    assert [each["type"] for each in scripted.hellos] == ["payment_proof"] * 2 + ["resume"] * 2


async def test_a_stock_servers_lost_socket_is_the_end(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    async def lose(peer: Peer) -> None:
        await peer.start()
        await peer.socket.send("one")
        await peer.usage(0)
        peer.socket.transport.abort()

    scripted.script = lose
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        assert await anext(session) == "one"
        with pytest.raises(SessionLostError, match="closed \\(1006\\)"):
            await anext(session)
        with pytest.raises(SessionLostError):
            await session.send("x")
    settlement = await session.end()
    assert not settlement.exact
    assert settlement.consumed + settlement.refund == 60 * PRICE


async def test_a_stock_server_is_left_by_closing_and_the_settlement_is_our_own_count(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        assert await anext(session) == "hello"
        await session.send("for the resource")
        await asyncio.sleep(0.2)
        settlement = await session.end()
        assert await session.refund() is None
    assert scripted.heard == ["for the resource"]
    assert not settlement.exact
    assert 0 < settlement.consumed < 5 * PRICE


async def test_a47_a_meter_that_runs_too_fast_ends_the_session(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    async def greedy(peer: Peer) -> None:
        await peer.start()
        await peer.usage(1)
        await peer.usage(40)
        await peer.stay()

    scripted.script = greedy
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        with pytest.raises(OverchargedError, match="more than the time"):
            await anext(session)
    assert not session.live


async def test_a47_a_settlement_above_the_time_that_passed_is_told(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    async def greedy(peer: Peer) -> None:
        await peer.start(resumeToken="t", maxSessionDuration=60)
        paid = {"paidAmount": 60 * PRICE, "consumedAmount": 60 * PRICE, "refundAmount": 0}
        await peer.send("session_ended", sessionId="s-1", reason="resource_ended", **paid)
        await peer.socket.close(1000)

    scripted.script = greedy
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        with pytest.raises(OverchargedError):
            await anext(session)


@pytest.mark.parametrize("change", [{"pricePerSecond": 2 * PRICE}, {"balance": 59 * PRICE}])
async def test_a47_another_price_or_a_smaller_credit_than_was_paid_for_ends_the_session(
    scripted: ScriptedServer, wallet: EvmWallet, change: dict[str, int]
) -> None:
    async def cheat(peer: Peer) -> None:
        await peer.start(resumeToken="t", maxSessionDuration=60, **change)
        await peer.stay()

    scripted.script = cheat
    with pytest.raises(OverchargedError):
        async with connect(scripted.url, wallet=wallet, **LIMITS):
            pytest.fail("it connected")
    assert scripted.heard == ['{"type":"end_session"}']


async def test_a_server_that_breaks_off_is_told_apart_from_a_resource_that_ends(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    reason = "resource_ended"

    async def end(peer: Peer) -> None:
        await peer.start(resumeToken="t", maxSessionDuration=60)
        await peer.socket.send("last")
        amounts = {"paidAmount": 60 * PRICE, "consumedAmount": 1, "refundAmount": 60 * PRICE - 1}
        await peer.send("session_ended", sessionId="s-1", reason=reason, **amounts)
        await peer.socket.close(1000 if reason == "resource_ended" else 1011)

    scripted.script = end
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        assert [message async for message in session] == ["last"]
    reason = "server_error"
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        assert await anext(session) == "last"
        with pytest.raises(SessionLostError, match="server_error"):
            await anext(session)
    assert session.settlement is not None
    assert session.settlement.exact


async def test_json_of_the_resource_is_not_taken_for_the_protocol(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    own: list[str | bytes] = [
        '{"type":"quote","price":1}',
        '{"type":7}',
        '{"type":"usage_update"}',
        "{broken",
        "[1]",
        b'{"type":"error"}',
    ]

    async def speak(peer: Peer) -> None:
        await peer.start()
        for message in own:
            await peer.socket.send(message)
        await peer.stay()

    scripted.script = speak
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        assert [await anext(session) for _ in own] == own


async def test_a_refund_that_waits_is_told_as_it_is(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    async def end(peer: Peer) -> None:
        await peer.start(resumeToken="t", maxSessionDuration=60)
        await peer.receive()
        amounts = {"paidAmount": 60 * PRICE, "consumedAmount": PRICE, "refundAmount": 59 * PRICE}
        await peer.send("session_ended", sessionId="s-1", reason="client_ended", refundId="ref_1", **amounts)
        await peer.socket.close(1000)

    scripted.script = end
    status = {"refundId": "ref_1", "state": "due", "amount": 59 * PRICE, "recipient": wallet.address}
    scripted.http["/ws402/refund/ref_1"] = [(200, status), (200, status | {"state": "credit"})]
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        await session.end()
        refund = await session.refund(0)
        assert refund is not None
        assert (refund.state, refund.tx_hash) == ("due", None)
        refund = await session.refund(30)
        assert refund is not None
        assert (refund.state, refund.seen) == ("credit", None)
