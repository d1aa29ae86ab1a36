"""Prices, invoices and the list of resources."""

from __future__ import annotations

import pytest
from tests.server.conftest import PRICE, TICKER, OpenShop
from tests.server.peer import Shop

from ws402.errors import ForbiddenError


async def test_the_schema_has_all_that_a_client_needs(shop: Shop) -> None:
    schema = await shop.schema(duration=120)
    details = schema.pop("paymentDetails")
    assert schema == {
        "protocol": "ws402",
        "version": "0.1.0",
        "resourceId": "ticker",
        "websocketEndpoint": f"ws://127.0.0.1:{shop.server.port}/ticker",
        "pricing": {
            "pricePerSecond": PRICE,
            "currency": "ETH",
            "estimatedDuration": 120,
            "totalPrice": 120 * PRICE,
        },
        "maxSessionDuration": 3600,
    }
    assert details["amount"] == 120 * PRICE
    assert details["pricePerSecond"] == PRICE
    assert details["reference"]


async def test_the_default_is_300_seconds_or_the_longest_session(open_shop: OpenShop) -> None:
    assert (await (await open_shop()).schema())["pricing"]["estimatedDuration"] == 300
    assert (await (await open_shop(max_session_duration=60)).schema())["pricing"]["estimatedDuration"] == 60


@pytest.mark.parametrize("duration", ["0", "-1", "1.5", "1e3", "", "abc", "3601", "99999999999999999999", "٣"])
async def test_a_bad_duration_is_refused_with_a_remedy(shop: Shop, duration: str) -> None:
    answer = await shop.get("/ws402/schema/ticker", params={"duration": duration})
    assert answer.status_code == 400
    body = answer.json()
    assert (body["error"], body["code"]) == ("Bad Request", "bad_request")
    assert "'duration'" in body["message"]
    assert body["remedy"]


async def test_a_server_that_its_gateway_refuses_sends_payers_to_another_one(shop: Shop) -> None:
    shop.provider.faults.fail("generate", ForbiddenError("No.", code="client_certificate_required"))
    answer = await shop.get("/ws402/schema/ticker")
    assert (answer.status_code, answer.json()["code"]) == (503, "client_certificate_required")
    assert (await shop.get("/ws402/schema/ticker")).status_code == 200


@pytest.mark.parametrize("path", ["/ws402/schema/nothing", "/api/resource/nothing/schema", "/api/resource/nothing"])
async def test_an_unknown_resource_is_404(shop: Shop, path: str) -> None:
    answer = await shop.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_nothing_with_a_price_is_cached_and_every_origin_may_read_it(shop: Shop) -> None:
    for path in ("/ws402/schema/ticker", "/api/resource/ticker/schema", "/api/resources", "/api/resource/ticker"):
        answer = await shop.get(path, headers={"Origin": "https://somewhere.example"})
        assert answer.headers["Cache-Control"] == "no-store", path
        assert answer.headers["Access-Control-Allow-Origin"] == "*", path
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert answer.headers["Content-Type"] == "application/json"


async def test_browsers_may_ask_with_a_token(shop: Shop) -> None:
    headers = {
        "Origin": "https://somewhere.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization, range",
    }
    answer = await shop.http.options("/api/resource/ticker", headers=headers)
    assert answer.status_code < 300
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    assert "authorization" in allowed
    assert "range" in allowed


async def test_invoices_are_limited_by_address(open_shop: OpenShop) -> None:
    shop = await open_shop(schema_per_minute=3, trusted_proxies=["127.0.0.1"])
    for _ in range(3):
        await shop.schema()
    answer = await shop.get("/ws402/schema/ticker")
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert (await shop.get("/api/resources")).status_code == 200
    other = {"X-Forwarded-For": "203.0.113.5"}
    assert (await shop.get("/ws402/schema/ticker", headers=other)).status_code == 200


async def test_a_refused_request_costs_the_address_nothing_at_the_gateway(open_shop: OpenShop) -> None:
    shop = await open_shop(schema_per_minute=2)
    for _ in range(5):
        await shop.get("/ws402/schema/ticker", params={"duration": "x"})
    assert "generate" not in shop.provider.faults.calls
    await shop.schema()


async def test_links_use_the_address_that_the_client_used_or_the_public_one(open_shop: OpenShop) -> None:
    plain = await open_shop()
    behind = await open_shop(trusted_proxies=["127.0.0.1"])
    public = await open_shop(public_url="https://pay.example/")
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"}
    for shop, headers, expected in (
        (plain, {"Host": "there.example:81"}, "ws://there.example:81/ticker"),
        (plain, forwarded, f"ws://127.0.0.1:{plain.server.port}/ticker"),
        (behind, forwarded, "wss://shop.example/ticker"),
        (public, forwarded, "wss://pay.example/ticker"),
    ):
        answer = await shop.get("/ws402/schema/ticker", headers=headers)
        assert answer.json()["websocketEndpoint"] == expected


async def test_a_host_that_is_none_is_refused(shop: Shop) -> None:
    answer = await shop.get("/ws402/schema/ticker", headers={"Host": "bad host/<script>"})
    assert answer.status_code == 400
    assert "script" not in answer.text


async def test_a_resource_asks_for_its_own_network_and_asset(open_shop: OpenShop) -> None:
    shop = await open_shop([{**TICKER, "asset": "USDC", "network": "base-sepolia"}, {**TICKER, "id": "coin"}])
    dollars = await shop.schema("ticker")
    assert dollars["pricing"]["currency"] == "USDC"
    assert dollars["paymentDetails"]["currency"] == "ERC20"
    assert (await shop.schema("coin"))["paymentDetails"]["currency"] == "ETH"
    listed = {each["id"]: each["pricing"]["currency"] for each in (await shop.get("/api/resources")).json()}
    assert listed == {"ticker": "USDC", "coin": "ETH"}


async def test_what_the_gateway_refuses_is_passed_on_and_what_it_cannot_answer_is_503(open_shop: OpenShop) -> None:
    wrong = await open_shop([{**TICKER, "network": "nowhere"}])
    answer = await wrong.get("/ws402/schema/ticker")
    assert answer.status_code == 400
    assert "nowhere" in answer.json()["message"]
    away = await open_shop()
    away.provider.faults.unavailable("generate")
    answer = await away.get("/ws402/schema/ticker")
    assert (answer.status_code, answer.json()["error"]) == (503, "Service Unavailable")


async def test_a_bug_shows_no_internals(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def explode(request: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(shop.provider, "generate", explode)
    for path in ("/ws402/schema/ticker", "/api/resource/ticker/schema"):
        answer = await shop.get(path)
        assert answer.status_code == 500
        assert answer.json()["error"] == "Internal Server Error"
        assert "secret" not in answer.text


async def test_a_price_in_coins_travels_in_full_and_is_rounded_up_for_stock_clients(open_shop: OpenShop) -> None:
    resource = {"id": "film", "kind": "ticker", "price": "0.01 USDC per hour"}
    shop = await open_shop([resource])
    schema = await shop.schema(resource="film", duration=100)
    price = {"rates": [{"unit": "seconds", "amount": 25, "per": 9}], "text": "0.01 USDC per hour", "decimals": 6}
    assert schema["pricing"] == {
        "pricePerSecond": 3,
        "currency": "USDC",
        "estimatedDuration": 100,
        "totalPrice": 278,
        "price": price,
    }
    assert schema["paymentDetails"]["amount"] == 278
    assert (schema["paymentDetails"]["asset"], schema["paymentDetails"]["price"]) == ("USDC", price)
    (listed,) = (await shop.get("/api/resources")).json()
    assert listed["pricing"]["price"] == price
    assert (listed["pricing"]["currency"], listed["pricing"]["pricePerSecond"]) == ("USDC", 3)


async def test_a_price_counted_by_other_decimals_than_the_asset_has_gets_no_invoice(open_shop: OpenShop) -> None:
    resource = {"id": "film", "kind": "ticker", "price": "0.36 USDC per hour", "decimals": 18}
    answer = await (await open_shop([resource])).get("/ws402/schema/film")
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong_decimals")
    assert "decimals = 6" in answer.json()["remedy"]


async def test_a_list_tells_what_the_gateway_asks_for_before_any_invoice(open_shop: OpenShop) -> None:
    shop = await open_shop([TICKER, {**TICKER, "id": "coin", "asset": "USDC"}])
    listed = {each["id"]: each for each in (await shop.get("/api/resources")).json()}
    assert (listed["ticker"]["pricing"]["currency"], listed["ticker"]["decimals"]) == ("ETH", 18)
    assert (listed["coin"]["pricing"]["currency"], listed["coin"]["decimals"]) == ("USDC", 6)
    assert {each["network"] for each in listed.values()} == {"base-sepolia"}
    assert shop.provider.service.book.invoices == {}
