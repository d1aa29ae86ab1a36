"""Probes, health and who may see who is connected."""

from __future__ import annotations

import asyncio

import pytest
from tests.server.conftest import PRICE, OpenShop
from tests.server.peer import Shop

from ws402.protocol import BlockhashResponse
from ws402.provider.mock.provider import MockPaymentProvider

KEY = "status-key-" + "k" * 32


async def test_status_names_users_to_the_holder_of_the_key_only(open_shop: OpenShop) -> None:
    shop = await open_shop(status_key=KEY)
    peer = await shop.buy()
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}, {"Authorization": "Basic " + KEY}):
        answer = await shop.get("/status", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert peer.id not in answer.text
    answer = await shop.get("/status", headers={"Authorization": f"Bearer {KEY}"})
    assert answer.headers["Cache-Control"] == "no-store"
    status = answer.json()
    (session,) = status.pop("sessions")
    assert status == {"provider": "mock", "gatewayUrl": None, "activeSessions": 1}
    assert (session["sessionId"], session["userId"]) == (peer.id, "ann")
    assert session["elapsedSeconds"] == 0
    assert 59 * PRICE < session["remainingBalance"] <= 60 * PRICE


async def test_a38_without_a_key_nobody_sees_it(shop: Shop) -> None:
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer None"}):
        answer = await shop.get("/status", headers=headers)
        assert answer.status_code == 401
        assert "STATUS_KEY" in answer.json()["remedy"]


async def test_it_can_be_made_public(open_shop: OpenShop) -> None:
    shop = await open_shop(status_public=True)
    assert (await shop.get("/status")).json()["activeSessions"] == 0


async def test_the_gateways_health_is_told_apart_from_ours(
    open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ws402.server.web.status.HEALTH_KEPT_SECONDS", 0.0)
    shop = await open_shop()
    assert (await shop.get("/gateway-health")).json() == {"status": "ok"}
    shop.provider.faults.unavailable("ready", times=None)
    answer = await shop.get("/gateway-health")
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
    for probe in ("live", "ready", "startup"):
        assert (await shop.get(f"/health/{probe}")).status_code == 200


async def test_a_gateway_that_hangs_is_unhealthy(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ws402.server.web.status.HEALTH_SECONDS", 0.1)
    shop.provider.faults.delay(5, "ready")
    assert (await shop.get("/gateway-health")).status_code == 503


async def test_a39_many_who_ask_for_the_gateways_health_ask_it_once(shop: Shop) -> None:
    shop.provider.faults.delay(0.2, "ready")
    before = shop.provider.faults.calls.get("ready", 0)
    answers = await asyncio.gather(*(shop.get("/gateway-health") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert shop.provider.faults.calls["ready"] == before + 1


class Counting(MockPaymentProvider):
    """Knows which networks' blockhashes it was asked for."""

    asked: list[str | None]

    async def blockhash(self, network: str | None = None, /) -> BlockhashResponse:
        self.asked.append(network)
        return await super().blockhash(network)


async def test_a39_a_blockhash_is_asked_for_once_in_a_while_and_for_networks_that_are(open_shop: OpenShop) -> None:
    provider = Counting()
    provider.asked = []
    shop = await open_shop(provider=provider)
    for _ in range(3):
        for query in ("", "?network=solana-devnet", "?network="):
            assert (await shop.get(f"/blockhash{query}")).status_code == 501
    for number in range(20):
        answer = await shop.get("/blockhash", params={"network": f"made-up-{number}"})
        assert (answer.status_code, answer.json()["code"]) == (501, "not_implemented")
    assert set(provider.asked) == {None, "solana-devnet"}
    assert len(provider.asked) < 9


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/ws402/qr.svg?text=ethereum:0x", "ws402.server.web.qr.DRAWN_PER_MINUTE"),
        ("/", "ws402.server.web.page.FILES_PER_MINUTE"),
        ("/static/index.html", "ws402.server.web.page.FILES_PER_MINUTE"),
        ("/blockhash", "ws402.server.web.checkout.CALLS_PER_MINUTE"),
        ("/ws402/page", "ws402.server.web.checkout.CALLS_PER_MINUTE"),
        ("/ws402/refund/rf_1", "ws402.server.web.checkout.CALLS_PER_MINUTE"),
        ("/api/resources", "ws402.server.web.schema.LISTS_PER_MINUTE"),
    ],
)
async def test_a39_what_anybody_may_ask_for_has_a_limit_by_address(
    open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch, path: str, limit: str
) -> None:
    monkeypatch.setattr(limit, 3)
    shop = await open_shop(trusted_proxies=["127.0.0.1"])

    async def ask(address: str) -> int:
        return (await shop.get(path, headers={"X-Forwarded-For": address})).status_code

    assert 429 not in [await ask("203.0.113.1") for _ in range(3)]
    assert await ask("203.0.113.1") == 429
    assert await ask("203.0.113.2") != 429


async def test_where_nothing_is_paid_on_solana_there_is_no_blockhash(shop: Shop) -> None:
    answer = await shop.get("/blockhash")
    assert (answer.status_code, answer.json()["code"]) == (501, "not_implemented")
    assert "Solana" in answer.json()["message"]


@pytest.mark.parametrize("path", ["/nothing", "/api", "/ws402/schema", "/health", "/static/../app.py", "/static/x"])
async def test_unknown_paths_are_404_in_the_same_family(shop: Shop, path: str) -> None:
    answer = await shop.get(path)
    assert answer.status_code == 404
    body = answer.json()
    assert body["error"] == "Not Found"
    assert body["message"]


async def test_a_wrong_method_is_405(shop: Shop) -> None:
    answer = await shop.http.post("/ws402/schema/ticker")
    assert (answer.status_code, answer.json()["error"]) == (405, "Method Not Allowed")
