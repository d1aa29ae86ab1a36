"""Clients that leave in every way a client can: exactly one settlement, by the exact time."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest
from tests.server.conftest import PRICE, OpenShop
from tests.server.peer import Peer, Shop, any_proof

from ws402.protocol import EndReason
from ws402.server.sessions.session import Session
from ws402.server.sockets.socket import Socket


async def leave(peer: Peer, way: str) -> None:
    match way:
        case "close":
            await peer.close()
        case "going away":
            await peer.close(1001)
        case "vanish":
            peer.drop()
        case "half a frame":
            peer.socket.transport.write(b"\x81\xfe")
            peer.drop()
        case "garbage":
            peer.socket.transport.write(b"\xff\xff\xff\xff\xff")
            await peer.socket.wait_closed()
        case "end of stream":
            peer.socket.transport.write_eof()
            await peer.socket.wait_closed()


WAYS = ["close", "going away", "vanish", "half a frame", "garbage", "end of stream"]


@pytest.mark.parametrize("way", WAYS)
async def test_a21_leaving_between_two_ticks_is_charged_to_the_millisecond(open_shop: OpenShop, way: str) -> None:
    shop = await open_shop(update_interval=60_000)
    began = time.monotonic()
    peer = await shop.buy()
    started = time.monotonic()
    await asyncio.sleep(0.123)
    leaving = time.monotonic()
    await leave(peer, way)
    session = await shop.ended(peer)
    assert (leaving - started) * PRICE - 1000 <= session.consumed <= (time.monotonic() - began) * PRICE
    assert session.reason == EndReason.CLIENT_CLOSED
    assert session.consumed == session.elapsed_ms * PRICE // 1000


@pytest.mark.parametrize("way", WAYS)
async def test_a18_every_way_to_leave_settles_once(shop: Shop, way: str) -> None:
    peer = await shop.buy()
    await leave(peer, way)
    await shop.ended(peer)
    await asyncio.sleep(0.2)
    assert shop.provider.faults.calls["settle"] == 1
    assert len(shop.provider.refunds) == 1


async def test_a18_end_session_and_a_close_in_the_same_breath_settle_once(shop: Shop) -> None:
    peer = await shop.buy()
    await peer.send({"type": "end_session"})
    await peer.send({"type": "end_session"})
    peer.drop()
    await shop.ended(peer)
    await asyncio.sleep(0.2)
    assert shop.provider.faults.calls["settle"] == 1


async def test_a_client_that_leaves_while_its_proof_is_verified_gets_everything_back(shop: Shop) -> None:
    reference = await shop.invoice()
    shop.provider.faults.delay(0.4, "verify")
    peer = await shop.connect()
    await peer.prove(any_proof(reference))
    await asyncio.sleep(0.1)
    peer.drop()
    (session,) = await shop.until(lambda: list(shop.provider.sessions.values()))
    await shop.until(lambda: session.state == "ended")
    assert (session.consumed, session.refunded) == (0, 60 * PRICE)


async def test_a_gateway_that_is_away_leaves_the_proof_usable(shop: Shop) -> None:
    proof = any_proof(await shop.invoice())
    shop.provider.faults.unavailable("verify")
    peer = await shop.connect()
    await peer.prove(proof)
    assert (await peer.expect("error"))["code"] == "unavailable"
    assert (await peer.closed())[0] == 1011
    again = await shop.connect()
    await again.prove(proof)
    await again.expect("session_started")


async def test_a_bug_in_the_provider_closes_1011_and_the_server_goes_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def explode(request: object) -> None:
        raise RuntimeError("a secret detail")

    reference = await shop.invoice()
    with monkeypatch.context() as patched:
        patched.setattr(shop.provider, "verify", explode)
        peer = await shop.connect()
        await peer.prove(any_proof(reference))
        code, reason = await peer.closed()
    assert (code, reason) == (1011, "internal error")
    assert not any("secret" in str(message) for message in peer.seen)
    assert "opening a session failed" in caplog.text
    await shop.buy()


async def test_a_silent_connection_is_found_out_and_settled(open_shop: OpenShop) -> None:
    shop = await open_shop(ping_seconds=0.3)
    peer = await shop.buy()
    peer.socket.transport.pause_reading()  # answers no ping, as a machine that lost its power
    began = time.monotonic()
    session = await shop.ended(peer)
    assert time.monotonic() - began < 1.5
    assert session.reason == EndReason.CLIENT_CLOSED


async def test_a_client_that_answers_pings_stays(open_shop: OpenShop) -> None:
    shop = await open_shop(ping_seconds=0.1)
    peer = await shop.buy()
    for _ in range(10):
        await peer.expect("usage_update")
    assert shop.server.sessions.live


async def test_pings_of_the_client_are_answered_before_and_after_the_payment(shop: Shop) -> None:
    reference = await shop.invoice()
    peer = await shop.connect()
    async with asyncio.timeout(2):
        await (await peer.socket.ping(b"before"))
        await peer.prove(any_proof(reference))
        await peer.expect("session_started")
        receiving = asyncio.create_task(peer.expect("usage_update"))
        await (await peer.socket.ping(b"after"))
        await receiving


async def test_ended_sessions_leave_nothing_behind(shop: Shop) -> None:
    for way in (*WAYS, "end_session", "refused"):
        if way == "refused":
            peer = await shop.connect()
            await peer.prove(any_proof("nobody's"))
            await peer.closed()
            continue
        peer = await shop.buy()
        if way == "end_session":
            await peer.send({"type": "end_session"})
            await peer.closed()
        else:
            await leave(peer, way)
        await shop.ended(peer)
    sessions = shop.server.sessions
    await shop.until(lambda: not sessions.calls and not sessions.live and not sessions.waiting)
    await shop.until(lambda: not [each for each in gc.get_objects() if type(each) in (Session, Socket)])
