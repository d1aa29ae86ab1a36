"""The WebSocket upstream: what it says arrives, how it closes is told, what it cannot take waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.server.conftest import PRICE, OpenShop
from tests.server.peer import Shop, any_proof
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.utils import accept_key

from ws402.protocol import EndReason

Handler = Callable[[ServerConnection], Awaitable[None]]
OpenUpstream = Callable[..., Awaitable[Shop]]


@pytest.fixture
async def before(open_shop: OpenShop) -> AsyncIterator[OpenUpstream]:
    """Makes a server in front of an upstream with this handler."""
    async with AsyncExitStack() as running:

        async def start(handler: Handler, *, upstream: dict[str, Any] | None = None, **settings: Any) -> Shop:
            server = await running.enter_async_context(serve(handler, "127.0.0.1", 0, **(upstream or {})))
            port = next(iter(server.sockets)).getsockname()[1]
            target = f"ws://127.0.0.1:{port}/feed"
            resource = {"id": "feed", "kind": "websocket", "target": target, "price_per_second": PRICE}
            return await open_shop([resource], **settings)

        yield start


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


async def test_text_and_binary_pass_both_ways(before: OpenUpstream) -> None:
    shop = await before(echo)
    peer = await shop.buy("feed")
    for message in ("hello", b"\x00\xff", "", b"", "äöü", "x" * 70_000, b"y" * 200_000):
        await peer.send(message)
        assert await peer.payload() == message


async def test_order_is_kept(before: OpenUpstream) -> None:
    shop = await before(echo)
    peer = await shop.buy("feed")
    for number in range(500):
        await peer.send(f"{number}")
    assert [await peer.payload() for _ in range(500)] == [f"{number}" for number in range(500)]


@pytest.mark.parametrize(("code", "reason"), [(1000, "that is all"), (1001, ""), (3001, "mine"), (4321, "yours")])
async def test_the_upstreams_close_code_is_the_clients(before: OpenUpstream, code: int, reason: str) -> None:
    async def say_and_go(socket: ServerConnection) -> None:
        await socket.send("bye")
        await socket.close(code, reason)

    shop = await before(say_and_go)
    peer = await shop.buy("feed")
    assert await peer.payload() == "bye"
    assert await peer.closed() == (code, reason)
    session = shop.book(peer)
    assert session.reason == EndReason.RESOURCE_ENDED
    assert peer.kinds()[-1] == "session_ended"


@pytest.mark.parametrize("code", [1000, 1001, 3005])
async def test_the_clients_close_code_is_the_upstreams(before: OpenUpstream, code: int) -> None:
    codes: list[int | None] = []

    async def note(socket: ServerConnection) -> None:
        try:
            await socket.recv()
        except ConnectionClosed:
            codes.append(socket.close_code)

    shop = await before(note)
    peer = await shop.buy("feed")
    await peer.close(code)
    await shop.until(lambda: codes)
    assert codes == [code]


async def test_a_lost_upstream_is_told_and_the_rest_refunded(before: OpenUpstream) -> None:
    async def die(socket: ServerConnection) -> None:
        await socket.recv()
        socket.transport.abort()

    shop = await before(die)
    peer = await shop.buy("feed")
    await peer.send("go")
    assert (await peer.closed())[0] == 1011
    assert "error" in peer.kinds()
    session = shop.book(peer)
    assert session.reason == EndReason.SERVER_ERROR
    assert session.refunded > 59 * PRICE


async def test_an_upstream_that_cannot_be_reached_costs_nothing(open_shop: OpenShop) -> None:
    shop = await open_shop(
        [{"id": "feed", "kind": "websocket", "target": "ws://127.0.0.1:1/", "price_per_second": PRICE}]
    )
    peer = await shop.connect("feed")
    await peer.prove(any_proof(await shop.invoice("feed")))
    told = await peer.expect("error")
    assert "127.0.0.1" not in told["message"]
    assert (await peer.closed())[0] == 1011
    (session,) = await shop.until(lambda: [each for each in shop.provider.sessions.values() if each.state == "ended"])
    assert (session.consumed, session.refunded) == (0, 60 * PRICE)


async def test_the_meter_starts_when_the_upstream_is_there(before: OpenUpstream) -> None:
    async def late(connection: ServerConnection, request: object) -> None:
        await asyncio.sleep(0.5)

    shop = await before(echo, upstream={"process_request": late})
    peer = await shop.buy("feed")
    await peer.close()
    assert (await shop.ended(peer)).consumed < 0.3 * PRICE


async def test_a_client_that_leaves_while_the_upstream_connects_pays_nothing(before: OpenUpstream) -> None:
    connected: list[ServerConnection] = []

    async def late(connection: ServerConnection, request: object) -> None:
        await asyncio.sleep(0.4)

    async def note(socket: ServerConnection) -> None:
        connected.append(socket)
        await socket.wait_closed()

    shop = await before(note, upstream={"process_request": late})
    peer = await shop.connect("feed")
    await peer.prove(any_proof(await shop.invoice("feed")))
    await asyncio.sleep(0.1)
    peer.drop()
    (session,) = await shop.until(lambda: [each for each in shop.provider.sessions.values() if each.state == "ended"])
    assert session.consumed == 0
    await shop.until(lambda: connected and connected[0].close_code is not None)


async def test_the_subprotocol_is_the_upstreams(before: OpenUpstream) -> None:
    shop = await before(echo, upstream={"subprotocols": ["graphql-ws", "mqtt"]})
    peer = await shop.buy("feed", subprotocols=["graphql-ws"])
    assert peer.socket.subprotocol == "graphql-ws"
    await peer.send("hello")
    assert await peer.payload() == "hello"
    stranger = await shop.connect("feed", subprotocols=["chess"])
    await stranger.prove(any_proof(await shop.invoice("feed")))
    assert (await stranger.expect("error"))["code"] == "server_error"
    (session,) = [each for each in shop.provider.sessions.values() if each.id != peer.id]
    await shop.until(lambda: session.state == "ended")
    assert session.consumed == 0


async def test_the_upstream_learns_session_and_user(before: OpenUpstream) -> None:
    async def tell(socket: ServerConnection) -> None:
        assert socket.request is not None
        await socket.send(f"{socket.request.headers['X-WS402-User']} {socket.request.headers['X-WS402-Session']}")
        await socket.wait_closed()

    shop = await before(tell)
    peer = await shop.buy("feed")
    assert await peer.payload() == f"ann {peer.id}"


async def test_a_client_that_reads_slowly_slows_the_upstream_down(before: OpenUpstream) -> None:
    sent = 0

    async def pour(socket: ServerConnection) -> None:
        nonlocal sent
        while True:
            await socket.send(b"x" * 50_000)
            sent += 50_000

    shop = await before(pour, max_write_buffer_bytes=50_000_000)
    peer = await shop.buy("feed")
    peer.socket.transport.pause_reading()
    await asyncio.sleep(1.5)
    stalled = sent
    await asyncio.sleep(0.5)
    assert sent - stalled <= 100_000
    assert shop.server.sessions.live[peer.id].socket.waiting_bytes < 1_000_000
    peer.socket.transport.resume_reading()
    await shop.until(lambda: sent > stalled + 1_000_000)
    peer.drop()
    await shop.ended(peer)


async def test_an_upstream_that_reads_slowly_holds_the_client_back_and_loses_nothing(before: OpenUpstream) -> None:
    received: list[bytes] = []
    gate = asyncio.Event()

    async def sip(socket: ServerConnection) -> None:
        await gate.wait()
        async for message in socket:
            assert isinstance(message, bytes)
            received.append(message)

    shop = await before(sip, upstream={"max_queue": 1})
    peer = await shop.buy("feed", write_limit=2**16)
    count = 400
    writing = asyncio.create_task(_write(peer.socket, count))
    await asyncio.sleep(1)
    assert not writing.done()
    link = shop.server.sessions.live[peer.id].state
    assert len(link.outgoing) <= 64
    gate.set()
    await writing
    await shop.until(lambda: len(received) == count, seconds=20)
    assert [message[:4] for message in received] == [number.to_bytes(4, "big") for number in range(count)]


async def _write(socket: Any, count: int) -> None:
    for number in range(count):
        await socket.send(number.to_bytes(4, "big") + b"x" * 100_000)


async def test_an_upstream_that_half_closes_without_a_word_is_lost(open_shop: OpenShop) -> None:
    """It speaks the handshake, then ends its side of the TCP connection and goes on listening."""

    async def half_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n\x81\x05hello"
        )
        await reader.read(1)
        writer.write_eof()
        await reader.read()
        writer.close()

    upstream = await asyncio.start_server(half_closed, "127.0.0.1", 0)
    target = f"ws://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
    shop = await open_shop([{"id": "feed", "kind": "websocket", "target": target, "price_per_second": PRICE}])
    peer = await shop.buy("feed")
    assert await peer.payload() == "hello"
    await peer.send("go")
    assert (await peer.closed())[0] == 1011
    assert shop.book(peer).refunded > 59 * PRICE
    upstream.close()


async def test_pings_are_answered_on_both_sides(before: OpenUpstream) -> None:
    answered = asyncio.Event()

    async def ping(socket: ServerConnection) -> None:
        await (await socket.ping())
        answered.set()
        await socket.wait_closed()

    shop = await before(ping)
    peer = await shop.buy("feed")
    async with asyncio.timeout(5):
        await answered.wait()
        await (await peer.socket.ping(b"still there?"))
