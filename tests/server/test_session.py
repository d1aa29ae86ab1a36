"""The life of a session, as a client sees it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path

import pytest
from tests.server.conftest import PRICE, TICKER, OpenShop
from tests.server.peer import Shop, any_proof

from ws402.protocol import EndReason


async def test_a_paid_session_starts_with_all_that_was_paid(shop: Shop) -> None:
    peer = await shop.buy(seconds=60)
    assert peer.started["balance"] == 60 * PRICE
    assert peer.started["pricePerSecond"] == PRICE
    assert peer.started["maxSessionDuration"] == 3600
    assert peer.started["resumeToken"]
    assert "resumed" not in peer.started


async def test_updates_tell_use_and_what_is_left(shop: Shop) -> None:
    peer = await shop.buy(seconds=60)
    began = time.monotonic()
    first = await peer.expect("usage_update")
    second = await peer.expect("usage_update")
    took = time.monotonic() - began
    for update in (first, second):
        assert update["sessionId"] == peer.id
        assert update["consumedAmount"] + update["remainingBalance"] == 60 * PRICE
        assert update["elapsedSeconds"] == 0
    assert 100 * 1000 <= second["consumedAmount"] <= (took + 0.1) * PRICE
    assert second["consumedAmount"] - first["consumedAmount"] == pytest.approx(100_000, abs=60_000)


async def test_updates_come_at_the_interval_that_is_set(open_shop: OpenShop) -> None:
    shop = await open_shop(update_interval=300)
    peer = await shop.buy()
    await peer.expect("usage_update")
    began = time.monotonic()
    for _ in range(3):
        await peer.expect("usage_update")
    assert time.monotonic() - began == pytest.approx(0.9, abs=0.15)


async def test_a_client_that_closes_pays_for_its_time_and_gets_the_rest(shop: Shop) -> None:
    peer = await shop.buy(seconds=60)
    began = time.monotonic()
    await asyncio.sleep(0.25)
    await peer.close()
    took = time.monotonic() - began
    session = await shop.ended(peer)
    assert session.reason == EndReason.CLIENT_CLOSED
    assert 240_000 <= session.consumed <= (took + 0.05) * PRICE
    assert session.refund.amount == 60 * PRICE - session.consumed


async def test_end_session_is_answered_with_the_refund_and_closes_1000(shop: Shop) -> None:
    peer = await shop.buy(seconds=60)
    await asyncio.sleep(0.1)
    await peer.send({"type": "end_session"})
    ended = await peer.expect("session_ended")
    assert await peer.closed() == (1000, "session ended")
    session = shop.book(peer)
    assert ended == {
        "type": "session_ended",
        "sessionId": peer.id,
        "reason": "client_ended",
        "paidAmount": 60 * PRICE,
        "consumedAmount": session.consumed,
        "refundAmount": session.refunded,
        "refundId": session.refund.id,
    }
    assert session.consumed >= 100_000


async def test_nothing_but_the_news_comes_after_end_session(shop: Shop) -> None:
    peer = await shop.buy()
    shop.provider.faults.delay(0.5, "settle")
    await peer.send({"type": "end_session"})
    await peer.send("still there?")
    await peer.closed()
    after = peer.kinds()[peer.kinds().index("session_ended") + 1 :]
    assert after == []
    assert shop.book(peer).message_count == 0


async def test_an_exhausted_balance_ends_the_session_at_that_moment(open_shop: OpenShop) -> None:
    shop = await open_shop([{**TICKER, "price_per_second": 3}])
    peer = await shop.buy(seconds=1)
    began = time.monotonic()
    code, _ = await peer.closed()
    assert code == 1000
    assert time.monotonic() - began == pytest.approx(1.0, abs=0.25)
    assert peer.kinds()[-2:] == ["balance_exhausted", "session_ended"]
    session = shop.book(peer)
    assert session.reason == EndReason.BALANCE_EXHAUSTED
    assert (session.consumed, session.refunded, session.refund) == (3, 0, None)
    assert session.elapsed_ms == 1000


async def test_a_price_that_does_not_divide_never_takes_more_than_was_paid(open_shop: OpenShop) -> None:
    provider_price = 7_777_777
    shop = await open_shop([{**TICKER, "price_per_second": provider_price}])
    peer = await shop.buy(seconds=1)
    await peer.closed()
    session = shop.book(peer)
    assert session.consumed == session.paid == provider_price
    updates = [message for message in peer.seen if message["type"] == "usage_update"]
    assert all(0 <= update["remainingBalance"] <= provider_price for update in updates)


async def test_the_longest_session_ends_and_the_rest_goes_back(open_shop: OpenShop) -> None:
    shop = await open_shop(max_session_duration=1)
    peer = await shop.buy(seconds=1)
    await peer.prove(any_proof(await shop.invoice(seconds=1, sessionId=peer.id, token=peer.started["resumeToken"])))
    await peer.expect("balance_updated")
    code, _ = await peer.closed()
    assert code == 1000
    assert "max_duration_reached" in peer.kinds()
    session = shop.book(peer)
    assert session.reason == EndReason.MAX_DURATION
    assert session.elapsed_ms == 1000
    assert (session.paid, session.consumed, session.refunded) == (2 * PRICE, PRICE, PRICE)


async def test_the_client_is_warned_before_the_balance_is_used(shop: Shop) -> None:
    peer = await shop.buy(seconds=1)
    low = await peer.expect("balance_low")
    assert low["remainingBalance"] == pytest.approx(PRICE * 0.2, abs=PRICE * 0.1)
    assert low["remainingSeconds"] == 0
    await peer.closed()
    assert peer.kinds().count("balance_low") == 1


async def test_a_refused_proof_is_told_and_closes_1008(shop: Shop) -> None:
    peer = await shop.connect()
    await peer.prove(any_proof("nobody's reference"))
    rejected = await peer.expect("payment_rejected")
    assert rejected["code"] == "unknown_invoice"
    assert rejected["reason"]
    assert (await peer.closed())[0] == 1008


@pytest.mark.parametrize("proof", [{"txHash": 7}, "proof", None, 5, [], {"txHash": {}}])
async def test_a_malformed_proof_closes_1008(shop: Shop, proof: object) -> None:
    peer = await shop.connect()
    await peer.send(json.dumps({"type": "payment_proof", "proof": proof}))
    assert (await peer.expect("payment_rejected"))["code"] == "malformed_proof"
    assert (await peer.closed())[0] == 1008


async def test_a_proof_without_anything_in_it_is_refused_by_the_gateway(shop: Shop) -> None:
    peer = await shop.connect()
    await peer.prove({})
    assert (await peer.expect("payment_rejected"))["code"] == "malformed_proof"


async def test_messages_before_the_proof_are_ignored(shop: Shop) -> None:
    reference = await shop.invoice()
    peer = await shop.connect()
    for message in ("nonsense", '{"type":"ws402:init","resourceId":"ticker"}', '{"type":7}', "[1,2]", b"\x00", "{}"):
        await peer.send(message)
    await peer.prove(any_proof(reference))
    peer.started = await peer.expect("session_started")
    await peer.expect("usage_update")
    assert shop.server.sessions.live[peer.id].message_count == 0


async def test_messages_after_the_proof_count_even_before_the_gateway_has_answered(shop: Shop) -> None:
    reference = await shop.invoice()
    shop.provider.faults.delay(0.3, "verify")
    peer = await shop.connect()
    await peer.prove(any_proof(reference))
    await peer.send("four")
    await peer.send(b"12345678")
    peer.started = await peer.expect("session_started")
    update = await peer.expect("usage_update")
    assert (update["messageCount"], update["bytesTransferred"]) == (2, 12)


async def test_messages_are_counted_in_bytes_as_they_travel(shop: Shop) -> None:
    peer = await shop.buy()
    for message in ("four", "äöü", b"12345678", '{"type": "anything"}'):
        await peer.send(message)
    while (update := await peer.expect("usage_update"))["messageCount"] < 4:
        pass
    assert update["bytesTransferred"] == 4 + 6 + 8 + 20
    await peer.close()
    session = await shop.ended(peer)
    assert (session.message_count, session.bytes_transferred) == (4, 38)


async def test_the_wrong_resource_does_not_get_a_session(open_shop: OpenShop) -> None:
    shop = await open_shop([TICKER, {**TICKER, "id": "dear", "price_per_second": 1000 * PRICE}])
    reference = await shop.invoice("ticker")
    peer = await shop.connect("dear")
    await peer.prove(any_proof(reference))
    assert (await peer.expect("payment_rejected"))["code"] == "resource_mismatch"


async def test_a6_a_socket_without_a_resource_gets_the_one_that_was_paid_at_its_price(open_shop: OpenShop) -> None:
    shop = await open_shop([TICKER, {**TICKER, "id": "dear", "price_per_second": 1000 * PRICE}])
    reference = await shop.invoice("ticker")
    peer = await shop.connect(None)
    await peer.prove(any_proof(reference))
    started = await peer.expect("session_started")
    assert started["pricePerSecond"] == PRICE


async def test_a_price_change_does_not_touch_what_was_quoted(open_shop: OpenShop) -> None:
    old = await open_shop()
    new = await open_shop([{**TICKER, "price_per_second": 5 * PRICE}], provider=old.provider)
    reference = await old.invoice()
    peer = await new.connect()
    await peer.prove(any_proof(reference))
    started = await peer.expect("session_started")
    assert (started["pricePerSecond"], started["balance"]) == (PRICE, 60 * PRICE)


async def test_a_resource_that_this_server_does_not_have_is_refunded_whole(open_shop: OpenShop) -> None:
    other = await open_shop([{**TICKER, "id": "elsewhere"}])
    shop = await open_shop(provider=other.provider)
    reference = await other.invoice("elsewhere")
    peer = await shop.connect(None)
    await peer.prove(any_proof(reference))
    assert (await peer.expect("payment_rejected"))["code"] == "not_found"
    (session,) = await shop.until(lambda: [each for each in shop.provider.sessions.values() if each.state == "ended"])
    assert session.refunded == session.paid == 60 * PRICE


async def test_one_payment_opens_one_session(shop: Shop) -> None:
    reference = await shop.invoice()
    proof = any_proof(reference)
    peers = [await shop.connect() for _ in range(5)]
    await asyncio.gather(*(peer.prove(proof) for peer in peers))
    answers = await asyncio.gather(*(peer.expect("session_started", "payment_rejected") for peer in peers))
    kinds = sorted(answer["type"] for answer in answers)
    assert kinds == ["payment_rejected"] * 4 + ["session_started"]
    assert len(shop.provider.sessions) == 1


async def test_the_user_is_named_by_the_query_or_by_the_extractor(open_shop: OpenShop) -> None:
    plain = await open_shop(status_public=True)
    named = await open_shop(
        status_public=True, callbacks={"user_id_extractor": lambda request: request.header("X-User") or "nobody"}
    )
    await plain.buy()
    await named.buy(additional_headers={"X-User": "carla"})
    for shop, user in ((plain, "ann"), (named, "carla")):
        (session,) = (await shop.get("/status")).json()["sessions"]
        assert session["userId"] == user


async def test_callbacks_learn_of_payment_refund_and_end(open_shop: OpenShop) -> None:
    events: list[object] = []

    async def later(event: object) -> None:
        await asyncio.sleep(0)
        events.append(event)

    shop = await open_shop(
        callbacks={"on_payment_verified": events.append, "on_session_end": later, "on_refund_issued": events.append}
    )
    peer = await shop.buy()
    await asyncio.sleep(0.05)
    await peer.close()
    await shop.ended(peer)
    await shop.until(lambda: len(events) == 3)
    by_name = {type(event).__name__: event for event in events}
    session = shop.book(peer)
    assert by_name["PaymentVerified"].amount == 60 * PRICE  # type: ignore[attr-defined]
    assert by_name["PaymentVerified"].payer == session.payer  # type: ignore[attr-defined]
    assert by_name["RefundIssued"].amount == session.refunded  # type: ignore[attr-defined]
    assert by_name["SessionEnd"].reason == EndReason.CLIENT_CLOSED  # type: ignore[attr-defined]
    assert by_name["SessionEnd"].consumed == session.consumed  # type: ignore[attr-defined]


async def test_a_callback_that_fails_harms_nobody(open_shop: OpenShop, caplog: pytest.LogCaptureFixture) -> None:
    def explode(event: object) -> None:
        raise RuntimeError("boom")

    async def implode(event: object) -> None:
        raise RuntimeError("bang")

    shop = await open_shop(callbacks={"on_payment_verified": explode, "on_session_end": implode})
    peer = await shop.buy()
    await peer.expect("usage_update")
    await peer.close()
    await shop.ended(peer)
    assert "the callback for PaymentVerified failed" in caplog.text
    await shop.until(lambda: "the callback for SessionEnd failed" in caplog.text)


async def test_an_idle_session_has_no_task(shop: Shop) -> None:
    before = len(asyncio.all_tasks())
    peers = [await shop.buy() for _ in range(5)]
    await shop.until(lambda: not shop.server.sessions.calls)
    assert len(peers) == len(shop.server.sessions.live) == 5
    assert len(asyncio.all_tasks()) == before  # the test's clients, without keep-alive, have none either


async def test_amounts_beyond_json_numbers_are_strings(open_shop: OpenShop) -> None:
    shop = await open_shop([{**TICKER, "price_per_second": 10**18}])
    peer = await shop.buy(seconds=3600)
    assert peer.started["balance"] == str(3600 * 10**18)
    assert peer.started["pricePerSecond"] == str(10**18)
    update = await peer.expect("usage_update")
    assert int(update["consumedAmount"]) + int(update["remainingBalance"]) == 3600 * 10**18


async def test_a35_secrets_are_in_no_log_and_no_error(
    open_shop: OpenShop, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "data"
    file.write_bytes(b"x")
    shop = await open_shop(
        [TICKER, {"id": "file", "kind": "file", "target": str(file), "price_per_second": PRICE}], status_key="k" * 40
    )
    reference = await shop.invoice("file")
    peer = await shop.connect("file")
    await peer.prove(any_proof(reference))
    peer.started = await peer.expect("session_started")
    token = (await peer.expect("http_access_granted"))["httpToken"]
    await shop.get("/api/resource/file", params={"token": token})
    await shop.get("/api/resource/ticker", params={"token": token})
    await shop.get("/status", headers={"Authorization": "Bearer " + "k" * 40})
    await peer.close(4000)
    await shop.until(lambda: shop.book(peer).state == "released")
    for _ in range(2):
        again = await shop.connect("file")
        await again.send({"type": "resume", "token": peer.started["resumeToken"]})
        answer = await again.expect("session_started", "payment_rejected")
        assert peer.started["resumeToken"] not in json.dumps(answer)
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "websockets"))]
    written = "\n".join(ours) + "".join(capfd.readouterr())
    for secret in (token, peer.started["resumeToken"], reference, "k" * 40):
        assert secret not in written
