"""Probes, health and who may see who is connected."""

from __future__ import annotations

import pytest
from tests.server.conftest import PRICE, OpenShop
from tests.server.peer import Shop

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


async def test_the_gateways_health_is_told_apart_from_ours(shop: Shop) -> None:
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
