"""Hostile clients: slow, silent, greedy, or not speaking WebSocket at all."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import time

import pytest
from tests.server.conftest import TICKER, OpenShop
from tests.server.peer import Shop, any_proof
from websockets.exceptions import InvalidStatus

from ws402.protocol import EndReason, RejectCode

HANDSHAKE = (
    "GET /?resourceId=ticker HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Raw:
    """A TCP connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, shop: Shop, *, upgrade: bool = True) -> Raw:
        raw = cls(*await asyncio.open_connection("127.0.0.1", shop.server.port))
        if upgrade:
            raw.writer.write(HANDSHAKE.encode())
            assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        return raw

    def frame(self, first: int, payload: bytes = b"", *, mask: bool = True) -> None:
        size = len(payload)
        flag = 0x80 if mask else 0
        head = struct.pack("!BB", first, flag | size) if size < 126 else struct.pack("!BBH", first, flag | 126, size)
        key = os.urandom(4) if mask else b""
        masked = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload)) if mask else payload
        self.writer.write(head + key + masked)

    async def close_code(self, seconds: float = 5) -> int | None:
        """Read to the end of the stream; the code of the close frame in it."""
        async with asyncio.timeout(seconds):
            try:
                data = await self.reader.read(-1)
            except ConnectionError:
                return None
        at = 0
        while at + 2 <= len(data):
            size, start = data[at + 1], at + 2
            if size == 126:
                size, start = struct.unpack_from("!H", data, at + 2)[0], at + 4
            if data[at] == 0x88:
                return int(struct.unpack_from("!H", data, start)[0])
            at = start + size
        return None

    async def gone(self, seconds: float = 5) -> bytes:
        async with asyncio.timeout(seconds):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""

    def close(self) -> None:
        self.writer.transport.abort()


async def test_a39_a_socket_without_a_proof_is_closed_at_the_deadline(open_shop: OpenShop) -> None:
    shop = await open_shop(handshake_seconds=0.3)
    peer = await shop.connect()
    began = time.monotonic()
    for _ in range(5):
        await peer.send("not a proof")
        await asyncio.sleep(0.02)
    assert await peer.closed() == (1008, "no payment proof arrived in time")
    assert time.monotonic() - began == pytest.approx(0.35, abs=0.15)


async def test_a39_the_deadline_is_not_for_those_who_wait_for_the_gateway(open_shop: OpenShop) -> None:
    shop = await open_shop(handshake_seconds=0.2)
    reference = await shop.invoice()
    shop.provider.faults.delay(0.6, "verify")
    peer = await shop.connect()
    await peer.prove(any_proof(reference))
    assert await peer.expect("session_started")
    await asyncio.sleep(0.3)
    await peer.expect("usage_update")


@pytest.mark.parametrize("sent", ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a39_a_request_that_never_ends_is_cut(open_shop: OpenShop, sent: str) -> None:
    shop = await open_shop(handshake_seconds=0.3)
    raw = await Raw.open(shop, upgrade=False)
    raw.writer.write(sent.encode())
    began = time.monotonic()
    await raw.gone()
    assert time.monotonic() - began < 1
    raw.close()


async def test_a39_an_address_has_few_sockets_that_have_not_paid(open_shop: OpenShop) -> None:
    shop = await open_shop(max_unpaid_per_address=3)
    reference = await shop.invoice()
    peers = [await shop.connect() for _ in range(3)]
    with pytest.raises(InvalidStatus) as refused:
        await shop.connect()
    response = refused.value.response
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) >= 1
    assert json.loads(response.body or b"")["code"] == "rate_limited"
    await peers[0].prove(any_proof(reference))
    await peers[0].expect("session_started")
    await shop.connect()
    await peers[1].close()
    await shop.connect()
    with pytest.raises(InvalidStatus):
        await shop.connect()


async def test_a39_whose_proofs_are_refused_asks_the_gateway_no_more(open_shop: OpenShop) -> None:
    shop = await open_shop(refused_proofs_per_minute=3, trusted_proxies=["127.0.0.0/8"])
    reference = await shop.invoice()
    hers = {"additional_headers": {"X-Forwarded-For": "203.0.113.1"}}
    for each in range(3):
        peer = await shop.connect(**hers)
        await peer.prove(any_proof(f"nobody's {each}"))
        assert (await peer.expect("payment_rejected"))["code"]
    asked = shop.provider.faults.calls["verify"]
    peer = await shop.connect(**hers)
    await peer.prove(any_proof(reference))
    refused = await peer.expect("error")
    assert refused["code"] == "rate_limited"
    assert "3 such requests in a minute" in refused["message"]
    assert await peer.closed() == (1013, "too many refused proofs")
    assert shop.provider.faults.calls["verify"] == asked
    another = await shop.connect(additional_headers={"X-Forwarded-For": "203.0.113.2"})
    await another.prove(any_proof(reference))
    await another.expect("session_started")


async def test_who_paid_too_little_is_not_counted_among_those_who_ask_for_free(open_shop: OpenShop) -> None:
    shop = await open_shop(refused_proofs_per_minute=1)
    reference = await shop.invoice()
    shop.provider.faults.reject(RejectCode.AMOUNT_SHORT, times=3)
    for _ in range(3):
        peer = await shop.connect()
        await peer.prove(any_proof(reference))
        assert (await peer.expect("payment_rejected"))["code"] == "amount_short"
    peer = await shop.connect()
    await peer.prove(any_proof(reference))
    await peer.expect("session_started")


async def test_a39_refused_top_ups_of_a_session_are_few(open_shop: OpenShop) -> None:
    shop = await open_shop(refused_proofs_per_minute=2)
    peer = await shop.buy()
    for each in range(2):
        await peer.prove(any_proof(f"nobody's {each}"))
        await peer.expect("payment_rejected")
    await peer.prove(any_proof("nobody's at all"))
    assert (await peer.expect("error"))["code"] == "rate_limited"
    await peer.expect("usage_update")


async def test_a39_a_refused_or_broken_socket_gives_its_place_back(open_shop: OpenShop) -> None:
    shop = await open_shop(max_unpaid_per_address=1)
    for _ in range(3):
        refused = await shop.connect()
        await refused.prove(any_proof("nobody's"))
        await refused.closed()
        raw = await Raw.open(shop)
        raw.close()
        await shop.until(lambda: not shop.server.sessions.waiting)


async def test_a39_forwarded_addresses_count_only_behind_a_trusted_proxy(open_shop: OpenShop) -> None:
    direct = await open_shop(max_unpaid_per_address=1)
    behind = await open_shop(max_unpaid_per_address=1, trusted_proxies=["127.0.0.0/8"])

    async def connect(shop: Shop, client: str) -> None:
        await shop.connect(additional_headers={"X-Forwarded-For": client})

    await connect(direct, "203.0.113.1")
    with pytest.raises(InvalidStatus):
        await connect(direct, "203.0.113.2")
    await connect(behind, "203.0.113.1")
    await connect(behind, "203.0.113.2")
    with pytest.raises(InvalidStatus):
        await connect(behind, "198.51.100.7, 203.0.113.2")  # the first part is what the client wrote itself
    await connect(behind, "2001:db8:1:2::3")
    with pytest.raises(InvalidStatus):
        await connect(behind, "2001:db8:1:2:ffff::4")  # the same subscriber


async def test_a39_much_data_before_the_payment_ends_the_socket(shop: Shop) -> None:
    peer = await shop.connect()
    for _ in range(6):
        await peer.send(b"x" * 60_000)
    assert (await peer.closed())[0] == 1008
    big = await shop.connect()
    await big.send(b"x" * 70_000)
    assert (await big.closed())[0] == 1009


async def test_a39_data_sent_while_the_gateway_thinks_is_bounded_and_not_lost(shop: Shop) -> None:
    reference = await shop.invoice()
    shop.provider.faults.delay(0.5, "verify")
    peer = await shop.connect(write_limit=2**22)
    await peer.prove(any_proof(reference))
    for _ in range(20):
        await peer.send(b"x" * 60_000)
    (socket,) = shop.server.sessions.waiting
    assert sum(len(message) for message in socket.backlog) < 1_000_000
    peer.started = await peer.expect("session_started")
    while (update := await peer.expect("usage_update"))["messageCount"] < 20:
        pass
    assert update["bytesTransferred"] == 20 * 60_000


async def test_a_full_server_says_when_to_come_back_and_sells_no_invoice(open_shop: OpenShop) -> None:
    shop = await open_shop(max_sessions=1)
    peer = await shop.buy()
    with pytest.raises(InvalidStatus) as refused:
        await shop.connect()
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"]
    answer = await shop.get("/ws402/schema/ticker")
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert (await shop.get("/health/ready")).status_code == 503
    await peer.close()
    await shop.ended(peer)
    await shop.buy()


async def test_a_message_that_is_too_large_closes_1009_and_settles(open_shop: OpenShop) -> None:
    shop = await open_shop(max_message_bytes=100_000)
    peer = await shop.buy()
    await peer.send(b"x" * 100_000)
    await peer.expect("usage_update")
    await peer.send(b"x" * 100_001)
    assert (await peer.closed())[0] == 1009
    assert (await shop.ended(peer)).message_count == 1


async def test_a_slow_reader_is_cut_off_and_settled(open_shop: OpenShop) -> None:
    resource = {**TICKER, "id": "flood", "kind": "python", "target": "tests.server.samples:flood"}
    shop = await open_shop([resource], max_write_buffer_bytes=200_000)
    peer = await shop.buy("flood")
    await peer.send("ignore the brakes")
    peer.socket.transport.pause_reading()
    session = await shop.ended(peer)
    assert session.reason == EndReason.SLOW_READER


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("unmasked", 1002),
        ("reserved bits", 1002),
        ("unknown opcode", 1002),
        ("long control", 1002),
        ("fragmented control", 1002),
        ("continuation of nothing", 1002),
        ("not UTF-8", 1007),
        ("close with a bad code", 1002),
    ],
)
@pytest.mark.parametrize("paid", [False, True])
async def test_broken_frames_fail_the_connection_by_the_book(shop: Shop, what: str, code: int, paid: bool) -> None:
    reference = await shop.invoice()
    raw = await Raw.open(shop)
    if paid:
        proof = {"type": "payment_proof", "proof": any_proof(reference)}
        raw.frame(0x81, json.dumps(proof).encode())
        assert b"session_started" in await raw.reader.read(4096)
    match what:
        case "unmasked":
            raw.frame(0x81, b"hello", mask=False)
        case "reserved bits":
            raw.frame(0xC1, b"hello")
        case "unknown opcode":
            raw.frame(0x83, b"hello")
        case "long control":
            raw.frame(0x89, b"x" * 126)
        case "fragmented control":
            raw.frame(0x09, b"x")
        case "continuation of nothing":
            raw.frame(0x80, b"x")
        case "not UTF-8":
            raw.frame(0x81, b"\xff\xfe")
        case "close with a bad code":
            raw.frame(0x88, struct.pack("!H", 1005))
    assert await raw.close_code() == code
    raw.close()
    if paid:
        (session,) = await shop.until(lambda: [s for s in shop.provider.sessions.values() if s.state == "ended"])
        assert session.refunded > 0


async def test_fragments_are_one_message(shop: Shop) -> None:
    reference = await shop.invoice()
    raw = await Raw.open(shop)
    whole = json.dumps({"type": "payment_proof", "proof": any_proof(reference)}).encode()
    raw.frame(0x01, whole[:10])
    raw.frame(0x89, b"in between")
    raw.frame(0x00, whole[10:20])
    raw.frame(0x80, whole[20:])
    received = b""
    while b"session_started" not in received:
        received += await asyncio.wait_for(raw.reader.read(4096), 5)
    assert received.startswith(b"\x8a\x0ain between")
    (session,) = shop.server.sessions.live.values()
    raw.frame(0x02, b"ab")
    raw.frame(0x80, b"cd")
    await shop.until(lambda: session.message_count == 1)
    assert session.bytes_transferred == 4
    raw.close()


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        (("GET", "POST"), 400),
        (("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"), 426),
        (("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), 400),
        (("dGhlIHNhbXBsZSBub25jZQ==", "dG9vIHNob3J0"), 400),
        (("dGhlIHNhbXBsZSBub25jZQ==", "not base64!"), 400),
        (("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key"), 400),
        (("resourceId=ticker", "resourceId=nothing"), 404),
    ],
)
async def test_bad_handshakes_are_answered(shop: Shop, changed: tuple[str, str], status: int) -> None:
    raw = await Raw.open(shop, upgrade=False)
    raw.writer.write(HANDSHAKE.replace(*changed, 1).encode())
    answer = await raw.gone()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    raw.close()
    assert not shop.server.sessions.waiting


async def test_an_upgrade_in_pieces_opens_a_socket_too(shop: Shop) -> None:
    raw = await Raw.open(shop, upgrade=False)
    for at in range(0, len(HANDSHAKE), 40):
        raw.writer.write(HANDSHAKE[at : at + 40].encode())
        await asyncio.sleep(0.005)
    assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    await shop.until(lambda: len(shop.server.sessions.waiting) == 1)
    raw.close()
    await shop.until(lambda: not shop.server.sessions.waiting)


async def test_the_accept_key_is_that_of_the_rfc(shop: Shop) -> None:
    raw = await Raw.open(shop, upgrade=False)
    raw.writer.write(HANDSHAKE.encode())
    head = await raw.reader.readuntil(b"\r\n\r\n")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert base64.b64encode(b"the sample nonce") == b"dGhlIHNhbXBsZSBub25jZQ=="
    raw.close()


async def test_a_peer_that_never_answers_the_close_is_dropped(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ws402.server.sockets.socket.CLOSE_SECONDS", 0.3)
    raw = await Raw.open(shop)
    proof = {"type": "payment_proof", "proof": any_proof("nobody's")}
    raw.frame(0x81, json.dumps(proof).encode())
    began = time.monotonic()
    await raw.gone()
    assert time.monotonic() - began == pytest.approx(0.35, abs=0.2)
    raw.close()
