"""Requests that take too long, and clients that leave."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ws402.gateway.api.app import GatewayApp
from ws402.gateway.auth.keys import Authenticator
from ws402.provider.mock.service import MockPaymentService
from ws402.serving import HttpServer
from ws402.settings import GatewaySettings

KEY = "k" * 40
HEADERS = {"Authorization": f"Bearer {KEY}"}
GENERATE = {"amount": 1000, "resourceId": "feed", "estimatedDuration": 10}


@pytest.fixture
def service() -> MockPaymentService:
    return MockPaymentService()


@pytest.fixture
async def url(service: MockPaymentService) -> AsyncIterator[str]:
    settings = GatewaySettings(gateway_api_key=KEY)  # type: ignore[arg-type]  # as from the environment
    server = HttpServer("127.0.0.1", 0)
    await server.start(GatewayApp(service, Authenticator(settings), settings, request_seconds=0.5).app)
    yield server.url
    await server.close()


async def test_a_call_that_takes_too_long_is_answered_503_and_the_next_one_works(
    url: str, service: MockPaymentService
) -> None:
    service.faults.delay(30, "generate")
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=10) as http:
        answers = await asyncio.gather(*(http.post("/api/payment/generate", json=GENERATE) for _ in range(3)))
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(503, "timeout")] * 3
        service.faults.clear()
        await asyncio.sleep(1.1)  # the watch over requests rests, and begins again
        assert (await http.post("/api/payment/generate", json=GENERATE)).status_code == 200
        service.faults.delay(30, "generate")
        assert (await http.post("/api/payment/generate", json=GENERATE)).status_code == 503


async def test_a_body_that_never_ends_is_answered_503(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /api/ops HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 100\r\n\r\n{{"
    writer.write(head.encode())
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 503")
    writer.close()


async def test_a_client_that_leaves_in_the_middle_of_its_body_does_no_harm(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = url.removeprefix("http://").split(":")
    for _ in range(5):
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /api/ops HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 100\r\n\r\n{{"
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.close()
    async with httpx.AsyncClient(base_url=url, headers=HEADERS) as http:
        assert (await http.post("/api/payment/generate", json=GENERATE)).status_code == 200
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_closing_does_not_wait_for_requests_that_are_cancelled(service: MockPaymentService) -> None:
    settings = GatewaySettings(gateway_api_key=KEY)  # type: ignore[arg-type]
    server = HttpServer("127.0.0.1", 0)
    await server.start(GatewayApp(service, Authenticator(settings), settings, request_seconds=0.5).app)
    service.faults.delay(60, "verify")
    async with httpx.AsyncClient(base_url=server.url, headers=HEADERS, timeout=10) as http:
        op = {"op": "verify", "key": "k", "body": {"proof": {"reference": "r"}, "serverId": "s"}}
        asked = asyncio.create_task(http.post("/api/ops", json={"ops": [op]}))
        await asyncio.sleep(0.2)
        async with asyncio.timeout(5):
            await server.close()
        answer = await asked
    assert answer.status_code == 503
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "verify"]


async def test_a_request_that_is_cut_off_while_it_is_answered_leaves_nothing_behind(
    service: MockPaymentService,
) -> None:
    settings = GatewaySettings(gateway_api_key=KEY)  # type: ignore[arg-type]
    app: Any = GatewayApp(service, Authenticator(settings), settings, request_seconds=0.05).app
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/payment/generate",
        "raw_path": b"/api/payment/generate",
        "query_string": b"",
        "headers": [(b"host", b"a"), (b"authorization", HEADERS["Authorization"].encode())],
        "client": ("127.0.0.1", 1),
    }
    body = httpx.Request("POST", "http://a", json=GENERATE).content
    answering = asyncio.Event()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_: dict[str, Any]) -> None:
        answering.set()
        await asyncio.Event().wait()  # the client reads nothing

    request = asyncio.create_task(app(scope, receive, send))
    await answering.wait()
    await asyncio.wait([request])
    assert request.cancelled()
    left = weakref.ref(request)
    del request
    gc.collect()
    assert left() is None
