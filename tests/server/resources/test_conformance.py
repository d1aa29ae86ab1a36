"""The same tests over every kind of resource: what a session may rely on, whatever it buys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.server.conftest import PRICE, OpenShop
from tests.server.peer import Shop, any_proof
from websockets.asyncio.server import Server, ServerConnection, serve

from ws402.server.resources import KINDS

OVER_HTTP = ("file", "http")


async def _echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


@pytest.fixture
async def upstream() -> AsyncIterator[Server]:
    async with serve(_echo, "127.0.0.1", 0) as server:
        yield server


@pytest.fixture
async def web() -> AsyncIterator[int]:
    """An HTTP service that answers everything with its path."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(path), path))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(params=sorted(KINDS))
async def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def shop(kind: str, open_shop: OpenShop, upstream: Server, web: int, tmp_path: Path) -> Shop:
    file = tmp_path / "data.bin"
    file.write_bytes(b"0123456789")
    targets = {
        "ticker": "",
        "python": "tests.server.samples:echo",
        "file": str(file),
        "websocket": f"ws://127.0.0.1:{next(iter(upstream.sockets)).getsockname()[1]}/",
        "http": f"http://127.0.0.1:{web}",
    }
    resource = {"id": "thing", "name": "A thing", "kind": kind, "target": targets[kind], "price_per_second": PRICE}
    return await open_shop([resource])


async def test_it_is_listed_with_its_price_and_kind(shop: Shop, kind: str) -> None:
    (listed,) = (await shop.get("/api/resources")).json()
    assert (listed["id"], listed["name"], listed["type"]) == ("thing", "A thing", kind)
    assert listed["pricing"]["pricePerSecond"] == PRICE
    described = (await shop.get("/api/resource/thing/schema")).json()
    assert described["resourceInfo"] == {"name": "A thing", "type": kind, "estimatedTime": 300}


async def test_a_session_is_metered_and_settled(shop: Shop) -> None:
    peer = await shop.buy("thing")
    await peer.expect("usage_update")
    await peer.close()
    session = await shop.ended(peer)
    assert 0 < session.consumed < PRICE
    assert session.consumed + session.refunded == 60 * PRICE


async def test_messages_are_counted(shop: Shop) -> None:
    peer = await shop.buy("thing")
    await peer.send("text")
    await peer.send(b"\x00\x01")
    while (update := await peer.expect("usage_update"))["messageCount"] < 2:
        pass
    assert update["bytesTransferred"] == 6


async def test_a_lost_client_is_settled_and_leaves_nothing_behind(shop: Shop) -> None:
    before = len(asyncio.all_tasks())
    peers = [await shop.buy("thing") for _ in range(3)]
    for peer in peers:
        await peer.send("on its way")
        peer.drop()
    for peer in peers:
        await shop.ended(peer)
        await peer.socket.wait_closed()
    await shop.until(lambda: len(asyncio.all_tasks()) <= before)


async def test_an_exhausted_balance_ends_it(shop: Shop) -> None:
    peer = await shop.buy("thing", seconds=1)
    assert (await peer.closed())[0] == 1000
    assert "balance_exhausted" in peer.kinds()
    assert shop.book(peer).consumed == PRICE


async def test_an_http_token_is_given_only_for_what_goes_over_http(shop: Shop, kind: str) -> None:
    peer = await shop.buy("thing")
    await peer.expect("usage_update")
    granted = [message for message in peer.seen if message["type"] == "http_access_granted"]
    assert bool(granted) == (kind in OVER_HTTP)
    for message in granted:
        assert message["resourceUrl"] == f"{shop.url}/api/resource/thing"
        assert len(message["httpToken"]) >= 32


async def test_a36_http_access_lives_and_dies_with_the_session(shop: Shop, kind: str) -> None:
    unpaid = await shop.get("/api/resource/thing")
    assert unpaid.status_code == 402
    assert unpaid.json()["schemaUrl"] == f"{shop.url}/api/resource/thing/schema"
    assert "/api/resource/thing/schema" in unpaid.headers["Link"]
    for bad in ("guess", ""):
        assert (await shop.get("/api/resource/thing", params={"token": bad})).status_code in (402, 403)
    if kind not in OVER_HTTP:
        return
    peer, other = await shop.buy("thing"), await shop.buy("thing")
    tokens = [(await each.expect("http_access_granted"))["httpToken"] for each in (peer, other)]
    assert tokens[0] != tokens[1]
    assert (await shop.get("/api/resource/thing", params={"token": tokens[0]})).status_code == 200
    header = {"Authorization": f"Bearer {tokens[0]}"}
    answer = await shop.get("/api/resource/thing", headers=header)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    for not_a_token in (peer.id, peer.started["resumeToken"]):
        assert (await shop.get("/api/resource/thing", params={"token": not_a_token})).status_code == 403
    await peer.close()
    await shop.ended(peer)
    assert (await shop.get("/api/resource/thing", headers=header)).status_code == 403
    assert (await shop.get("/api/resource/thing", params={"token": tokens[1]})).status_code == 200


async def test_it_works_again_on_another_socket_of_the_same_session(shop: Shop) -> None:
    peer = await shop.buy("thing")
    await peer.close(4000)
    await shop.until(lambda: shop.book(peer).state == "released")
    again = await shop.connect("thing")
    await again.send({"type": "resume", "token": peer.started["resumeToken"]})
    again.started = await again.expect("session_started")
    await again.expect("usage_update")
    await again.close()
    await shop.ended(again)


async def test_a_proof_for_it_opens_nothing_else(shop: Shop, open_shop: OpenShop) -> None:
    other = await open_shop(provider=shop.provider)
    peer = await other.connect("ticker")
    await peer.prove(any_proof(await shop.invoice("thing")))
    assert (await peer.expect("payment_rejected"))["code"] == "resource_mismatch"
