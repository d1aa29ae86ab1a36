"""Paying more for a live session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.server.conftest import PRICE, TICKER, OpenShop
from tests.server.peer import Peer, Shop, any_proof


async def top_up_proof(shop: Shop, peer: Peer, seconds: int = 60) -> dict[str, Any]:
    token = peer.started["resumeToken"]
    return any_proof(await shop.invoice(seconds=seconds, sessionId=peer.id, token=token))


async def test_a_top_up_is_added_and_lengthens_the_session(shop: Shop) -> None:
    peer = await shop.buy(seconds=1)
    await peer.prove(await top_up_proof(shop, peer, seconds=1))
    updated = await peer.expect("balance_updated")
    assert updated["added"] == PRICE
    assert PRICE < updated["remainingBalance"] < 2 * PRICE
    await peer.closed()
    session = shop.book(peer)
    assert (session.paid, session.consumed, session.elapsed_ms) == (2 * PRICE, 2 * PRICE, 2000)


async def test_the_warning_comes_again_after_a_top_up(shop: Shop) -> None:
    peer = await shop.buy(seconds=1)
    proof = await top_up_proof(shop, peer, seconds=1)
    await peer.expect("balance_low")
    await peer.prove(proof)
    await peer.expect("balance_updated")
    await peer.expect("balance_low")


async def test_a40_many_top_ups_at_once_are_each_credited_once(shop: Shop) -> None:
    peer = await shop.buy(seconds=60)
    proofs = [await top_up_proof(shop, peer, seconds=10) for _ in range(4)]
    shop.provider.faults.delay(0.05, "verify")
    for proof in proofs:
        await peer.prove(proof)
    answers = [await peer.expect("balance_updated") for _ in proofs]
    assert all(answer["added"] == 10 * PRICE for answer in answers)
    assert shop.server.sessions.live[peer.id].meter.paid == 100 * PRICE
    await peer.close()
    session = await shop.ended(peer)
    assert session.paid == 100 * PRICE
    assert session.consumed + session.refunded == 100 * PRICE


async def test_a40_the_same_proof_again_adds_nothing_and_ends_nothing(shop: Shop) -> None:
    peer = await shop.buy(seconds=60)
    proof = await top_up_proof(shop, peer)
    for _ in range(3):
        await peer.prove(proof)
    answers = [await peer.expect("balance_updated", "payment_rejected") for _ in range(3)]
    assert [answer["type"] for answer in answers] == ["balance_updated", "payment_rejected", "payment_rejected"]
    assert {answer.get("code") for answer in answers[1:]} == {"already_claimed"}
    assert shop.server.sessions.live[peer.id].meter.paid == 120 * PRICE
    await peer.expect("usage_update")


async def test_a40_two_sessions_cannot_share_a_top_up(shop: Shop) -> None:
    one, two = await shop.buy(), await shop.buy()
    proof = await top_up_proof(shop, one)
    await asyncio.gather(one.prove(proof), two.prove(proof))
    answers = await asyncio.gather(*(peer.expect("balance_updated", "payment_rejected") for peer in (one, two)))
    credited = [answer for answer in answers if answer["type"] == "balance_updated"]
    assert len(credited) <= 1
    paid = sum(shop.server.sessions.live[peer.id].meter.paid for peer in (one, two))
    assert paid == (120 + 60 * len(credited)) * PRICE
    assert paid == sum(shop.book(peer).paid for peer in (one, two))


async def test_a40_a_flood_of_top_ups_is_refused_beyond_a_few(shop: Shop) -> None:
    peer = await shop.buy()
    shop.provider.faults.delay(0.2, "verify")
    for _ in range(20):
        await peer.prove(any_proof("nobody's"))
    assert (await peer.expect("error"))["code"] == "rate_limited"
    assert (await peer.expect("payment_rejected"))["code"] == "unknown_invoice"
    await peer.expect("usage_update")
    assert shop.provider.faults.calls["verify"] <= 6


async def test_a40_a_top_up_that_arrives_while_the_session_ends_is_refunded(shop: Shop) -> None:
    peer = await shop.buy(seconds=1)
    proof = await top_up_proof(shop, peer, seconds=5)
    await asyncio.sleep(0.8)
    shop.provider.faults.delay(0.4, "verify")
    shop.provider.faults.delay(0.6, "settle")
    await peer.prove(proof)
    await peer.closed()
    session = await shop.ended(peer)
    assert session.paid == 6 * PRICE
    assert session.consumed == PRICE
    assert session.refunded == 5 * PRICE


async def test_a_gateway_that_is_away_does_not_end_the_session(shop: Shop) -> None:
    peer = await shop.buy()
    proof = await top_up_proof(shop, peer)
    shop.provider.faults.unavailable("verify")
    await peer.prove(proof)
    assert (await peer.expect("error"))["code"] == "unavailable"
    await peer.prove(proof)
    await peer.expect("balance_updated")


async def test_an_invoice_for_a_top_up_wants_the_sessions_own_token(open_shop: OpenShop) -> None:
    shop = await open_shop([TICKER, {**TICKER, "id": "other"}])
    peer, stranger = await shop.buy(), await shop.buy()
    path = "/ws402/schema/ticker"
    for query in (
        {"sessionId": peer.id},
        {"sessionId": peer.id, "token": "guess"},
        {"sessionId": peer.id, "token": stranger.started["resumeToken"]},
        {"sessionId": "ses_nobody", "token": peer.started["resumeToken"]},
    ):
        answer = await shop.get(path, params=query)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), query
    header = {"Authorization": f"Bearer {peer.started['resumeToken']}"}
    assert (await shop.get(path, params={"sessionId": peer.id}, headers=header)).status_code == 200
    wrong = await shop.get("/ws402/schema/other", params={"sessionId": peer.id}, headers=header)
    assert (wrong.status_code, wrong.json()["code"]) == (400, "resource_mismatch")


async def test_a36_any_server_gives_the_invoice_for_a_top_up_to_the_holder_of_the_token(open_shop: OpenShop) -> None:
    """Behind one address the request for the schema seldom reaches the server that holds the session."""
    holder = await open_shop()
    dearer = await open_shop([{**TICKER, "price_per_second": 5 * PRICE}], provider=holder.provider)
    peer, stranger = await holder.buy(), await holder.buy()
    guess = {"sessionId": peer.id, "token": stranger.started["resumeToken"]}
    assert (await dearer.get("/ws402/schema/ticker", params=guess)).status_code == 404
    schema = await dearer.schema(duration=10, sessionId=peer.id, token=peer.started["resumeToken"])
    assert (schema["pricing"]["pricePerSecond"], schema["pricing"]["totalPrice"]) == (PRICE, 10 * PRICE)
    await peer.prove(any_proof(schema["paymentDetails"]["reference"]))
    assert (await peer.expect("balance_updated"))["added"] == 10 * PRICE
    await peer.close()
    assert (await holder.ended(peer)).paid == 70 * PRICE


async def test_a_top_up_keeps_the_price_of_its_session(open_shop: OpenShop) -> None:
    shop = await open_shop()
    peer = await shop.buy()
    shop.server.sessions.live[peer.id].resource.settings = shop.server.sessions.live[
        peer.id
    ].resource.settings.model_copy(update={"price_per_second": 99 * PRICE})
    schema = await shop.schema(duration=10, sessionId=peer.id, token=peer.started["resumeToken"])
    assert schema["paymentDetails"]["amount"] == 10 * PRICE
    assert schema["pricing"]["totalPrice"] == 10 * PRICE


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"payment_proof","proof":"x"}',
        '{"type":"payment_proof"}',
        '["payment_proof"]',
        '{"kind":"payment_proof","note":"end_session"}',
        '{"type":"chat","text":"say \\"end_session\\""}',
        '{"type":"resume","token":"x"}',
        '{"type":"payment_proof","proof":{"txHash":"0x1"},"padding":"' + "x" * 20_000 + '"}',
    ],
)
async def test_what_is_not_ours_in_a_live_session_goes_to_the_resource(open_shop: OpenShop, message: str) -> None:
    echo = {**TICKER, "id": "echo", "kind": "python", "target": "tests.server.samples:echo"}
    shop = await open_shop([echo])
    peer = await shop.buy("echo")
    await peer.send(message)
    async with asyncio.timeout(5):
        while (received := await peer.socket.recv()) != message:
            assert '"usage_update"' in str(received)
