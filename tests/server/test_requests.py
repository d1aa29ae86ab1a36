"""What a stranger may send to a port of ours before anybody looks at it: bounds in bytes, fields, requests and time.

The same connections serve the gateway, its metrics and the servers; both kinds are tried here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.server.conftest import PRICE, OpenShop

from ws402.http_connection import MAX_HEAD_BYTES
from ws402.serving import HttpServer

CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
LONG = b"a" * 100_000


async def answers(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads what it is sent."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})
        return
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(params=["server", "gateway"])
async def port(request: pytest.FixtureRequest, open_shop: OpenShop) -> AsyncIterator[int]:
    """Of a server, and of what serves the gateway's HTTP."""
    if request.param == "server":
        yield (await open_shop()).server.port
        return
    server = HttpServer("127.0.0.1", 0)
    await server.start(answers)
    yield server.port
    await server.close()


async def ask(port: int, *pieces: bytes, seconds: float = 20) -> bytes:
    """All that comes back until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        async with asyncio.timeout(seconds):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            while piece := await reader.read(65536):
                answer += piece
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return answer


def refused(answer: bytes, status: int, code: str) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 %d " % status) and json.loads(body)["code"] == code


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + LONG,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + LONG,
        b"GET /" + LONG,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
        UPGRADE + b"X-Long: " + LONG,
    ],
    ids=["value", "name", "address", "lines", "upgrade"],
)
async def test_a39_a_head_has_a_bound_on_every_port(port: int, head: bytes) -> None:
    assert refused(await ask(port, head), 431, "head_too_large")


@pytest.mark.parametrize("more", [b"5;" + LONG, b"1\r\na\r\n0\r\nX-Trailer: " + LONG], ids=["chunk", "trailer"])
async def test_a39_what_frames_a_body_has_the_same_bound(port: int, more: bytes) -> None:
    answer = await ask(port, CHUNKED + more)  # ends, although the request does not
    assert b" 101 " not in answer


async def test_a39_a_head_in_small_pieces_has_the_same_bound(port: int) -> None:
    answer = await ask(port, b"GET / HTTP/1.1\r\nX-Long: ", *[b"a" * 500] * 100)
    assert refused(answer, 431, "head_too_large")


@pytest.mark.parametrize(("more", "status"), [(0, b"200"), (1, b"431")])
async def test_the_bound_of_a_head_is_exact(port: int, more: int, status: bytes) -> None:
    start, end = LAST.removesuffix(b"\r\n") + b"X-Long: ", b"\r\n\r\n"
    filled = start + b"a" * (MAX_HEAD_BYTES + more - len(start) - len(end)) + end
    assert (await ask(port, filled)).startswith(b"HTTP/1.1 " + status)


async def test_a_large_body_is_no_head(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n"
    answer = await ask(port, head + b"a" * 300_000)
    assert answer.startswith(b"HTTP/1.1 ")
    assert b" 431 " not in answer


@pytest.mark.parametrize(
    "rest", [b"Host: x\r\n\r\n", UPGRADE.partition(b"\r\n")[2] + b"\r\n"], ids=["request", "upgrade"]
)
async def test_a39_a_query_has_so_many_fields(port: int, rest: bytes) -> None:
    query = b"&".join(b"f%d=1" % number for number in range(1001))
    answer = await ask(port, b"GET /api/resource/ticker?" + query + b" HTTP/1.1\r\n" + rest)
    assert refused(answer, 400, "bad_request")


async def test_a39_requests_that_wait_for_their_turn_are_few(port: int) -> None:
    assert (await ask(port, LIVE * 10 + LAST)).count(b"HTTP/1.1 200 ") == 11
    assert (await ask(port, LIVE * 500)).count(b"HTTP/1.1 200 ") < 20


async def test_what_is_no_request_is_told_so(port: int) -> None:
    assert refused(await ask(port, b"NONSENSE\r\n\r\n"), 400, "bad_request")


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        LIVE + b"\r\n",
        LIVE + b"GET / HTTP/1.1\r\nX-Slow: ",
        LIVE.replace(b"\r\n\r\n", b"\r\nContent-Length: 9999\r\n\r\nslow"),
    ],
    ids=["blank lines", "first head", "blank lines after a request", "second head", "a body that nobody reads"],
)
async def test_a39_a_client_that_keeps_a_connection_without_a_request_is_cut_off(
    open_shop: OpenShop, sent: bytes
) -> None:
    shop = await open_shop(handshake_seconds=0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", shop.server.port)
    writer.write(sent)

    async def drip() -> None:
        while True:
            writer.write(b"\r\n" if sent.endswith(b"\n") else b"a")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(20):
            while await reader.read(65536):
                pass
    except ConnectionError:
        pass
    finally:
        dripping.cancel()
        writer.transport.abort()


async def test_a39_a_client_that_takes_nothing_of_its_answer_is_cut_off(
    open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ws402.http_connection.STALL_SECONDS", 0.5)
    film = tmp_path / "film"
    with film.open("wb") as file:
        file.truncate(1 << 30)
    shop = await open_shop([{"id": "film", "kind": "file", "target": str(film), "price_per_second": PRICE}])
    peer = await shop.buy("film")
    token = (await peer.expect("http_access_granted"))["httpToken"]
    head = f"GET /api/resource/film HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", shop.server.port, limit=1)
    writer.write(head)
    await reader.readexactly(1)
    async with asyncio.timeout(20):
        while not writer.transport.is_closing():  # the other side is gone: writing tells
            writer.write(b"\r\n")
            await asyncio.sleep(0.05)
    assert await peer.expect("usage_update"), "the session goes on"


async def test_a39_an_address_has_only_so_many_connections(open_shop: OpenShop) -> None:
    shop = await open_shop(max_connections_per_address=2)
    held = [await asyncio.open_connection("127.0.0.1", shop.server.port) for _ in range(2)]
    assert refused(await ask(shop.server.port), 429, "rate_limited")
    held[0][1].transport.abort()
    async with asyncio.timeout(20):
        while not (await ask(shop.server.port, LAST)).startswith(b"HTTP/1.1 200 "):
            pass
    behind = await open_shop(max_connections_per_address=1, trusted_proxies=["127.0.0.1"])
    held += [await asyncio.open_connection("127.0.0.1", behind.server.port) for _ in range(3)]
    assert (await ask(behind.server.port, LAST)).startswith(b"HTTP/1.1 200 ")
    for _, writer in held:
        writer.transport.abort()


async def test_a_socket_that_was_opened_is_no_connection_of_http_any_more(open_shop: OpenShop) -> None:
    shop = await open_shop(max_connections_per_address=2)  # one of them is the shop's own client's
    peers = [await shop.buy() for _ in range(3)]
    assert len({peer.id for peer in peers}) == 3
