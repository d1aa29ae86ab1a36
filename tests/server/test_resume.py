"""Going on on another socket, and who may."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.server.conftest import PRICE, OpenShop
from tests.server.peer import Peer, Shop, any_proof

from ws402.errors import ForbiddenError
from ws402.provider.mock.faults import Call


async def resume(shop: Shop, token: str, **options: Any) -> tuple[Peer, dict[str, Any]]:
    peer = await shop.connect(**options)
    await peer.send({"type": "resume", "token": token})
    answer = await peer.expect("session_started", "payment_rejected")
    peer.started = answer
    return peer, answer


async def released(shop: Shop, peer: Peer) -> None:
    await shop.until(lambda: shop.book(peer).state == "released")


async def test_a_lost_client_that_asked_for_it_goes_on_without_paying_for_the_gap(shop: Shop) -> None:
    peer = await shop.buy(query="&resumable=1")
    await peer.send("one")
    await peer.expect("usage_update")
    peer.drop()
    await released(shop, peer)
    used = shop.book(peer).elapsed_ms
    await asyncio.sleep(0.5)
    again, answer = await resume(shop, peer.started["resumeToken"])
    assert answer["resumed"] is True
    assert answer["sessionId"] == peer.id
    assert answer["balance"] == 60 * PRICE - used * PRICE // 1000
    update = await again.expect("usage_update")
    assert update["messageCount"] == 1
    assert update["consumedAmount"] < (used + 300) * PRICE // 1000
    await again.close()
    session = await shop.ended(again)
    assert used <= session.elapsed_ms < used + 400


async def test_a_client_that_did_not_ask_is_settled(shop: Shop) -> None:
    peer = await shop.buy()
    peer.drop()
    await shop.ended(peer)
    _, answer = await resume(shop, peer.started["resumeToken"])
    assert answer["code"] == "session_ended"


async def test_close_code_4000_means_back_soon(shop: Shop) -> None:
    peer = await shop.buy()
    await peer.close(4000)
    await released(shop, peer)
    _, answer = await resume(shop, peer.started["resumeToken"])
    assert answer["resumed"] is True


async def test_a_client_that_asked_and_closes_properly_is_settled(shop: Shop) -> None:
    peer = await shop.buy(query="&resumable=1")
    await peer.close()
    await shop.ended(peer)


async def test_a_session_goes_on_on_another_server(open_shop: OpenShop) -> None:
    first = await open_shop()
    second = await open_shop(provider=first.provider)
    peer = await first.buy()
    await peer.close(4000)
    await released(first, peer)
    again, answer = await resume(second, peer.started["resumeToken"])
    assert answer["resumed"] is True
    assert peer.id in second.server.sessions.live
    await again.close()
    assert (await second.ended(peer)).consumed < PRICE


async def test_a36_a_resume_token_works_once(shop: Shop) -> None:
    peer = await shop.buy()
    token = peer.started["resumeToken"]
    await peer.close(4000)
    await released(shop, peer)
    first, answer = await resume(shop, token)
    assert answer["resumed"] is True
    thief, refused = await resume(shop, token)
    assert refused["type"] == "payment_rejected"
    assert (await thief.closed())[0] == 1008
    await first.expect("usage_update")
    assert answer["resumeToken"] != token


async def test_a36_a_session_has_one_live_socket(shop: Shop) -> None:
    old = await shop.buy()
    new, answer = await resume(shop, old.started["resumeToken"])
    assert answer["resumed"] is True
    assert (await old.expect("error"))["code"] == "superseded"
    assert await old.closed() == (4001, "resumed elsewhere")
    await new.expect("usage_update")
    assert len(shop.server.sessions.live) == 1
    assert shop.book(old).state == "live"
    await new.close()
    await shop.ended(new)
    await asyncio.sleep(0.1)
    assert shop.provider.faults.calls["settle"] == 1


async def test_a36_the_old_server_lets_go_at_its_next_checkpoint(open_shop: OpenShop) -> None:
    first = await open_shop(checkpoint_seconds=0.2)
    second = await open_shop(provider=first.provider)
    old = await first.buy()
    new, _ = await resume(second, old.started["resumeToken"])
    assert await old.closed() == (4001, "resumed elsewhere")
    await new.expect("usage_update")
    assert first.book(old).state == "live"


async def test_a36_the_old_socket_cannot_settle_what_has_moved(open_shop: OpenShop) -> None:
    first = await open_shop()
    second = await open_shop(provider=first.provider)
    old = await first.buy()
    new, _ = await resume(second, old.started["resumeToken"])
    await old.close()
    await first.until(lambda: first.provider.faults.calls.get("settle"))
    await new.expect("usage_update")
    assert first.book(old).state == "live"


async def test_a36_guessed_and_broken_tokens_are_refused(shop: Shop) -> None:
    await shop.buy()
    for token in ("", "guess", "x" * 43):
        _, answer = await resume(shop, token)
        assert answer["code"] == "resume_refused"
    peer = await shop.connect()
    await peer.send({"type": "resume", "token": 7})
    assert (await peer.expect("payment_rejected"))["code"] == "resume_refused"


async def test_a36_an_http_token_is_no_resume_token_and_the_session_id_is_neither(shop: Shop) -> None:
    peer = await shop.buy()
    _, answer = await resume(shop, peer.id)
    assert answer["code"] == "resume_refused"


async def test_a_resume_that_the_gateway_cannot_answer_may_be_tried_again(shop: Shop) -> None:
    peer = await shop.buy()
    await peer.close(4000)
    await released(shop, peer)
    shop.provider.faults.unavailable("resume")
    failed = await shop.connect()
    await failed.send({"type": "resume", "token": peer.started["resumeToken"]})
    assert (await failed.expect("error"))["code"] == "unavailable"
    assert (await failed.closed())[0] == 1011
    _, answer = await resume(shop, peer.started["resumeToken"])
    assert answer["resumed"] is True


async def test_a_release_that_the_gateway_missed_is_told_later(shop: Shop) -> None:
    peer = await shop.buy(query="&resumable=1")
    shop.provider.faults.unavailable("release", times=2)
    peer.drop()
    await released(shop, peer)
    assert shop.provider.faults.calls["release"] == 3


async def test_a_topped_up_session_resumes_with_all_its_money(shop: Shop) -> None:
    peer = await shop.buy(seconds=10)
    proof = any_proof(await shop.invoice(seconds=50, sessionId=peer.id, token=peer.started["resumeToken"]))
    await peer.prove(proof)
    await peer.expect("balance_updated")
    await peer.close(4000)
    await released(shop, peer)
    _, answer = await resume(shop, peer.started["resumeToken"])
    assert 59 * PRICE < answer["balance"] < 60 * PRICE


async def test_a_server_that_its_gateway_refuses_refuses_no_payment(shop: Shop) -> None:
    """It is told as a gateway that is away, so that the same proof or token is shown to another server."""
    hellos: dict[Call, dict[str, Any]] = {
        "verify": {"type": "payment_proof", "proof": any_proof("r")},
        "resume": {"type": "resume", "token": "t"},
    }
    for call, hello in hellos.items():
        shop.provider.faults.fail(call, ForbiddenError("No.", code="client_certificate_required"))
        peer = await shop.connect()
        await peer.send(hello)
        assert (await peer.expect("error"))["code"] == "client_certificate_required"
        assert await peer.closed() == (1011, "gateway unavailable")
        assert "payment_rejected" not in peer.kinds()
