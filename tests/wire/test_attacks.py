"""Attacks that stock peers can make, by their number, over HTTP, WebSocket and a real chain, in both modes.

The money that an attack moves is looked at where it is real: on the chain.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.fixtures.stack import PRICE, MakeStack, Stack
from tests.wire.conftest import SETTINGS, MakeClient, MakeWallet, on_both_ledgers, strict_only
from tests.wire.peers.client import Mode, StockClient, StockSession
from tests.wire.peers.provider import ProviderError, StockProvider
from tests.wire.peers.server import StockServer

pytestmark = on_both_ledgers

SECONDS = 300
DEPOSIT = SECONDS * PRICE


async def refused(provider: StockProvider, proof: dict[str, Any]) -> str:
    """The reason for which a proof is refused."""
    answer = await provider.verify_payment(proof)
    assert answer["valid"] is False, answer
    assert answer["amount"] == 0
    assert answer["reason"]
    return str(answer["reason"])


async def rejected(client: StockClient, resource_id: str, proof: dict[str, Any]) -> dict[str, Any]:
    """The answer of a server that refuses a proof; it must close 1008."""
    async with await client.open(resource_id) as session:
        await session.init()
        await session.prove(proof)
        answer = await session.expect("payment_rejected")
        assert (await session.closed())[0] == 1008
        return answer


async def settles(client: StockClient, before: int, refund: int) -> None:
    """Wait for a refund of exactly this much, and long enough to see that no second one follows."""
    assert await client.wallet.wait_for_balance(before + refund) == before + refund
    await asyncio.sleep(1.5)
    assert await client.wallet.balance() == before + refund


async def test_a01_a_transaction_is_refused_under_another_reference(
    client: MakeClient, provider: StockProvider
) -> None:
    peer = await client()
    first = await provider.generate_payment_details(DEPOSIT, "films", SECONDS)
    second = await provider.generate_payment_details(DEPOSIT, "films", SECONDS)
    proof = await peer.pay(first)
    assert (await provider.verify_payment(proof))["valid"]
    await refused(provider, peer.proof(second, proof["txHash"]))
    await refused(provider, peer.proof(second, proof["txHash"].upper().replace("0X", "0x")))


async def test_a01_a_proof_opens_one_session_at_a_server(wire: Stack, client: MakeClient) -> None:
    peer = await client()
    schema = await peer.schema("ticker")
    proof = await peer.pay(schema["paymentDetails"])
    elsewhere = await client(wire.server_urls[1], peer.wallet)
    async with await peer.open("ticker") as session:
        await session.start(proof)
        await rejected(peer, "ticker", proof)
        await rejected(elsewhere, "ticker", proof)
        await session.expect("usage_update")
    await rejected(peer, "ticker", proof)


async def test_a02_a_proof_raced_on_two_servers_opens_one_session(wire: Stack, client: MakeClient) -> None:
    peer = await client()
    schema = await peer.schema("ticker")
    proof = await peer.pay(schema["paymentDetails"])
    before = await peer.wallet.balance()
    others = [await client(url, peer.wallet) for url in wire.server_urls]
    sessions = [await others[turn % 2].open("ticker") for turn in range(10)]

    async def race(session: StockSession) -> str:
        await session.prove(proof)
        return str((await session.expect("session_started", "payment_rejected"))["type"])

    kinds = await asyncio.gather(*(race(session) for session in sessions))
    assert sorted(kinds) == ["payment_rejected"] * 9 + ["session_started"]
    for session in sessions:
        await session.close()
    after = await peer.wallet.wait_for_balance(before + 1)
    assert before < after < before + DEPOSIT


async def test_a02_a_proof_raced_by_stock_servers_is_valid_for_one(client: MakeClient, provider: StockProvider) -> None:
    peer = await client()
    proof = await peer.pay(await provider.generate_payment_details(DEPOSIT, "films", SECONDS))
    answers = await asyncio.gather(*(provider.verify_payment(proof) for _ in range(10)))
    assert sum(answer["valid"] for answer in answers) == 1


@strict_only
async def test_a03_another_persons_transaction_is_worth_nothing(client: MakeClient, provider: StockProvider) -> None:
    victim, thief = await client(), await client()
    details = await provider.generate_payment_details(DEPOSIT, "films", SECONDS)
    proof = await victim.pay(details)
    own = await provider.generate_payment_details(DEPOSIT, "films", SECONDS)
    await refused(provider, {**proof, "reference": own["reference"]})
    await refused(provider, {**proof, "reference": own["reference"], "senderAddress": thief.wallet.address})
    assert (await provider.verify_payment(proof))["valid"], "the victim's payment must still be worth a session"


async def test_a03_a_thief_who_names_himself_as_the_sender_is_refused(
    client: MakeClient, provider: StockProvider
) -> None:
    victim, thief = await client(), await client()
    proof = await victim.pay(await provider.generate_payment_details(DEPOSIT, "films", SECONDS))
    await refused(provider, {**proof, "senderAddress": thief.wallet.address})
    assert (await provider.verify_payment(proof))["valid"]


async def test_a04_a_transaction_older_than_the_invoice_is_refused(client: MakeClient, provider: StockProvider) -> None:
    peer = await client()
    abandoned = await provider.generate_payment_details(DEPOSIT, "films", SECONDS)
    tx = (await peer.pay(abandoned, mode="legacy"))["txHash"]
    await asyncio.sleep(5)  # block times are whole seconds, and a few are tolerated
    details = await provider.generate_payment_details(DEPOSIT, "films", SECONDS)
    await refused(provider, peer.proof(details, tx))


async def test_a06_a_payment_for_a_cheap_resource_does_not_open_a_dear_one(client: MakeClient) -> None:
    peer = await client()
    schema = await peer.schema("ticker")
    proof = await peer.pay(schema["paymentDetails"])
    await rejected(peer, "dear", proof)
    async with await peer.open("ticker") as session:
        await session.start(proof)
        assert session.balance == DEPOSIT


async def test_a10_less_than_the_price_opens_nothing(client: MakeClient, provider: StockProvider) -> None:
    peer = await client()
    for short in (1, DEPOSIT // 100, DEPOSIT - 1):
        details = await provider.generate_payment_details(DEPOSIT, "films", SECONDS)
        await refused(provider, await peer.pay(details, amount=DEPOSIT - short))


@strict_only
async def test_a10_an_underpayment_that_names_its_invoice_is_refunded(
    client: MakeClient, provider: StockProvider
) -> None:
    peer = await client()
    details = await provider.generate_payment_details(DEPOSIT, "films", SECONDS)
    proof = await peer.pay(details, amount=DEPOSIT - 1)
    before = await peer.wallet.balance()
    await refused(provider, proof)
    await settles(peer, before, DEPOSIT - 1)


async def test_a16_a_refund_goes_to_the_payer_whoever_is_named(client: MakeClient, provider: StockProvider) -> None:
    peer, thief = await client(), await client()
    proof = await peer.pay(await provider.generate_payment_details(DEPOSIT, "films", SECONDS))
    assert (await provider.verify_payment(proof))["valid"]
    before, stolen = await peer.wallet.balance(), await thief.wallet.balance()
    try:
        answer = await provider.issue_refund({**proof, "senderAddress": thief.wallet.address}, DEPOSIT)
        assert answer["recipient"].lower() == peer.wallet.address.lower()
    except ProviderError as refusal:
        assert refusal.status in {400, 403, 404, 409}  # noqa: PT017 - either answer keeps the money safe
        await provider.issue_refund(proof, DEPOSIT)
    await settles(peer, before, DEPOSIT)
    assert await thief.wallet.balance() == stolen


async def test_a17_more_than_was_paid_is_never_refunded(client: MakeClient, provider: StockProvider) -> None:
    peer = await client()
    proof = await peer.pay(await provider.generate_payment_details(DEPOSIT, "films", SECONDS))
    assert (await provider.verify_payment(proof))["valid"]
    before = await peer.wallet.balance()
    for excess in (1, DEPOSIT, 10**30):
        with pytest.raises(ProviderError) as refusal:
            await provider.issue_refund(proof, DEPOSIT + excess)
        assert refusal.value.status == 409
        assert refusal.value.body["error"] == "Conflict"
        assert int(refusal.value.body["refundable"]) == DEPOSIT
    assert (await provider.issue_refund(proof, DEPOSIT))["amount"] == DEPOSIT
    await settles(peer, before, DEPOSIT)


async def test_a17_a_second_refund_of_another_amount_is_refused(client: MakeClient, provider: StockProvider) -> None:
    peer = await client()
    proof = await peer.pay(await provider.generate_payment_details(DEPOSIT, "films", SECONDS))
    assert (await provider.verify_payment(proof))["valid"]
    before = await peer.wallet.balance()
    await provider.issue_refund(proof, DEPOSIT // 2)
    for amount in (DEPOSIT, DEPOSIT // 2 + 1, DEPOSIT // 2 - 1):
        with pytest.raises(ProviderError) as refusal:
            await provider.issue_refund(proof, amount)
        assert refusal.value.status == 409
    await settles(peer, before, DEPOSIT // 2)


async def test_a18_a_server_that_ends_a_session_twice_refunds_once(client: MakeClient, provider: StockProvider) -> None:
    async with StockServer(provider, price_per_second=PRICE, ends_twice=True) as server:
        peer = await client(server.url)
        session = await peer.buy("films")
        before = await peer.wallet.balance()
        session.drop()
        async with asyncio.timeout(20):
            while len(server.refunds) + len(server.refund_errors) < 2:
                await asyncio.sleep(0.05)
    amounts = {answer["amount"] for answer in server.refunds}
    assert len(amounts) == 1
    await settles(peer, before, amounts.pop())


async def test_a18_refund_calls_raced_pay_once(client: MakeClient, provider: StockProvider) -> None:
    peer = await client()
    proof = await peer.pay(await provider.generate_payment_details(DEPOSIT, "films", SECONDS))
    assert (await provider.verify_payment(proof))["valid"]
    before = await peer.wallet.balance()
    calls = [provider.issue_refund(proof, DEPOSIT // 2) for _ in range(20)]
    answers = await asyncio.gather(*calls)
    assert {answer["amount"] for answer in answers} == {DEPOSIT // 2}
    await settles(peer, before, DEPOSIT // 2)


async def test_a20_a_refund_below_its_gas_is_told_and_kept_as_credit(
    client: MakeClient, provider: StockProvider
) -> None:
    peer = await client()
    proof = await peer.pay(await provider.generate_payment_details(DEPOSIT, "films", SECONDS))
    assert (await provider.verify_payment(proof))["valid"]
    before = await peer.wallet.balance()
    first = await provider.issue_refund(proof, 5)
    assert first["amount"] == 5
    await asyncio.sleep(3)
    assert await peer.wallet.balance() == before, "a refund of 5 wei costs more than it is worth"
    details = await provider.generate_payment_details(DEPOSIT, "films", SECONDS)
    proof = await peer.pay(details)
    assert (await provider.verify_payment(proof))["valid"]
    before = await peer.wallet.balance()
    await provider.issue_refund(proof, DEPOSIT)
    await settles(peer, before, DEPOSIT + 5)


async def test_a21_time_is_charged_to_the_moment_of_the_close(wire: Stack, client: MakeClient) -> None:
    url = wire.server_urls[1]
    for leave in ("close", "drop"):
        peer = await client(url)
        schema = await peer.schema("ticker")
        proof = await peer.pay(schema["paymentDetails"])
        before = await peer.wallet.balance()
        session = await peer.open("ticker")
        await session.start(proof)
        began = time.monotonic()
        await asyncio.sleep(1.3)
        if leave == "close":
            await session.close()
        else:
            session.drop()
        elapsed = time.monotonic() - began
        after = await peer.wallet.wait_for_balance(before + 1)
        consumed = DEPOSIT - (after - before)
        assert 1.25 * PRICE <= consumed <= (elapsed + 2) * PRICE, leave


async def test_a35_answers_with_payment_details_are_not_cached(
    wire: Stack, client: MakeClient, provider: StockProvider
) -> None:
    peer = await client()
    for path in ("/ws402/schema/ticker", "/api/resource/ticker/schema", "/api/resource/ticker?token=x"):
        assert "no-store" in (await peer.get(path)).headers["Cache-Control"], path
    body = {"amount": 1000, "resourceId": "films", "estimatedDuration": 1}
    answer = await provider.raw("POST", "/api/payment/generate", json=body)
    assert "no-store" in answer.headers["Cache-Control"]


async def test_a35_a38_secrets_are_in_no_log(wire: Stack, client: MakeClient) -> None:
    peer = await client()
    schema = await peer.schema("ticker")
    proof = await peer.pay(schema["paymentDetails"])
    async with await peer.open("ticker") as session:
        await session.start(proof)
    await peer.get("/api/resource/ticker", params={"token": "a-secret-session-token"})
    written = "".join(part.output() for part in [*wire.gateways, *wire.servers])
    key = wire.merchant_key.removeprefix("0x")
    for secret in (wire.api_key, wire.admin_key, key, proof["reference"], "a-secret-session-token"):
        assert secret not in written


async def test_a37_another_tenants_server_reaches_no_session_and_no_invoice(
    wire: Stack, client: MakeClient, provider: StockProvider
) -> None:
    peer = await client()
    proof = await peer.pay(await provider.generate_payment_details(DEPOSIT, "films", SECONDS))
    async with StockProvider(wire.gateway_url, wire.other_key) as other:
        await refused(other, proof)
        assert (await provider.verify_payment(proof))["valid"]
        with pytest.raises(ProviderError) as refusal:
            await other.issue_refund(proof, DEPOSIT)
    assert refusal.value.status == 404
    before = await peer.wallet.balance()
    await provider.issue_refund(proof, DEPOSIT)
    await settles(peer, before, DEPOSIT)


@strict_only
async def test_a43_an_overpayment_is_credited_and_refunded_at_the_end(client: MakeClient) -> None:
    peer = await client()
    schema = await peer.schema("ticker", 60)
    proof = await peer.pay(schema["paymentDetails"], amount=DEPOSIT)
    before = await peer.wallet.balance()
    async with await peer.open("ticker") as session:
        await session.start(proof)
        assert session.balance == DEPOSIT
    after = await peer.wallet.wait_for_balance(before + 1)
    assert after - before > DEPOSIT - 10 * PRICE


@pytest.mark.slow
async def test_a44_a_late_payment_opens_no_session_and_comes_back(
    client: MakeClient, wallet: MakeWallet, make_stack: MakeStack, mode: Mode
) -> None:
    stack = make_stack(gateway_settings={**SETTINGS[mode], "INVOICE_SECONDS": "30"}, servers=0)
    peer = await client(payer=await wallet(stack))
    async with StockProvider(stack.gateway_url, stack.api_key) as provider:
        details = await provider.generate_payment_details(DEPOSIT, "films", SECONDS)
        await asyncio.sleep(35)
        proof = await peer.pay(details)
        before = await peer.wallet.balance()
        await refused(provider, proof)
    assert await peer.wallet.wait_for_balance(before + DEPOSIT, 90) == before + DEPOSIT
