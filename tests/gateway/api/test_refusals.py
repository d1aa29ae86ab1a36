"""Every error of the gateway's API has the wire's shape, names the field and hides the inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from ws402.errors import RateLimitedError, UnavailableError, WS402Error
from ws402.testing import MockGateway

GENERATE = {"amount": 300_000, "resourceId": "feed", "estimatedDuration": 300}
PROOF = {"txHash": "0x" + "ab" * 32, "reference": "r", "senderAddress": "0x" + "cd" * 20}
BODIES = {
    "/api/payment/generate": GENERATE,
    "/api/payment/verify": {"proof": PROOF},
    "/api/payment/refund": {"proof": PROOF, "amount": 5},
    "/api/ops": {"ops": []},
}
WITH_KEY = [*BODIES, "/api/stats", "/api/admin/pending", "/openapi.json"]


@pytest.fixture(scope="module")
def gateway() -> Iterator[MockGateway]:
    with MockGateway() as started:
        yield started


@pytest.fixture
async def http(gateway: MockGateway) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {gateway.api_key}"}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers) as client:
        yield client
    gateway.faults.clear()


def refused(answer: httpx.Response, status: int, error: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    body: dict[str, Any] = answer.json()
    assert body["error"] == error
    assert isinstance(body["message"], str)
    assert body["message"]
    return body


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic {key}",
        "Bearer  {key}",
        "Bearer {key},",
        "Bearer {key}, Bearer {key}",
        "{key}",
        "Bearer x{key}",
        "Bearer {short}",
        "Bearer your-secret-api-key",
    ],
)
async def test_a38_without_a_valid_key_nothing_is_answered(ws402_gateway: MockGateway, header: str | None) -> None:
    key = ws402_gateway.api_key
    sent = [] if header is None else [("Authorization", header.format(key=key, short=key[:-1]).encode())]
    async with httpx.AsyncClient(base_url=ws402_gateway.url) as stranger:
        for path in WITH_KEY:
            answer = await stranger.request(
                "POST" if path in BODIES else "GET", path, json=BODIES.get(path), headers=sent
            )
            refused(answer, 401, "Unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a38_two_authorization_headers_are_none(ws402_gateway: MockGateway) -> None:
    headers = [("Authorization", f"Bearer {ws402_gateway.api_key}")] * 2
    async with httpx.AsyncClient(base_url=ws402_gateway.url) as stranger:
        refused(await stranger.get("/api/stats", headers=headers), 401, "Unauthorized")


async def test_a38_an_address_that_guesses_is_slowed_down_and_its_neighbours_are_not(
    ws402_gateway: MockGateway,
) -> None:
    known = {"Authorization": f"Bearer {ws402_gateway.api_key}"}
    assert httpx.get(f"{ws402_gateway.url}/api/stats", headers=known).status_code == 200
    async with httpx.AsyncClient(
        base_url=ws402_gateway.url, headers={"Authorization": "Bearer " + "0" * 64}
    ) as guesser:
        answers = [await guesser.get("/api/stats") for _ in range(130)]
        fresh = {"Authorization": f"Bearer {ws402_gateway.admin_key}"}
        lucky = await guesser.get("/api/stats", headers=fresh)  # at once, before the limit lets one more guess through
    assert lucky.status_code == 429, "a right guess is not told from a wrong one"
    assert answers[0].status_code == 401
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert httpx.get(f"{ws402_gateway.url}/api/stats", headers=known).status_code == 200, (
        "the key was used from here before"
    )


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"null", b"\xff\xfe", b"nonsense", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_a_bad_request(
    http: httpx.AsyncClient, path: str, content: bytes
) -> None:
    refused(await http.post(path, content=content), 400, "Bad Request")


@pytest.mark.parametrize(
    ("path", "missing"),
    [(path, field) for path, body in BODIES.items() if isinstance(body, dict) for field in body],
)
async def test_a_missing_field_is_named(http: httpx.AsyncClient, path: str, missing: str) -> None:
    body = {name: value for name, value in BODIES[path].items() if name != missing}  # type: ignore[attr-defined]
    told = refused(await http.post(path, json=body), 400, "Bad Request")
    assert f"'{missing}'" in told["message"]


async def test_a_wrong_field_is_named_where_it_is(http: httpx.AsyncClient) -> None:
    wrong = {"proof": PROOF | {"txHash": 5}}
    told = refused(await http.post("/api/payment/verify", json=wrong), 400, "Bad Request")
    assert "'proof.txHash'" in told["message"]


async def test_a_malformed_operation_fails_alone_and_names_its_field(http: httpx.AsyncClient) -> None:
    usage = {"sessionId": "s", "epoch": 0, "elapsedMs": 1, "bytesTransferred": 1, "messageCount": 1}
    ops: list[Any] = [
        {"op": "settle", "body": {"sessionId": "s"}},
        {"op": "mint", "body": {}},
        {"op": "checkpoint", "body": usage | {"messageCount": 2**63}},
        {"op": "checkpoint", "body": usage | {"elapsedMs": -1}},
        7,
        {"op": "generate", "body": GENERATE},
    ]
    answer = await http.post("/api/ops", json={"ops": ops})
    assert answer.status_code == 200
    *wrong, good = answer.json()["results"]
    for result, named in zip(wrong, ("epoch", "mint", "messageCount", "elapsedMs", "JSON object"), strict=True):
        assert (result["error"]["status"], result["error"]["retry"]) == (400, False)
        assert named in result["error"]["message"] + result["error"].get("remedy", "")
    assert good["ok"]["amount"] == GENERATE["amount"]
    refused(await http.post("/api/ops", json={"ops": {}}), 400, "Bad Request")


@pytest.mark.parametrize(
    "amount",
    ["0", "-1", "1.5", "1.0", "1e3", "true", "null", '""', '"-5"', '"1.5"', '" 5"', '"0x5"', "{}", "1" + "0" * 78],
)
async def test_a10_an_amount_that_is_no_positive_integer_is_refused_and_never_rounded(
    http: httpx.AsyncClient, amount: str
) -> None:
    bodies = {
        "/api/payment/generate": f'{{"amount":{amount},"resourceId":"r","estimatedDuration":1}}',
        "/api/payment/refund": f'{{"amount":{amount},"proof":{{"txHash":"0x1","senderAddress":"0x2"}}}}',
    }
    if amount == "0":
        del bodies["/api/payment/refund"]  # everything was used: the session ends, and nothing goes back
    for path, body in bodies.items():
        told = refused(await http.post(path, content=body), 400, "Bad Request")
        assert "amount" in told["message"]


async def test_unknown_fields_are_ignored(http: httpx.AsyncClient) -> None:
    assert (await http.post("/api/payment/generate", json=GENERATE | {"colour": "blue"})).status_code == 200


async def test_an_unknown_path_and_a_wrong_method(http: httpx.AsyncClient) -> None:
    refused(await http.get("/api/nothing"), 404, "Not Found")
    refused(await http.get("/"), 404, "Not Found")
    answer = await http.get("/api/payment/generate")
    refused(answer, 405, "Method Not Allowed")
    assert answer.headers["allow"] == "POST"
    answer = await http.post("/api/health")
    refused(answer, 405, "Method Not Allowed")
    assert answer.headers["allow"] == "GET"


async def test_a_body_that_is_declared_as_something_else(http: httpx.AsyncClient) -> None:
    body = '{"amount":1,"resourceId":"r","estimatedDuration":1}'
    form = await http.post("/api/payment/generate", content=body, headers={"Content-Type": "text/plain"})
    assert "application/json" in refused(form, 415, "Unsupported Media Type")["remedy"]
    for fine in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"):
        answer = await http.post("/api/payment/generate", content=body, headers={"Content-Type": fine})
        assert answer.status_code == 200, fine


async def test_a_body_beyond_the_limit_is_not_read(http: httpx.AsyncClient) -> None:
    large = b'{"resourceId":"' + b"x" * 1_100_000 + b'"}'
    answer = await http.post("/api/payment/generate", content=large)
    refused(answer, 413, "Content Too Large")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65_536

    refused(await http.post("/api/payment/generate", content=chunks()), 413, "Content Too Large")


async def test_a_batch_without_end_is_refused(http: httpx.AsyncClient) -> None:
    op = {"op": "refund_status", "body": {"refundId": "r"}}
    assert (await http.post("/api/ops", json={"ops": [op] * 1000})).status_code == 200
    told = refused(await http.post("/api/ops", json={"ops": [op] * 1001}), 400, "Bad Request")
    assert "1000" in told["message"]


async def test_what_fails_inside_stays_inside(gateway: MockGateway, http: httpx.AsyncClient) -> None:
    class SecretError(WS402Error):
        code = "secret"

    gateway.faults.fail("generate", SecretError("postgresql://user:password@host"))
    answer = await http.post("/api/payment/generate", json=GENERATE)
    told = refused(answer, 500, "Internal Server Error")
    assert "password" not in answer.text
    assert told["code"] == "internal"


async def test_what_is_away_is_told_so_that_a_caller_may_repeat(gateway: MockGateway, http: httpx.AsyncClient) -> None:
    gateway.faults.fail("generate", UnavailableError("The chain is away.", code="chain_unavailable"))
    told = refused(await http.post("/api/payment/generate", json=GENERATE), 503, "Service Unavailable")
    assert told["code"] == "chain_unavailable"
    gateway.faults.fail("generate", RateLimitedError("Slowly.", retry_after=2.2))
    answer = await http.post("/api/payment/generate", json=GENERATE)
    refused(answer, 429, "Too Many Requests")
    assert answer.headers["retry-after"] == "3"


async def test_a35_no_answer_may_be_cached(http: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        http.post("/api/payment/generate", json=GENERATE),
        http.post("/api/payment/verify", json={"proof": PROOF}),
        http.get("/api/stats"),
        http.get("/api/health"),
        http.get("/openapi.json"),
        http.get("/api/nothing"),
        http.post("/api/payment/generate", content=b"{"),
    )
    assert [answer.headers["cache-control"] for answer in answers] == ["no-store"] * 7
    assert all("server" not in answer.headers for answer in answers)


async def test_a_bad_host_header_is_refused_in_the_wires_shape(http: httpx.AsyncClient) -> None:
    refused(await http.get("/api/health", headers={"Host": "evil host"}), 400, "Bad Request")
