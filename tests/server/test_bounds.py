"""What one socket can make a server hold is bounded: in bytes and in frames, both ways, paid or not."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from tests.server.conftest import TICKER, OpenShop
from tests.server.peer import Shop, any_proof
from tests.server.test_limits import Raw
from websockets.exceptions import InvalidStatus

from ws402.protocol import EndReason
from ws402.server.sockets.socket import UNPAID_FRAMES

PING = bytes((0x89, 0x80 | 125)) + b"\0\0\0\0" + b"x" * 125
EMPTY = bytes((0x81, 0x80)) + b"\0\0\0\0"
READS = 262_144
"""Bytes that uvloop reads at once."""


def function(name: str) -> dict[str, object]:
    return {**TICKER, "id": name, "kind": "python", "target": f"tests.server.samples:{name}"}


async def paid_raw(shop: Shop) -> Raw:
    reference = await shop.invoice()
    raw = await Raw.open(shop)
    raw.frame(0x81, json.dumps({"type": "payment_proof", "proof": any_proof(reference)}).encode())
    assert b"session_started" in await raw.reader.read(4096)
    return raw


async def test_a39_pings_before_the_payment_count(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ws402.server.sockets.socket.CLOSE_SECONDS", 0.3)
    raw = await Raw.open(shop)
    raw.writer.write(PING * (UNPAID_FRAMES + 1))
    assert await raw.close_code() == 1008
    raw.close()


async def test_a39_who_pings_and_reads_nothing_is_read_no_further(open_shop: OpenShop) -> None:
    shop = await open_shop(update_interval=60_000, ping_seconds=60)
    raw = await paid_raw(shop)
    (session,) = shop.server.sessions.live.values()
    raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
    raw.writer.transport.set_write_buffer_limits(high=2**26)
    most = after = 0
    while after < 10:
        raw.writer.write(PING * 2000)
        await asyncio.sleep(0.01)
        most = max(most, session.socket.waiting_bytes)
        after += session.socket.paused
    assert most < 2 * READS
    assert not session.ended
    raw.reader._transport.resume_reading()  # type: ignore[attr-defined]
    reading = asyncio.create_task(raw.reader.read(-1))
    await shop.until(lambda: not session.socket.paused)
    raw.close()
    await asyncio.wait([reading])
    reading.exception()


async def test_a39_empty_messages_wait_in_small_number_and_none_is_lost(shop: Shop) -> None:
    reference = await shop.invoice()
    shop.provider.faults.delay(0.4, "verify")
    raw = await Raw.open(shop)
    (socket,) = shop.server.sessions.waiting
    raw.frame(0x81, json.dumps({"type": "payment_proof", "proof": any_proof(reference)}).encode())
    raw.writer.write(EMPTY * 20_000)
    await shop.until(lambda: socket.held)
    assert len(socket.backlog) <= UNPAID_FRAMES
    (session,) = await shop.until(lambda: list(shop.server.sessions.live.values()))
    await shop.until(lambda: session.message_count == 20_000)
    raw.close()


async def test_a39_what_a_resource_cannot_take_yet_stays_unread(open_shop: OpenShop) -> None:
    shop = await open_shop([function("patient")])
    reference = await shop.invoice("patient")
    shop.provider.faults.delay(0.2, "verify")
    peer = await shop.connect("patient")
    await peer.prove(any_proof(reference))
    peer.socket.transport.write(EMPTY * 5_000)  # some before the session lives, some after
    peer.started = await peer.expect("session_started")
    session = shop.server.sessions.live[peer.id]
    await shop.until(lambda: session.socket.held)
    assert session.message_count == len(session.state._messages) == 64


@pytest.mark.parametrize("size", [1_000_000, 12_000_000])
async def test_a_message_above_the_bound_waits_and_flows(open_shop: OpenShop, size: int) -> None:
    shop = await open_shop([function("large")], max_write_buffer_bytes=100_000, update_interval=100)
    peer = await shop.buy("large", seconds=2)
    await peer.send(str(size))
    assert len(await peer.payload(20)) == size
    assert await peer.payload() == "all of it"
    assert peer.id in shop.server.sessions.live


async def test_a39_a_slow_reader_that_takes_nothing_is_taken_for_dead(open_shop: OpenShop) -> None:
    shop = await open_shop([function("large")], ping_seconds=0.3)
    peer = await shop.buy("large")
    peer.socket.transport.pause_reading()
    await peer.send("12000000")
    session = await shop.ended(peer)
    assert session.reason == EndReason.CLIENT_CLOSED


async def test_small_messages_that_a_resource_forces_on_a_client_count(
    open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ws402.server.sockets.channel.MAX_WAITING_FRAMES", 100)
    shop = await open_shop([function("flood")])
    peer = await shop.buy("flood")
    peer.socket.transport.pause_reading()
    await peer.send("ignore the brakes")
    assert (await shop.ended(peer)).reason == EndReason.SLOW_READER


DEEP = "[" * 30_000 + "]" * 30_000


@pytest.mark.parametrize(
    "text",
    [
        '{"x":' + DEEP + ',"type":"payment_proof"}',
        '{"type":"payment_proof","proof":' + DEEP + "}",
        '{"type":"resume","token":' + DEEP + "}",
    ],
)
async def test_a39_deep_json_is_refused_like_other_bad_input(
    shop: Shop, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    peer = await shop.connect()
    await peer.send(text)
    assert (await peer.expect("payment_rejected"))["code"] in ("malformed_proof", "resume_refused")
    assert (await peer.closed())[0] == 1008
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a39_deep_json_in_a_session_is_the_resources(
    open_shop: OpenShop, caplog: pytest.LogCaptureFixture
) -> None:
    shop = await open_shop([function("echo")])
    peer = await shop.buy("echo")
    text = '{"x":' + "[" * 7_000 + "]" * 7_000 + ',"type":"payment_proof"}'
    await peer.send(text)
    assert await peer.payload() == text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a39_an_endless_message_of_small_fragments_ends(shop: Shop) -> None:
    raw = await paid_raw(shop)
    raw.writer.write(bytes((0x01, 0x80)) + b"\0\0\0\0")
    raw.writer.write((bytes((0x00, 0x80)) + b"\0\0\0\0") * 5_000)
    assert await raw.close_code() == 1009
    raw.close()


async def test_an_address_that_is_too_long_is_refused(shop: Shop) -> None:
    raw = await Raw.open(shop, upgrade=False)
    raw.writer.write(
        f"GET /?x={'y' * 5000} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert (await raw.gone()).startswith(b"HTTP/1.1 414 ")
    raw.close()


async def test_a_subprotocol_with_a_long_name_is_refused(shop: Shop) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await shop.connect(subprotocols=["x" * 257])
    assert refused.value.response.status_code == 400


async def test_a_payment_made_while_the_socket_waits_or_after_it_is_not_lost(open_shop: OpenShop) -> None:
    shop = await open_shop(handshake_seconds=0.3)
    early = await shop.connect()
    reference = await shop.invoice()
    assert await early.closed() == (1008, "no payment proof arrived in time")
    assert "payment_rejected" not in early.kinds()
    later = await shop.connect()
    await later.prove(any_proof(reference))
    await later.expect("session_started")
