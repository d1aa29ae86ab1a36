"""x402 over plain HTTP, end to end: the offer, the payment, the answer that streams, and the refund on the chain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.gateway.collect.world import AMOUNT, PRICE, SECONDS
from tests.gateway.collect.world import Shop as Chain
from tests.server.web.x402_site import Site, decoded, encoded, payload, selling
from websockets.asyncio.client import connect

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
async def site(chain: Chain, tmp_path: Path) -> AsyncIterator[Site]:
    film = tmp_path / "film.bin"
    film.write_bytes(CONTENT)
    resource = {"id": "film", "kind": "file", "target": str(film), "price_per_second": PRICE}
    async with selling(chain, [resource]) as site:
        yield site


async def test_an_unpaid_request_is_told_what_to_pay_in_both_versions(site: Site) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{site.url}/api/resource/film")
        assert answer.status_code == 402
        assert len(answer.headers["payment-required"]) < 3072
        assert answer.headers["cache-control"] == "no-store"
        offer, body = decoded(answer.headers["payment-required"]), answer.json()
        assert offer["x402Version"] == 2
        assert offer["resource"]["url"] == f"{site.url}/api/resource/film"
        assert offer["accepts"] == [
            {
                "scheme": "exact",
                "network": f"eip155:{site.chain.evm.chain_id}",
                "asset": site.chain.token.address,
                "amount": str(AMOUNT),
                "payTo": site.chain.keys.refunds.address,
                "maxTimeoutSeconds": 120,
                "extra": {"name": "Demo Dollar", "version": "1", "paymentFlow": "upfront"},
            }
        ]
        assert (body["x402Version"], body["accepts"][0]["maxAmountRequired"]) == (1, str(AMOUNT))
        assert body["code"] == "payment_required"
        head = await client.head(f"{site.url}/api/resource/film")
        assert (head.status_code, "payment-required" in head.headers) == (402, True)
        longer = await client.get(f"{site.url}/api/resource/film?duration=600")
        assert decoded(longer.headers["payment-required"])["accepts"][0]["amount"] == str(600 * PRICE)


async def test_a_paid_request_gets_the_content_and_the_rest_goes_back(site: Site) -> None:
    payer = await asyncio.to_thread(site.chain.payer)
    before = site.chain.held(payer.address)
    async with httpx.AsyncClient(timeout=30) as client:
        offer = await site.offer(client)
        answer = await site.get(client, await site.pay(payer, offer))
        assert (answer.status_code, answer.content) == (200, CONTENT)
        assert answer.headers["cache-control"] == "private, no-store"
        receipt = decoded(answer.headers["payment-response"])
        assert receipt["success"] is True
        assert (receipt["payer"], receipt["network"]) == (payer.address, offer["accepts"][0]["network"])
        assert receipt["transaction"].startswith("0x")
        info = receipt["extensions"]["ws402"]["info"]
        told = await site.gateway.refunded(info["sessionId"])
        status = (await client.get(info["statusUrl"])).json()
        assert (status["state"], status["refund"]["state"]) == ("ended", "final")
        assert status["paidAmount"] == AMOUNT
        assert status["consumedAmount"] + status["refund"]["amount"] == AMOUNT
        assert 0 < int(told.refund.amount if told.refund else 0) <= AMOUNT
        assert site.chain.held(payer.address) == before - status["consumedAmount"]
        await site.gateway.check()


async def test_version_1_pays_the_same_way(site: Site) -> None:
    payer = await asyncio.to_thread(site.chain.payer)
    async with httpx.AsyncClient(timeout=30) as client:
        entry = (await client.get(f"{site.url}/api/resource/film")).json()["accepts"][0]
        while True:  # what a busy machine does not tell in time goes back: version 1 asks once
            signed = await asyncio.to_thread(site.chain.sign, payer, amount=int(entry["maxAmountRequired"]))
            shown = {"x402Version": 1, "scheme": "exact", "network": entry["network"], "payload": payload(signed)}
            answer = await client.get(f"{site.url}/api/resource/film", headers={"x-payment": encoded(shown)})
            if answer.status_code != 503:
                break
        assert (answer.status_code, answer.content) == (200, CONTENT)
        receipt = decoded(answer.headers["x-payment-response"])
        assert (receipt["success"], receipt["network"]) == (True, "base-sepolia")


async def test_who_leaves_early_pays_for_what_he_saw(chain: Chain) -> None:
    hung_up = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        await reader.read()  # until we are hung up on
        writer.close()
        hung_up.set()

    async with await asyncio.start_server(upstream, "127.0.0.1", 0) as listening:
        target = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        resource = {"id": "film", "kind": "http", "target": target, "price_per_second": PRICE}
        async with selling(chain, [resource]) as site:
            payer = await asyncio.to_thread(chain.payer)
            before = chain.held(payer.address)
            async with httpx.AsyncClient(timeout=30) as client:
                headers = await site.pay(payer, await site.offer(client))
                status = 503
                while status == 503:  # a busy machine does not know yet
                    async with client.stream("GET", f"{site.url}/api/resource/film", headers=headers) as answer:
                        status = answer.status_code
                        receipt = decoded(answer.headers["payment-response"])
                        async for piece in answer.aiter_bytes():
                            assert piece == b"hello" or status == 503
                            break
                info = receipt["extensions"]["ws402"]["info"]
            await asyncio.wait_for(hung_up.wait(), 10)
            told = await site.gateway.refunded(info["sessionId"])
            assert told.refund is not None
            assert int(told.consumed_amount or 0) < AMOUNT
            assert chain.held(payer.address) == before - int(told.consumed_amount or 0)


async def test_a_resource_that_fails_costs_nothing(chain: Chain) -> None:
    async with selling(
        chain, [{"id": "film", "kind": "http", "target": "http://127.0.0.1:9", "price_per_second": PRICE}]
    ) as site:
        payer = await asyncio.to_thread(chain.payer)
        before = chain.held(payer.address)
        async with httpx.AsyncClient(timeout=30) as client:
            headers = await site.pay(payer, await site.offer(client))
            answer = await site.get(client, headers)
        assert (answer.status_code, answer.json()["code"]) == (502, "resource_unavailable")
        info = decoded(answer.headers["payment-response"])["extensions"]["ws402"]["info"]
        told = await site.gateway.refunded(info["sessionId"])
        assert told.consumed_amount == 0
        assert chain.held(payer.address) == before


async def test_a_session_is_bought_over_http(site: Site) -> None:
    payer = await asyncio.to_thread(site.chain.payer)
    wanted = {"resourceId": "film", "duration": SECONDS}
    async with httpx.AsyncClient(timeout=30) as client:
        unpaid = await client.post(f"{site.url}/ws402/sessions", json=wanted)
        assert unpaid.status_code == 402
        headers = await site.pay(payer, decoded(unpaid.headers["payment-required"]))
        while (bought := await client.post(f"{site.url}/ws402/sessions", json=wanted, headers=headers)).is_error:
            assert bought.json()["code"] == "settlement_pending"
        assert bought.status_code == 201
        again = await client.post(f"{site.url}/ws402/sessions", json=wanted, headers=headers)
        assert again.status_code == 201
        first, second = bought.json(), again.json()
        assert first["sessionId"] == second["sessionId"]
        assert first["paidAmount"] == AMOUNT
        status = (await client.get(first["statusUrl"])).json()
        assert (status["state"], status["paidAmount"]) == ("released", AMOUNT)


async def test_a_bought_session_is_used_on_a_socket(chain: Chain) -> None:
    async with selling(chain, [{"id": "ticker", "kind": "ticker", "price_per_second": PRICE}]) as site:
        payer = await asyncio.to_thread(chain.payer)
        wanted = {"resourceId": "ticker", "duration": SECONDS}
        async with httpx.AsyncClient(timeout=30) as client:
            unpaid = await client.post(f"{site.url}/ws402/sessions", json=wanted)
            headers = await site.pay(payer, decoded(unpaid.headers["payment-required"]))
            while (bought := await client.post(f"{site.url}/ws402/sessions", json=wanted, headers=headers)).is_error:
                assert bought.json()["code"] == "settlement_pending"
            session = bought.json()
        async with connect(session["websocketUrl"]) as socket:
            await socket.send(json.dumps({"type": "resume", "token": session["resumeToken"]}))
            started = json.loads(await socket.recv())
            assert (started["type"], started["sessionId"]) == ("session_started", session["sessionId"])
            await socket.send(json.dumps({"type": "end_session"}))
            while (ended := json.loads(await socket.recv()))["type"] != "session_ended":
                pass
        assert ended["consumedAmount"] + ended["refundAmount"] == AMOUNT
        await site.gateway.refunded(session["sessionId"])
        assert chain.held(payer.address) == 10 * AMOUNT - ended["consumedAmount"]


async def test_a53_a_payment_for_another_offer_is_offered_anew_and_nothing_is_sent(site: Site) -> None:
    payer = await asyncio.to_thread(site.chain.payer)
    async with httpx.AsyncClient(timeout=30) as client:
        offer = await site.offer(client)
        cheaper = dict(offer["accepts"][0], amount="1")
        headers = await site.pay(payer, {**offer, "accepts": [cheaper]})
        answer = await site.get(client, headers)
        assert answer.status_code == 402
        assert decoded(answer.headers["payment-required"])["error"] == "invalid_payment_requirements"
    assert await site.gateway.sent() == 0


async def test_a52_a_payment_that_cannot_be_read_is_400(site: Site) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        for value in ("!", encoded({"x402Version": 2}), encoded([]), "A" * 9000):
            answer = await client.get(f"{site.url}/api/resource/film", headers={"payment-signature": value})
            assert (answer.status_code, answer.json()["code"]) == (400, "malformed_payment")


async def test_a05_nothing_is_served_before_the_chain_shows_the_payment(site: Site) -> None:
    payer = await asyncio.to_thread(site.chain.payer)
    async with httpx.AsyncClient(timeout=30) as client:
        headers = await site.pay(payer, await site.offer(client))
        site.chain.evm.automine(False)
        try:
            unsure = await client.get(f"{site.url}/api/resource/film", headers=headers)
            assert (unsure.status_code, unsure.json()["code"]) == (503, "settlement_pending")
            assert "payment-required" not in unsure.headers
            assert unsure.headers["retry-after"]
        finally:
            site.chain.evm.automine(True)
            site.chain.evm.mine()
        answer = await site.get(client, headers)
        assert (answer.status_code, answer.content) == (200, CONTENT)
    assert await site.gateway.sent() == 1


async def test_the_same_payment_again_is_told_its_session(site: Site) -> None:
    payer = await asyncio.to_thread(site.chain.payer)
    async with httpx.AsyncClient(timeout=30) as client:
        headers = await site.pay(payer, await site.offer(client))
        first = await site.get(client, headers)
        again = await site.get(client, headers)
        assert (first.status_code, again.status_code) == (200, 409)
        info = decoded(first.headers["payment-response"])["extensions"]["ws402"]["info"]
        assert again.json()["sessionId"] == info["sessionId"]
        assert again.json()["transaction"] == decoded(first.headers["payment-response"])["transaction"]
        assert "payment-required" not in again.headers
    assert await site.gateway.sent() == 1
