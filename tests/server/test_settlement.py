"""The end of a session reaches the gateway: once, exactly, whatever stands between."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.server.conftest import PRICE, OpenShop
from tests.server.peer import Shop

from ws402.errors import ConflictError, ForbiddenError, RateLimitedError, UnauthorizedError, WS402Error
from ws402.protocol import EndReason


async def test_a_gateway_that_is_away_learns_the_exact_end_later(shop: Shop) -> None:
    peer = await shop.buy()
    shop.provider.faults.unavailable("settle", times=2)
    began = time.monotonic()
    await peer.close()
    used = time.monotonic() - began
    session = await shop.ended(peer)
    assert shop.provider.faults.calls["settle"] == 3
    assert session.consumed <= (used + 0.3) * PRICE
    assert session.reason == EndReason.CLIENT_CLOSED


async def test_a19_a_lost_answer_does_not_change_or_double_the_settlement(shop: Shop) -> None:
    peer = await shop.buy()
    shop.provider.faults.lose_answer("settle", times=2)
    await peer.close()
    session = await shop.ended(peer)
    consumed, refunded = session.consumed, session.refunded
    await shop.until(lambda: shop.provider.faults.calls["settle"] == 3)
    await shop.until(lambda: shop.server.sessions.ends.waiting == 0)
    assert (session.consumed, session.refunded) == (consumed, refunded)
    assert len(shop.provider.refunds) == 1


async def test_many_sessions_that_end_while_the_gateway_is_away_are_all_settled(shop: Shop) -> None:
    peers = [await shop.buy() for _ in range(20)]
    shop.provider.faults.unavailable("settle", times=None)
    await asyncio.gather(*(peer.close() for peer in peers))
    await shop.until(lambda: shop.server.sessions.ends.waiting == 20)
    assert len([task for task in asyncio.all_tasks() if task.get_name() == "ws402-settlements"]) == 1
    shop.provider.faults.clear()
    for peer in peers:
        await shop.ended(peer)
    assert len(shop.provider.refunds) == 20


async def test_a_slow_gateway_does_not_hold_the_client_for_ever(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ws402.server.sessions.session.SETTLE_SECONDS", 0.3)
    peer = await shop.buy()
    shop.provider.faults.delay(1, "settle")
    began = time.monotonic()
    await peer.send({"type": "end_session"})
    assert await peer.closed() == (1000, "session ended")
    assert time.monotonic() - began == pytest.approx(0.35, abs=0.15)
    assert "session_ended" not in peer.kinds()
    await shop.ended(peer)


async def test_a_refusal_is_final(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    peer = await shop.buy()
    shop.provider.faults.fail("settle", ConflictError("It moved.", code="superseded"))
    await peer.send({"type": "end_session"})
    assert (await peer.closed())[0] == 1000
    await asyncio.sleep(0.1)
    assert shop.provider.faults.calls["settle"] == 1
    assert "superseded" in caplog.text


@pytest.mark.parametrize("error", [UnauthorizedError("No."), ForbiddenError("No.", code="client_certificate_required")])
async def test_a_server_that_its_gateway_refuses_keeps_its_sessions_and_their_ends(
    shop: Shop, error: WS402Error
) -> None:
    peer = await shop.buy()
    for call in ("checkpoint", "settle"):
        shop.provider.faults.fail(call, error, times=2)
    await peer.send("still here")
    await peer.expect("usage_update")
    await peer.close()
    session = await shop.ended(peer)
    assert shop.provider.faults.calls["settle"] == 3
    assert session.reason == EndReason.CLIENT_CLOSED


async def test_a_gateway_that_asks_for_patience_is_asked_again(shop: Shop) -> None:
    peer = await shop.buy()
    shop.provider.faults.fail("settle", RateLimitedError("Slow down.", retry_after=1))
    await peer.close()
    await shop.ended(peer)


async def test_a_bug_in_the_provider_loses_no_settlement(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = await shop.buy()
    settle = shop.provider.settle
    failures = iter([RuntimeError("a bug")])

    async def explode(request: object) -> object:
        for error in failures:
            raise error
        return await settle(request)  # type: ignore[arg-type]

    monkeypatch.setattr(shop.provider, "settle", explode)
    await peer.close()
    await shop.ended(peer)


async def test_checkpoints_tell_the_use_of_every_live_session(open_shop: OpenShop) -> None:
    shop = await open_shop(checkpoint_seconds=0.1)
    peers = [await shop.buy() for _ in range(3)]
    await peers[0].send(b"12345")
    began = time.monotonic()
    await shop.until(lambda: all(shop.book(peer).elapsed_ms >= 500 for peer in peers))
    for peer in peers:
        assert shop.book(peer).elapsed_ms <= (time.monotonic() - began) * 1000 + 500
        assert shop.book(peer).state == "live"
    assert (shop.book(peers[0]).bytes_transferred, shop.book(peers[0]).message_count) == (5, 1)


async def test_checkpoints_go_on_after_the_gateway_was_away(
    open_shop: OpenShop, caplog: pytest.LogCaptureFixture
) -> None:
    shop = await open_shop(checkpoint_seconds=0.1)
    peer = await shop.buy()
    shop.provider.faults.unavailable("checkpoint", times=5)
    await shop.until(lambda: shop.book(peer).elapsed_ms > 0)
    assert caplog.text.count("does not take checkpoints") == 1
    await peer.expect("usage_update")


@pytest.mark.parametrize(
    ("reason", "code", "kind"),
    [
        (EndReason.REORGED, 1008, "payment_rejected"),
        (EndReason.REFUND_REQUESTED, 1000, "error"),
        (EndReason.SERVER_VANISHED, 1000, "error"),
    ],
)
async def test_a15_a_session_that_the_gateway_ended_is_served_no_longer(
    open_shop: OpenShop, reason: EndReason, code: int, kind: str
) -> None:
    shop = await open_shop(checkpoint_seconds=0.1)
    peer = await shop.buy()
    shop.provider.end_session(peer.id, reason)
    told = await peer.expect(kind)
    assert told["code"] == reason
    assert (await peer.closed())[0] == code
    assert not shop.server.sessions.live
    await asyncio.sleep(0.1)
    assert "settle" not in shop.provider.faults.calls


async def test_a_session_that_the_gateway_does_not_know_is_served_no_longer(open_shop: OpenShop) -> None:
    shop = await open_shop(checkpoint_seconds=0.1)
    peer = await shop.buy()
    lost = shop.provider.sessions.pop(peer.id)
    assert (await peer.expect("error"))["code"] == "unknown_session"
    assert (await peer.closed())[0] == 1000
    shop.provider.end_session(shop.provider.sessions.setdefault(peer.id, lost).id)
