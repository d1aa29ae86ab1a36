"""The gateway's calls over HTTP, in exactly the wire's shapes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ws402.testing import MockGateway

GENERATE = {"amount": 300_000, "resourceId": "feed", "estimatedDuration": 300}
SENDER = "0x" + "ab" * 20


@pytest.fixture
async def http(ws402_gateway: MockGateway) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {ws402_gateway.api_key}", "X-WS402-Provider": "proxy"}
    async with httpx.AsyncClient(base_url=ws402_gateway.url, headers=headers) as client:
        yield client


async def post(http: httpx.AsyncClient, path: str, body: Any, status: int = 200) -> dict[str, Any]:
    answer = await http.post(path, json=body)
    assert answer.status_code == status, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def proof(http: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    details = await post(http, "/api/payment/generate", GENERATE | more)
    return {
        "txHash": "0x" + details["reference"].encode().hex(),
        "reference": details["reference"],
        "senderAddress": SENDER,
    }


async def test_generate_answers_payment_details(http: httpx.AsyncClient) -> None:
    details = await post(http, "/api/payment/generate", GENERATE)
    assert (details["type"], details["network"], details["chainId"]) == ("base", "base-sepolia", 84532)
    assert details["amount"] == details["amountWei"] == 300_000
    assert details["amountETH"] == "0.0000000000003"
    assert (details["resourceId"], details["estimatedDuration"], details["currency"]) == ("feed", 300, "ETH")
    assert details["expiresAt"] > details["timestamp"]
    assert "tokenAddress" not in details


async def test_amounts_beyond_json_numbers_travel_as_strings(http: httpx.AsyncClient) -> None:
    details = await post(http, "/api/payment/generate", GENERATE | {"amount": str(10**18)})
    assert (details["amount"], details["amountETH"]) == (str(10**18), "1")
    details = await post(http, "/api/payment/generate", GENERATE | {"amount": 2**53})
    assert details["amount"] == str(2**53)


async def test_verify_and_refund_as_a_stock_server_calls_them(http: httpx.AsyncClient) -> None:
    shown = await proof(http)
    verified = await post(http, "/api/payment/verify", {"proof": shown, "timestamp": 1})
    assert verified["valid"] is True
    assert (verified["amount"], verified["payer"], verified["asset"]) == (300_000, SENDER, "ETH")
    refund = await post(http, "/api/payment/refund", {"proof": shown, "amount": 1000, "timestamp": 2})
    assert (refund["status"], refund["amount"], refund["recipient"]) == ("success", 1000, SENDER)
    assert refund["message"]
    assert refund["timestamp"]


async def test_a_refused_proof_is_an_answer(http: httpx.AsyncClient) -> None:
    shown = await proof(http)
    answer = await post(http, "/api/payment/verify", {"proof": shown | {"reference": "other"}})
    assert answer == {"valid": False, "amount": 0, "code": "unknown_invoice", "reason": answer["reason"]}


async def test_a_refund_above_what_is_left_is_a_conflict_that_says_what_is(http: httpx.AsyncClient) -> None:
    shown = await proof(http)
    await post(http, "/api/payment/verify", {"proof": shown})
    refused = await post(http, "/api/payment/refund", {"proof": shown, "amount": 300_001}, 409)
    assert (refused["error"], refused["refundable"]) == ("Conflict", 300_000)


async def test_a_stock_refund_of_nothing_ends_the_session(http: httpx.AsyncClient) -> None:
    shown = await proof(http)
    await post(http, "/api/payment/verify", {"proof": shown})
    for _ in range(2):
        answer = await post(http, "/api/payment/refund", {"proof": shown, "amount": 0})
        assert (answer["status"], answer["amount"], answer.get("refundId")) == ("success", 0, None)
    await post(http, "/api/payment/refund", {"proof": shown, "amount": 1}, 409)


async def test_a1_a_proof_answered_once_is_a_replay_the_second_time(http: httpx.AsyncClient) -> None:
    shown = await proof(http)
    assert (await post(http, "/api/payment/verify", {"proof": shown}))["valid"]
    again = await post(http, "/api/payment/verify", {"proof": shown})
    assert (again["valid"], again["code"]) == (False, "already_claimed")


async def test_a_stock_server_that_lost_the_answer_gets_it_when_it_asks_again(
    ws402_gateway: MockGateway, http: httpx.AsyncClient
) -> None:
    shown = await proof(http)
    ws402_gateway.faults.delay(0.3, "verify")
    with pytest.raises(httpx.ReadTimeout):
        await http.post("/api/payment/verify", json={"proof": shown}, timeout=0.1)
    ws402_gateway.faults.clear()
    async with asyncio.timeout(5):
        while not ws402_gateway.provider.sessions:
            await asyncio.sleep(0.01)
    (session,) = ws402_gateway.provider.sessions.values()
    assert not session.answered
    again = await post(http, "/api/payment/verify", {"proof": shown})
    assert (again["valid"], again["sessionId"]) == (True, session.id)
    assert (await post(http, "/api/payment/verify", {"proof": shown}))["code"] == "already_claimed"


async def test_a_batch_answers_each_operation_on_its_own(http: httpx.AsyncClient) -> None:
    usage = {"sessionId": "ses_none", "epoch": 1, "elapsedMs": 1, "bytesTransferred": 0, "messageCount": 0}
    ops = [
        {"op": "generate", "body": GENERATE},
        {"op": "checkpoint", "body": usage},
        {"op": "generate", "body": GENERATE | {"amount": 0}},
        {"op": "verify", "key": "k1", "body": {"proof": await proof(http), "serverId": "s"}},
    ]
    results = (await post(http, "/api/ops", {"ops": ops}))["results"]
    assert results[0]["ok"]["amount"] == 300_000
    assert (results[1]["error"]["code"], results[1]["error"]["status"]) == ("not_found", 404)
    assert results[2]["error"]["code"] == "bad_amount"
    assert results[3]["ok"]["valid"] is True


async def test_a_batched_verification_with_a_key_is_answered_the_same_again(http: httpx.AsyncClient) -> None:
    op = {"op": "verify", "key": "k1", "body": {"proof": await proof(http), "serverId": "s"}}
    first = await post(http, "/api/ops", {"ops": [op]})
    assert first["results"][0]["ok"]["valid"]
    assert await post(http, "/api/ops", {"ops": [op]}) == first
    other = op | {"body": {"proof": await proof(http), "serverId": "s"}}
    refused = (await post(http, "/api/ops", {"ops": [other]}))["results"][0]["error"]
    assert refused["status"] == 409


async def test_a_slow_verification_never_delays_its_neighbours(
    ws402_gateway: MockGateway, http: httpx.AsyncClient
) -> None:
    slow = {"op": "verify", "key": "slow", "body": {"proof": await proof(http), "serverId": "s"}}
    quick = {"op": "verify", "key": "quick", "body": {"proof": await proof(http), "serverId": "s"}}
    generate = {"op": "generate", "body": GENERATE}
    ws402_gateway.faults.delay(0.5, "verify")
    held = asyncio.create_task(post(http, "/api/ops", {"ops": [slow]}))  # under way, and joined below
    await asyncio.sleep(0.1)
    ws402_gateway.faults.clear()
    results = (await post(http, "/api/ops", {"ops": [slow, generate, quick]}))["results"]
    assert (results[0]["error"]["code"], results[0]["error"]["retry"]) == ("pending", True)
    assert results[1]["ok"]["amount"] == 300_000
    assert results[2]["ok"]["valid"]
    assert (await held)["results"][0]["ok"]["valid"]
    again = (await post(http, "/api/ops", {"ops": [slow]}))["results"]
    assert again[0]["ok"]["valid"], "its end is told to everyone who has the key"
    assert ws402_gateway.faults.calls["verify"] <= 3
    assert len(ws402_gateway.provider.sessions) == 2


async def test_figures(http: httpx.AsyncClient) -> None:
    await post(http, "/api/payment/verify", {"proof": await proof(http)})
    stats = (await http.get("/api/stats")).json()
    assert stats["paymentsVerified"] == 1
    assert stats["totalVolume"] == {"base-sepolia": {"ETH": 300_000}}
    assert stats["averageResponseTime"] > 0
    assert {"gateway", "provider", "network", "chainId", "merchantWallet", "autoRefundEnabled", "uptime"} <= set(stats)


async def test_operators_see_what_is_pending_and_servers_do_not(
    ws402_gateway: MockGateway, http: httpx.AsyncClient
) -> None:
    details = await post(http, "/api/payment/generate", GENERATE)
    refused = await http.get("/api/admin/pending")
    assert (refused.status_code, refused.json()["error"]) == (403, "Forbidden")
    headers = {"Authorization": f"Bearer {ws402_gateway.admin_key}"}
    pending = (await http.get("/api/admin/pending", headers=headers)).json()
    assert pending == {"invoices": [details["reference"]], "refunds": []}
    spent = await http.post("/api/payment/generate", json=GENERATE, headers=headers)
    assert spent.status_code == 403


async def test_health_needs_no_key(ws402_gateway: MockGateway) -> None:
    async with httpx.AsyncClient(base_url=ws402_gateway.url) as stranger:
        for path in ("/api/health", "/health/live", "/health/startup", "/health/ready"):
            answer = await stranger.get(path)
            assert answer.status_code == 200, path
            assert answer.json()["status"] == "ok"
            assert answer.json()["timestamp"] > 1.7e12


async def test_readiness_tells_strangers_a_code_only(ws402_gateway: MockGateway, http: httpx.AsyncClient) -> None:
    ws402_gateway.faults.unavailable("ready", times=None)
    answer = await http.get("/health/ready")
    assert answer.status_code == 503
    assert (answer.json()["error"], answer.json()["code"]) == ("Service Unavailable", "unavailable")
    assert "mock" not in answer.text
    assert (await http.get("/health/live")).status_code == 200
    ws402_gateway.faults.clear()
    assert (await http.get("/health/ready")).status_code == 200


async def test_the_api_describes_itself_to_those_with_a_key(
    ws402_gateway: MockGateway, http: httpx.AsyncClient
) -> None:
    document = (await http.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    generate = document["paths"]["/api/payment/generate"]["post"]
    assert generate["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("GenerateRequest")
    fields = document["components"]["schemas"]["GenerateRequest"]
    assert fields["required"] == ["amount", "resourceId", "estimatedDuration"]
    assert ws402_gateway.api_key not in str(document)
    async with httpx.AsyncClient(base_url=ws402_gateway.url) as stranger:
        assert (await stranger.get("/openapi.json")).status_code == 401
