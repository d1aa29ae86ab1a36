"""The gateway refuses in exactly the wire's shapes."""

import json
from typing import Any

import httpx
import pytest
from tests.fixtures.stack import PRICE, Stack
from tests.wire.conftest import MakeClient
from tests.wire.peers.client import Mode
from tests.wire.peers.provider import ProviderError, StockProvider

GENERATE = {"amount": 1000, "resourceId": "films", "estimatedDuration": 10}
PROOF = {"txHash": "0x" + "ab" * 32, "reference": "r", "senderAddress": "0x" + "cd" * 20}
CALLS: list[tuple[str, str, Any]] = [
    ("POST", "/api/payment/generate", GENERATE),
    ("POST", "/api/payment/verify", {"proof": PROOF}),
    ("POST", "/api/payment/refund", {"proof": PROOF, "amount": 5}),
    ("GET", "/api/stats", None),
    ("GET", "/api/admin/pending", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", "Bearer " + "0" * 64, "Basic abc", "nonsense"])
async def test_a38_without_a_valid_key_every_call_is_401(
    wire: Stack, method: str, path: str, body: Any, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    async with httpx.AsyncClient(base_url=wire.gateway_url) as http:
        answer = await http.request(method, path, json=body, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"] == "Unauthorized"
    assert answer.json()["message"]


async def test_a38_the_default_key_of_the_javascript_gateway_opens_nothing(wire: Stack) -> None:
    async with StockProvider(wire.gateway_url, "your-secret-api-key") as stranger:
        with pytest.raises(ProviderError) as refusal:
            await stranger.generate_payment_details(1000, "films", 10)
    assert refusal.value.status == 401


@pytest.mark.parametrize("missing", ["amount", "resourceId", "estimatedDuration"])
async def test_a_missing_field_of_generate_is_400(provider: StockProvider, missing: str) -> None:
    body = {name: value for name, value in GENERATE.items() if name != missing}
    answer = await provider.raw("POST", "/api/payment/generate", json=body)
    assert_bad_request(answer, missing)


async def test_a_verify_without_proof_is_400(provider: StockProvider) -> None:
    assert_bad_request(await provider.raw("POST", "/api/payment/verify", json={"timestamp": 1}), "proof")


@pytest.mark.parametrize("missing", ["proof", "amount"])
async def test_a_missing_field_of_refund_is_400(provider: StockProvider, missing: str) -> None:
    body = {name: value for name, value in {"proof": PROOF, "amount": 5}.items() if name != missing}
    assert_bad_request(await provider.raw("POST", "/api/payment/refund", json=body), missing)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"null", b"\xff\xfe", b"nonsense"])
@pytest.mark.parametrize("path", ["/api/payment/generate", "/api/payment/verify", "/api/payment/refund"])
async def test_a_body_that_is_no_object_is_400(provider: StockProvider, path: str, content: bytes) -> None:
    assert_bad_request(await provider.raw("POST", path, content=content))


BAD_AMOUNTS = [
    b"0",
    b"-1",
    b"1.5",
    b"1.0",
    b"1e3",
    b"true",
    b"null",
    b'""',
    b'"-5"',
    b'"1.5"',
    b'"abc"',
    b'" 5"',
    b"{}",
]


@pytest.mark.parametrize("amount", BAD_AMOUNTS)
async def test_an_amount_that_is_no_positive_integer_is_400_and_never_rounded(
    provider: StockProvider, amount: str
) -> None:
    body = f'{{"amount":{amount},"resourceId":"films","estimatedDuration":10}}'
    assert_bad_request(await provider.raw("POST", "/api/payment/generate", content=body))
    body = f'{{"amount":{amount},"proof":{json.dumps(PROOF)}}}'
    assert_bad_request(await provider.raw("POST", "/api/payment/refund", content=body))


async def test_amounts_beyond_json_numbers_are_strings_and_accepted_as_both(provider: StockProvider) -> None:
    for amount in (2**53, 10**18, str(10**18)):
        answer = await provider.raw("POST", "/api/payment/generate", json={**GENERATE, "amount": amount})
        assert answer.json()["amount"] == str(amount)
        assert answer.json()["amountWei"] == str(amount)
    answer = await provider.raw("POST", "/api/payment/generate", json={**GENERATE, "amount": str(2**53 - 1)})
    assert answer.json()["amount"] == 2**53 - 1


async def test_unknown_fields_and_headers_are_ignored(wire: Stack) -> None:
    headers = {"X-Anything": "1"}
    async with StockProvider(wire.gateway_url, wire.api_key, custom_headers=headers) as provider:
        answer = await provider.raw("POST", "/api/payment/generate", json={**GENERATE, "colour": "blue"})
    assert answer.is_success


async def test_a_refund_of_an_unknown_payment_is_refused_without_internals(provider: StockProvider) -> None:
    answer = await provider.raw("POST", "/api/payment/refund", json={"proof": PROOF, "amount": 5})
    assert answer.status_code in {404, 409}
    assert answer.json()["error"] in {"Not Found", "Conflict"}
    assert answer.json()["message"]


async def test_an_unknown_path_is_404_in_the_wires_shape(provider: StockProvider) -> None:
    answer = await provider.raw("GET", "/api/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"] == "Not Found"


async def test_a_server_says_402_without_a_token_and_403_with_a_bad_one(client: MakeClient) -> None:
    peer = await client()
    unpaid = await peer.get("/api/resource/ticker")
    assert unpaid.status_code == 402
    assert "/schema" in unpaid.text
    for options in ({"params": {"token": "bad"}}, {"headers": {"Authorization": "Bearer bad"}}):
        assert (await peer.get("/api/resource/ticker", **options)).status_code == 403


async def test_a_server_does_not_know_other_resources(client: MakeClient) -> None:
    peer = await client()
    for path in ("/ws402/schema/nothing", "/api/resource/nothing/schema", "/api/resource/nothing"):
        answer = await peer.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["error"] == "Not Found"


@pytest.mark.parametrize("duration", ["0", "-5", "abc", "1.5", ""])
async def test_a_server_refuses_a_duration_that_is_none(client: MakeClient, duration: str) -> None:
    peer = await client()
    answer = await peer.get("/ws402/schema/ticker", params={"duration": duration})
    assert answer.status_code == 400
    assert answer.json()["error"] == "Bad Request"


async def test_the_status_names_users_and_so_wants_a_key(client: MakeClient) -> None:
    peer = await client()
    assert (await peer.get("/status")).status_code == 401


async def test_the_servers_gateway_health_is_seen(wire: Stack, client: MakeClient, mode: Mode) -> None:
    peer = await client()
    answer = await peer.get("/gateway-health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["gatewayUrl"].rstrip("/") == wire.gateway_url


async def test_a_price_of_the_clients_making_is_not_to_be_had(client: MakeClient) -> None:
    peer = await client()
    query = {"duration": 60, "price": 1, "amount": 1, "pricePerSecond": 1}
    schema = (await peer.get("/ws402/schema/ticker", params=query)).json()
    assert schema["paymentDetails"]["amount"] == 60 * PRICE


def assert_bad_request(answer: httpx.Response, named: str = "") -> None:
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert body["error"] == "Bad Request"
    assert isinstance(body["message"], str)
    assert named in body["message"]
