"""The rest of what a WS402 server says to stock peers: HTTP resources, status, limits, and a gateway that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from tests.fixtures.evm import ETHER
from tests.fixtures.stack import PRICE, RESOURCES, Stack
from tests.wire.peers.client import StockClient
from tests.wire.peers.wallet import Wallet

STATUS_KEY = "status-key-of-this-test-0123456789ab"
FILM = b"0123456789" * 5000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("server-wire")
    (folder / "film.bin").write_bytes(FILM)
    film: dict[str, Any] = {"id": "film", "name": "Film", "kind": "file", "price_per_second": PRICE}
    with ExitStack() as opened:
        made = Stack(
            folder,
            resources=[*RESOURCES, {**film, "target": str(folder / "film.bin")}],
            server_settings={"STATUS_KEY": STATUS_KEY, "MAX_SESSION_DURATION": "600"},
        )
        opened.callback(made.stop)
        made.start()
        made.add_server(MAX_SESSION_DURATION="2", HANDSHAKE_SECONDS="1")
        yield made


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[StockClient]:
    async with Wallet(stack.rpc_url) as wallet, StockClient(stack.server_url, wallet) as made:
        stack.rpc.fund(wallet.address, ETHER)
        yield made


async def test_a_file_is_served_with_the_sessions_token_while_it_lives(client: StockClient) -> None:
    async with await client.buy("film", 60) as session:
        granted = await session.expect("http_access_granted")
        token, url = granted["httpToken"], granted["resourceUrl"]
        assert "/api/resource/film" in url
        for options in ({"params": {"token": token}}, {"headers": {"Authorization": f"Bearer {token}"}}):
            answer = await client.get("/api/resource/film", **options)
            assert (answer.status_code, answer.content) == (200, FILM)
        other = await client.get("/api/resource/ticker", params={"token": token})
        assert other.status_code == 403
    async with asyncio.timeout(10):
        while (ended := await client.get("/api/resource/film", params={"token": token})).status_code == 200:
            await asyncio.sleep(0.05)
    assert ended.status_code == 403


async def test_the_resource_url_works_as_it_is_given(client: StockClient) -> None:
    async with await client.buy("film", 60) as session:
        granted = await session.expect("http_access_granted")
        url = httpx.URL(granted["resourceUrl"], params={"token": granted["httpToken"]})
        async with httpx.AsyncClient() as http:
            answer = await http.get(url)
    assert (answer.status_code, answer.content) == (200, FILM)


async def test_the_status_lists_sessions_to_who_has_the_key(stack: Stack, client: StockClient) -> None:
    async with await client.buy("ticker", 60) as session:
        await session.expect("usage_update")
        answer = await client.get("/status", headers={"Authorization": f"Bearer {STATUS_KEY}"})
        status = answer.json()
    assert status["provider"] == "proxy"
    assert status["gatewayUrl"].rstrip("/") == stack.gateway_url
    assert status["activeSessions"] == len(status["sessions"]) >= 1
    mine = next(each for each in status["sessions"] if each["sessionId"] == session.session_id)
    assert mine["userId"] == client.user_id
    assert isinstance(mine["elapsedSeconds"], int)
    assert 0 < mine["remainingBalance"] <= 60 * PRICE


async def test_a_session_whose_money_and_time_end_together_is_closed_once(stack: Stack, client: StockClient) -> None:
    async with StockClient(stack.server_urls[1], client.wallet) as short:
        session = await short.buy("dear", 2)
        paid, before = session.balance, await client.wallet.balance()
        assert paid == 2 * 1000 * PRICE
        code, _ = await session.closed()
    kinds = [message["type"] for message in session.seen]
    assert code == 1000
    assert kinds.count("max_duration_reached") + kinds.count("balance_exhausted") == 1
    assert await client.wallet.balance() == before


async def test_a_session_that_was_paid_for_longer_ends_at_the_maximum(stack: Stack, client: StockClient) -> None:
    details = (await client.schema("ticker", 300))["paymentDetails"]
    proof = await client.pay(details)
    before = await client.wallet.balance()
    async with StockClient(stack.server_urls[1], client.wallet) as short, await short.open("ticker") as session:
        await session.start(proof)
        code, _ = await session.closed()
    assert code == 1000
    assert next(each for each in session.seen if each["type"] == "max_duration_reached")["message"]
    after = await client.wallet.wait_for_balance(before + 1)
    assert 2 * PRICE <= 300 * PRICE - (after - before) <= 4 * PRICE


async def test_a39_a_silent_client_is_cut_off(stack: Stack, client: StockClient) -> None:
    async with StockClient(stack.server_urls[1], client.wallet) as late, await late.open("ticker") as session:
        await session.init()
        code, _ = await session.closed(5)
    assert code == 1008


async def test_the_page_is_there_for_people(client: StockClient) -> None:
    answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")


async def test_a_gateway_that_is_away_is_told_as_unhealthy(stack: Stack, client: StockClient) -> None:
    stack.gateway.kill()
    try:
        answer = await client.get("/gateway-health")
        assert answer.status_code == 503
        assert answer.json()["status"] in {"unhealthy", "error"}
        schema = await client.get("/ws402/schema/ticker")
        assert schema.status_code in {502, 503}
        assert schema.json()["error"] in {"Bad Gateway", "Service Unavailable"}
    finally:
        await asyncio.to_thread(stack.gateway.start)
    async with asyncio.timeout(30):
        while (await client.get("/ws402/schema/ticker")).status_code != 200:
            await asyncio.sleep(0.2)
