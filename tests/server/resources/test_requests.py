"""Requests of a session are bounded, and none outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.server.conftest import PRICE, OpenShop
from tests.server.peer import Peer, Shop

CHUNK = b"x" * 65536


class Endless:
    """An upstream that sends as long as it is read, and knows how many it serves now."""

    def __init__(self) -> None:
        self.serving = 0
        self.asked = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.set()
            if b" /silent " in head:
                await reader.read(1)
            elif b" /small " in head:
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
                while True:
                    writer.write(CHUNK)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.serving -= 1
            writer.close()


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Endless, str]]:
    endless = Endless()
    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    yield endless, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


class Stalled:
    """A client that asks and reads nothing."""

    def __init__(self, shop: Shop, path: str, token: str) -> None:
        self._shop, self._path, self._token = shop, path, token

    async def open(self) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._shop.server.port, limit=1)
        head = f"GET {self._path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._token}\r\n\r\n"
        writer.write(head.encode())
        self.writer = writer
        return reader


async def buy(shop: Shop, resource: str) -> tuple[Peer, str]:
    peer = await shop.buy(resource)
    return peer, str((await peer.expect("http_access_granted"))["httpToken"])


async def until(condition: Any, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("path", ["/endless", "/silent"])
async def test_a39_a_request_ends_with_its_session_though_its_client_reads_nothing(
    open_shop: OpenShop, upstream: tuple[Endless, str], path: str
) -> None:
    endless, target = upstream
    shop = await open_shop([{"id": "api", "kind": "http", "target": target, "price_per_second": PRICE}])
    peer, token = await buy(shop, "api")
    stalled = [Stalled(shop, f"/api/resource/api{path}", token) for _ in range(3)]
    readers = [await each.open() for each in stalled]
    await until(lambda: endless.serving == 3)
    await peer.send({"type": "end_session"})
    await peer.expect("session_ended")
    await until(lambda: endless.serving == 0)
    if path == "/silent":
        assert (await readers[0].read(12)).startswith(b"H")
    for each in stalled:
        each.writer.transport.abort()


async def test_a39_an_open_file_ends_with_its_session_though_its_client_reads_nothing(
    open_shop: OpenShop, tmp_path: Path
) -> None:
    film = tmp_path / "film"
    with film.open("wb") as file:
        file.truncate(1 << 30)

    def handles() -> int:
        folder = Path("/proc/self/fd")
        return sum(os.path.realpath(each) == str(film.resolve()) for each in folder.iterdir())

    shop = await open_shop([{"id": "film", "kind": "file", "target": str(film), "price_per_second": PRICE}])
    peer, token = await buy(shop, "film")
    stalled = [Stalled(shop, "/api/resource/film", token) for _ in range(3)]
    for each in stalled:
        await each.open()
    await until(lambda: handles() == 3)
    await peer.close()
    await until(lambda: handles() == 0)
    for each in stalled:
        each.writer.transport.abort()


async def test_a39_a_session_has_only_so_many_requests_at_once_and_its_neighbour_has_its_own(
    open_shop: OpenShop, upstream: tuple[Endless, str]
) -> None:
    endless, target = upstream
    api = {"id": "api", "kind": "http", "target": target, "price_per_second": PRICE, "max_requests": 2}
    shop = await open_shop([api])
    _, token = await buy(shop, "api")
    _, other = await buy(shop, "api")
    stalled = [Stalled(shop, "/api/resource/api/endless", token) for _ in range(2)]
    for each in stalled:
        await each.open()
    await until(lambda: endless.serving == 2)

    async def small(token: str) -> httpx.Response:
        return await shop.get("/api/resource/api/small", headers={"Authorization": f"Bearer {token}"})

    refused = await small(token)
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (429, "rate_limited", "1")
    assert (await small(other)).status_code == 200
    stalled[0].writer.transport.abort()
    await until(lambda: endless.serving == 1)
    assert (await small(token)).status_code == 200
    stalled[1].writer.transport.abort()


async def test_a39_one_session_cannot_take_all_that_a_resource_can_serve(
    open_shop: OpenShop, upstream: tuple[Endless, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    endless, target = upstream
    monkeypatch.setattr("ws402.server.resources.requests.MAX_REQUESTS", 3)
    monkeypatch.setattr("ws402.server.resources.requests.SHARED_REQUESTS", 2)
    shop = await open_shop([{"id": "api", "kind": "http", "target": target, "price_per_second": PRICE}])
    _, token = await buy(shop, "api")
    _, other = await buy(shop, "api")
    _, third = await buy(shop, "api")
    stalled = [Stalled(shop, "/api/resource/api/endless", each) for each in (token, token, other)]
    for each in stalled[:2]:
        await each.open()
    await until(lambda: endless.serving == 2)

    async def small(token: str) -> int:
        answer = await shop.get("/api/resource/api/small", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code

    assert await small(token) == 429
    assert await small(other) == 200, "a session that has none gets one"
    await stalled[2].open()
    await until(lambda: endless.serving == 3)
    assert await small(third) == 429
    for each in stalled:
        each.writer.transport.abort()


class Closing:
    """An upstream that closes each connection when the second request on it arrives."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()


async def test_a_kept_connection_that_closes_is_no_failure_where_the_request_may_be_sent_twice(
    open_shop: OpenShop,
) -> None:
    closing = Closing()
    upstream = await asyncio.start_server(closing, "127.0.0.1", 0)
    target = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
    shop = await open_shop([{"id": "api", "kind": "http", "target": target, "price_per_second": PRICE}])
    _, token = await buy(shop, "api")

    async def ask(method: str, content: bytes | None = None) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return (await shop.http.request(method, "/api/resource/api", headers=headers, content=content)).status_code

    assert [await ask("GET") for _ in range(5)] == [200] * 5
    before = len(closing.heads)
    assert await ask("POST", b"once") == 502
    assert len(closing.heads) == before + 1, "a POST is not sent twice"
    upstream.close()


async def test_a_body_has_a_bound(open_shop: OpenShop) -> None:
    bodies: list[bytes] = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            bodies.append(await reader.readexactly(1000))
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    upstream = await asyncio.start_server(count, "127.0.0.1", 0)
    target = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
    api = {"id": "api", "kind": "http", "target": target, "price_per_second": PRICE, "max_request_bytes": 1000}
    shop = await open_shop([api])
    _, token = await buy(shop, "api")
    headers = {"Authorization": f"Bearer {token}"}

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 400

    for content in (b"x" * 1001, pieces()):
        answer = await shop.http.post("/api/resource/api", headers=headers, content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert (await shop.http.post("/api/resource/api", headers=headers, content=b"x" * 1000)).status_code == 200
    assert bodies == [b"x" * 1000]
    upstream.close()
