"""The gateway is killed (SIGKILL) while it collects, or two do so at once: one transaction lands, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.evm import Evm
from tests.fixtures.stack import Stack, postgres_ledger
from tests.gateway.collect.world import AMOUNT, PRICE, Shop
from tests.server.web.x402_site import decoded, encoded, payload

from ws402.devchain.evm import EvmDevChain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MOMENTS = [0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8]
"""Seconds into a collection: before it is recorded, before and after it is signed, sent, seen and claimed."""

PATH = "/api/resource/film"
UNSURE = {502, 503}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with EvmDevChain(block_time=0.25, automine=False) as chain:
        evm = Evm(chain.rpc_url, name="devchain")
        yield Shop(evm, "")
        evm.close()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=60) as client:
        yield client


def start(shop: Shop, opened: ExitStack, folder: Path, ledger: str, *, gateways: int) -> Stack:
    """Gateways that collect on one ledger, and a server for each."""
    film = folder / "film.bin"
    film.write_bytes(b"x" * 1000)
    stack = Stack(
        folder,
        rpc_url=shop.evm.url,
        database_url=opened.enter_context(postgres_ledger()) if ledger == "postgresql" else None,
        gateway_settings={
            "BASE_RPC": "",
            "MERCHANT_PRIVATE_KEY": "",
            "EVM_NETWORKS": json.dumps([shop.network()]),
            "REFUND_LEASE_SECONDS": "2",
            "VANISH_SECONDS": "5",
            "RESUME_SECONDS": "5",
        },
        resources=[
            {"id": "film", "kind": "file", "target": str(film), "price_per_second": PRICE, "asset": "DUSD"},
        ],
    )
    opened.callback(stack.stop)
    stack.start(gateways=gateways, servers=1)
    for gateway in range(1, gateways):
        stack.add_server(gateway=gateway)
    return stack


async def offer(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """What is offered, once the server knows it."""
    while "payment-required" not in (answer := await client.get(url + PATH)).headers:
        await asyncio.sleep(0.05)
    return decoded(answer.headers["payment-required"])


async def signed(shop: Shop, payer: Any, offered: dict[str, Any]) -> dict[str, str]:
    """The header of a payment."""
    transfer = await asyncio.to_thread(shop.sign, payer, amount=int(offered["accepts"][0]["amount"]))
    content = {
        "x402Version": 2,
        "payload": payload(transfer),
        "accepted": offered["accepts"][0],
        "extensions": offered["extensions"],
    }
    return {"payment-signature": encoded(content)}


async def final(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """How a session stands, once its refund is final."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = await client.get(url)
            if answer.status_code == httpx.codes.OK and answer.json().get("refund", {}).get("state") == "final":
                found: dict[str, Any] = answer.json()
                return found
        await asyncio.sleep(0.05)


async def transactions(shop: Shop) -> int:
    address = shop.keys.collector.address
    return int(await asyncio.to_thread(shop.evm.rpc, "eth_getTransactionCount", address, "latest"), 16)


async def clean(client: httpx.AsyncClient, stack: Stack) -> None:
    """The books agree with the chain."""
    headers = {"authorization": f"Bearer {stack.admin_key}"}
    while not (await client.get(f"{stack.gateway_url}/api/admin/audit", headers=headers)).json()["clean"]:
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("after", MOMENTS)
async def test_a19_a_gateway_that_is_killed_while_it_collects_loses_and_doubles_nothing(
    shop: Shop, opened: ExitStack, client: httpx.AsyncClient, tmp_path: Path, after: float
) -> None:
    stack = await asyncio.to_thread(start, shop, opened, tmp_path, "sqlite", gateways=1)
    payer = await asyncio.to_thread(shop.payer)
    header = await signed(shop, payer, await offer(client, stack.server_url))
    asking = asyncio.create_task(client.get(stack.server_url + PATH, headers=header))
    await asyncio.sleep(after)
    stack.gateway.kill()
    await asyncio.to_thread(stack.gateway.start)
    answer = await asking
    while answer.status_code in UNSURE:
        assert "payment-required" not in answer.headers
        answer = await client.get(stack.server_url + PATH, headers=header)
    assert answer.status_code in {200, 409}, answer.text
    if answer.status_code == 200:
        info = decoded(answer.headers["payment-response"])["extensions"]["ws402"]["info"]
        status = info["statusUrl"]
    else:
        status = answer.json()["statusUrl"]
    told = await final(client, status)
    assert told["paidAmount"] == AMOUNT
    assert told["consumedAmount"] + told["refund"]["amount"] == AMOUNT
    assert await asyncio.to_thread(shop.held, payer.address) == 10 * AMOUNT - told["consumedAmount"]
    assert await transactions(shop) == 1
    await clean(client, stack)


@pytest.mark.parametrize("ledger", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def test_a02_two_gateways_that_are_shown_one_payment_fifty_times_open_one_session(
    shop: Shop, opened: ExitStack, client: httpx.AsyncClient, tmp_path: Path, ledger: str
) -> None:
    stack = await asyncio.to_thread(start, shop, opened, tmp_path, ledger, gateways=2)
    payer = await asyncio.to_thread(shop.payer)
    for url in stack.server_urls:
        header = await signed(shop, payer, await offer(client, url))

    async def show(url: str) -> httpx.Response:
        while (answer := await client.get(url + PATH, headers=header)).status_code in UNSURE:
            pass
        return answer

    answers = await asyncio.gather(*(show(stack.server_urls[n % 2]) for n in range(50)))
    assert sorted(each.status_code for each in answers) == [200] + [409] * 49
    served = next(each for each in answers if each.status_code == httpx.codes.OK)
    info = decoded(served.headers["payment-response"])["extensions"]["ws402"]["info"]
    assert {each.json()["sessionId"] for each in answers if each is not served} == {info["sessionId"]}
    told = await final(client, info["statusUrl"])
    assert await asyncio.to_thread(shop.held, payer.address) == 10 * AMOUNT - told["consumedAmount"]
    assert await transactions(shop) == 1
    await clean(client, stack)
