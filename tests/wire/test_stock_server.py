"""A stock server, with its own meter and its refunds by amount, stands on our gateway, in strict and in legacy mode."""

import asyncio

import httpx
import pytest
from tests.fixtures.processes import free_port
from tests.fixtures.stack import PRICE, Stack
from tests.wire.conftest import MakeClient
from tests.wire.peers.provider import ProviderError, StockProvider
from tests.wire.peers.server import StockServer

ANSWER = {"valid", "amount"}


async def test_stock_client_and_stock_server_trade_through_our_gateway(
    wire: Stack, client: MakeClient, provider: StockProvider
) -> None:
    async with StockServer(provider, price_per_second=PRICE, update_interval=0.3) as server:
        peer = await client(server.url)
        session = await peer.buy("films")
        paid = session.balance
        funds = await peer.wallet.balance()
        await session.expect("usage_update")
        await session.close()
        after = await peer.wallet.wait_for_balance(funds + 1)
    assert paid == 300 * PRICE
    assert server.refund_errors == []
    (answer,) = server.refunds
    assert answer["status"] == "success"
    assert answer["recipient"].lower() == peer.wallet.address.lower()
    assert answer["amount"] == after - funds
    assert isinstance(answer["message"], str)
    assert answer["timestamp"] > 1_600_000_000_000
    assert 0 < paid - answer["amount"] < 10 * PRICE


async def test_verify_answers_what_a_stock_server_reads(client: MakeClient, provider: StockProvider) -> None:
    peer = await client()
    details = await provider.generate_payment_details(5 * PRICE, "films", 5)
    answer = await provider.verify_payment(await peer.pay(details))
    assert answer["valid"] is True
    assert answer["amount"] == 5 * PRICE
    assert not answer.get("reason")


async def test_a_refused_proof_is_no_http_error(client: MakeClient, provider: StockProvider) -> None:
    peer = await client()
    details = await provider.generate_payment_details(5 * PRICE, "films", 5)
    answer = await provider.verify_payment(peer.proof(details, "0x" + "ab" * 32))
    assert answer["valid"] is False
    assert answer["amount"] == 0
    assert answer["reason"]


async def test_a_refused_proof_does_not_harm_a_good_one_beside_it(client: MakeClient, provider: StockProvider) -> None:
    peer = await client()
    proofs = [await peer.pay(await provider.generate_payment_details(5 * PRICE, "films", 5)) for _ in range(3)]
    bad = [{**proof, "reference": f"nobody-{turn}"} for turn, proof in enumerate(proofs)]
    answers = await asyncio.gather(*(provider.verify_payment(proof) for proof in [*bad, *proofs, *bad]))
    assert [answer["valid"] for answer in answers] == [False] * 3 + [True] * 3 + [False] * 3


async def test_generate_answers_the_details_and_says_who_made_them(wire: Stack, provider: StockProvider) -> None:
    details = await provider.generate_payment_details(12345, "films", 5)
    assert details["type"] == "base"
    assert details["network"] == "base-sepolia"
    assert details["recipient"].lower() == wire.merchant.lower()
    assert (details["amount"], details["amountWei"]) == (12345, 12345)
    assert details["amountETH"] == "0.000000000000012345"
    assert (details["resourceId"], details["estimatedDuration"]) == ("films", 5)
    assert details["gateway"]
    assert details["timestamp"] > 1_600_000_000_000


async def test_a_repeated_refund_call_is_answered_alike_and_pays_once(
    client: MakeClient, provider: StockProvider
) -> None:
    peer = await client()
    details = await provider.generate_payment_details(300 * PRICE, "films", 300)
    proof = await peer.pay(details)
    assert (await provider.verify_payment(proof))["valid"]
    funds = await peer.wallet.balance()
    first = await provider.issue_refund(proof, 200 * PRICE)
    second = await provider.issue_refund(proof, 200 * PRICE)
    assert first["amount"] == second["amount"] == 200 * PRICE
    await peer.wallet.wait_for_balance(funds + 200 * PRICE)
    await asyncio.sleep(1)
    assert await peer.wallet.balance() == funds + 200 * PRICE


async def test_a_gateway_that_is_away_is_tried_three_times(wire: Stack) -> None:
    async with StockProvider(f"http://127.0.0.1:{free_port()}", wire.api_key, retry_delay=0.01) as nobody:
        assert await nobody.health_check() is False
        with pytest.raises(ProviderError) as failure:
            await nobody.generate_payment_details(1, "films", 1)
    assert failure.value.status is None


async def test_health_needs_no_key(wire: Stack) -> None:
    async with StockProvider(wire.gateway_url, None) as stranger:
        assert await stranger.health_check()
        health = (await stranger.raw("GET", "/api/health")).json()
    assert health["status"] == "ok"
    assert isinstance(health["provider"], str)
    assert health["timestamp"] > 1_600_000_000_000


async def test_stats_have_what_a_stock_operator_reads(wire: Stack, provider: StockProvider) -> None:
    stats = await provider.get_gateway_info()
    assert {"gateway", "provider", "autoRefundEnabled", "uptime", "timestamp"} <= set(stats)
    assert stats["network"] == "base-sepolia"
    assert stats["chainId"] == 84532
    assert stats["merchantWallet"].lower() == wire.merchant.lower()
    assert stats["uptime"] >= 0


async def test_the_operator_sees_open_invoices_and_unfinished_refunds(wire: Stack, provider: StockProvider) -> None:
    await provider.generate_payment_details(4711, "films", 5)
    headers = {"Authorization": f"Bearer {wire.admin_key}"}
    answer = await provider.raw("GET", "/api/admin/pending", headers=headers)
    assert answer.status_code == httpx.codes.OK
    assert {"invoices", "refunds"} <= set(answer.json())
