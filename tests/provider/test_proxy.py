"""The provider over HTTP, against a mock gateway behind real sockets."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from ws402.errors import (
    ConfigurationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    UnauthorizedError,
    UnavailableError,
)
from ws402.protocol import (
    Checkpoint,
    EndReason,
    GenerateRequest,
    PaymentDetails,
    Proof,
    RefundRequest,
    RejectCode,
    ReleaseRequest,
    ResumeRequest,
    SettleRequest,
    VerifyRequest,
    VerifyResponse,
)
from ws402.provider.base import PaymentProvider
from ws402.provider.mock.records import PAYER
from ws402.provider.proxy import ProxyPaymentProvider
from ws402.testing import MockGateway

GENERATE = GenerateRequest(amount=300_000, resource_id="feed", estimated_duration=300, price_per_second=1000)


@pytest.fixture(scope="module")
def shared() -> MockGateway:
    gateway = MockGateway()
    gateway.start()
    return gateway


@pytest.fixture
def gateway(shared: MockGateway, request: pytest.FixtureRequest) -> MockGateway:
    shared.faults.clear()
    shared.faults.calls.clear()
    shared.http.clear()
    shared.provider.sessions.clear()
    return shared


@pytest.fixture(scope="module", autouse=True)
def _ended(shared: MockGateway) -> object:
    yield
    shared.close()


@pytest.fixture
async def provider(gateway: MockGateway) -> AsyncIterator[ProxyPaymentProvider]:
    proxy = ProxyPaymentProvider(gateway.url, gateway.api_key)
    await proxy.start()
    yield proxy
    await proxy.close()


def claim(details: PaymentDetails, tx: str | None = None) -> VerifyRequest:
    proof = Proof(reference=details.reference, tx_hash=tx or f"0x{details.reference}", sender_address=PAYER)
    return VerifyRequest(proof=proof, resource_id="feed", server_id="server-1")


async def opened(provider: PaymentProvider) -> VerifyResponse:
    answer = await provider.verify_payment(claim(await provider.generate_payment_details(GENERATE)))
    assert answer.valid
    return answer


def settlement(answer: VerifyResponse, ms: int = 12_000) -> SettleRequest:
    return SettleRequest(
        session_id=str(answer.session_id),
        epoch=answer.epoch or 0,
        elapsed_ms=ms,
        bytes_transferred=1,
        message_count=2,
        reason=EndReason.CLIENT_CLOSED,
    )


async def test_a_whole_session(provider: ProxyPaymentProvider, gateway: MockGateway) -> None:
    answer = await opened(provider)
    usage = Checkpoint(
        session_id=str(answer.session_id), epoch=answer.epoch or 0, elapsed_ms=5, bytes_transferred=1, message_count=2
    )
    assert (await provider.checkpoint(usage)).live
    release = ReleaseRequest(
        session_id=str(answer.session_id), epoch=answer.epoch or 0, elapsed_ms=9, bytes_transferred=1, message_count=2
    )
    assert (await provider.release(release)).live
    resumed = await provider.resume(ResumeRequest(token=str(answer.resume_token), server_id="server-2"))
    answer.epoch = resumed.epoch
    settled = await provider.settle(settlement(answer))
    assert (settled.paid, settled.consumed, settled.refund) == (300_000, 12_000, 288_000)
    assert (await provider.refund_status(str(settled.refund_id))).state == "final"
    assert gateway.provider.audit() == 0


async def test_health_and_figures(provider: ProxyPaymentProvider, gateway: MockGateway) -> None:
    assert await provider.health_check()
    assert (await provider.get_gateway_info())["provider"] == "mock"
    assert provider.gateway_url == gateway.url


async def test_a_stock_refund(provider: ProxyPaymentProvider) -> None:
    request = claim(await provider.generate_payment_details(GENERATE))
    await provider.verify_payment(request)
    with pytest.raises(ConflictError) as over:
        await provider.issue_refund(RefundRequest(proof=request.proof, amount=300_001))
    assert over.value.refundable == 300_000  # type: ignore[attr-defined]
    refund = await provider.issue_refund(RefundRequest(proof=request.proof, amount=1000))
    assert (refund.status, refund.amount, refund.recipient) == ("success", 1000, PAYER)


async def test_a_refused_proof_is_an_answer(provider: ProxyPaymentProvider, gateway: MockGateway) -> None:
    gateway.faults.reject(RejectCode.AMOUNT_SHORT)
    answer = await provider.verify_payment(claim(await provider.generate_payment_details(GENERATE)))
    assert (answer.valid, answer.code) == (False, RejectCode.AMOUNT_SHORT)


async def test_the_gateways_refusals_are_its_own_errors(provider: ProxyPaymentProvider, gateway: MockGateway) -> None:
    with pytest.raises(ConflictError):
        await provider.resume(ResumeRequest(token="used", server_id="s"))
    with pytest.raises(NotFoundError):
        await provider.refund_status("ref_none")
    with pytest.raises(InvalidRequestError):
        await provider.generate_payment_details(
            GenerateRequest(amount=0, resource_id="feed", estimated_duration=300, price_per_second=1000)
        )
    stranger = ProxyPaymentProvider(gateway.url, "x" * 40)
    with pytest.raises(UnauthorizedError):
        await stranger.generate_payment_details(GENERATE)
    with pytest.raises(UnauthorizedError):
        await stranger.get_gateway_info()
    await stranger.close()


async def test_operations_that_come_together_travel_together(
    provider: ProxyPaymentProvider, gateway: MockGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="ws402.provider.transport")
    details = await asyncio.gather(*(provider.generate_payment_details(GENERATE) for _ in range(500)))
    assert len({each.reference for each in details}) == 500
    assert caplog.text.count("POST /api/ops: 200") <= 6
    answers = await asyncio.gather(*(provider.verify_payment(claim(each)) for each in details))
    assert len({answer.session_id for answer in answers if answer.valid}) == 500
    settled = await asyncio.gather(*(provider.settle(settlement(answer)) for answer in answers))
    assert {each.refund for each in settled} == {288_000}
    assert caplog.text.count("POST /api/ops: 200") <= 18


async def test_a_slow_verification_delays_nothing_else(provider: ProxyPaymentProvider, gateway: MockGateway) -> None:
    answer = await opened(provider)
    details = await provider.generate_payment_details(GENERATE)
    gateway.faults.delay(1.0, "verify")
    slow = asyncio.create_task(provider.verify_payment(claim(details)))
    await asyncio.sleep(0.05)
    begun = time.monotonic()
    await provider.settle(settlement(answer))
    gateway.faults.clear()
    assert (await opened(provider)).valid
    assert time.monotonic() - begun < 0.8
    assert not slow.done()
    assert (await slow).valid
    assert gateway.faults.calls["verify"] == 3


@pytest.mark.parametrize("fault", ["cut", "garble"])
async def test_a_lost_answer_to_a_verification_is_asked_for_again(
    provider: ProxyPaymentProvider, gateway: MockGateway, fault: str
) -> None:
    details = await provider.generate_payment_details(GENERATE)
    if fault == "cut":
        gateway.http.cut(times=2)
        answer = await provider.verify_payment(claim(details))
        assert answer.valid
    else:
        gateway.http.garble()
        with pytest.raises(UnavailableError):
            await provider.verify_payment(claim(details))
    assert len(gateway.provider.sessions) == 1


async def test_a18_a_repeated_settlement_owes_once(provider: ProxyPaymentProvider, gateway: MockGateway) -> None:
    answer = await opened(provider)
    owed = len(gateway.provider.refunds)
    gateway.http.cut(times=1)
    settled = await provider.settle(settlement(answer))
    assert settled.refund == 288_000
    assert len(gateway.provider.refunds) == owed + 1
    assert gateway.provider.audit() == 0


async def test_a_resume_whose_answer_was_lost_is_not_lost(provider: ProxyPaymentProvider, gateway: MockGateway) -> None:
    answer = await opened(provider)
    gateway.http.cut()
    resumed = await provider.resume(ResumeRequest(token=str(answer.resume_token), server_id="server-2"))
    assert resumed.session_id == answer.session_id


async def test_failures_are_repeated_and_then_told(gateway: MockGateway) -> None:
    provider = ProxyPaymentProvider(gateway.url, gateway.api_key, retry_attempts=3)
    gateway.http.answer(503, times=2)
    assert (await provider.generate_payment_details(GENERATE)).amount == 300_000
    gateway.http.answer(500, times=3)
    with pytest.raises(UnavailableError):
        await provider.generate_payment_details(GENERATE)
    gateway.faults.unavailable("generate", times=2)
    assert (await provider.generate_payment_details(GENERATE)).amount == 300_000
    gateway.faults.unavailable("generate", times=3)
    with pytest.raises(UnavailableError):
        await provider.generate_payment_details(GENERATE)
    gateway.http.answer(400, times=1)
    with pytest.raises(InvalidRequestError):
        await provider.generate_payment_details(GENERATE)
    await provider.close()


async def test_too_many_requests_are_repeated_when_the_gateway_says(gateway: MockGateway) -> None:
    provider = ProxyPaymentProvider(gateway.url, gateway.api_key, retry_attempts=2)
    gateway.http.answer(429, retry_after=1)
    begun = time.monotonic()
    assert (await provider.generate_payment_details(GENERATE)).amount == 300_000
    assert time.monotonic() - begun >= 1
    gateway.http.answer(429, times=2, retry_after=0)
    with pytest.raises(RateLimitedError):
        await provider.generate_payment_details(GENERATE)
    await provider.close()


async def test_a_gateway_that_is_gone_fails_fast_and_is_found_again() -> None:
    with MockGateway() as gateway:
        port = int(gateway.url.rsplit(":", 1)[1])
        provider = ProxyPaymentProvider(gateway.url, gateway.api_key, retry_attempts=3)
        await provider.generate_payment_details(GENERATE)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await provider.generate_payment_details(GENERATE)
    begun = time.monotonic()
    with pytest.raises(UnavailableError) as refused:
        await provider.generate_payment_details(GENERATE)
    assert time.monotonic() - begun < 0.05, "the breaker is open"
    assert "GATEWAY_URL" in str(refused.value)
    assert not await provider.health_check()
    with MockGateway(port=port, api_key=gateway.api_key):
        async with asyncio.timeout(10):
            while True:
                try:
                    await provider.generate_payment_details(GENERATE)
                except UnavailableError:
                    await asyncio.sleep(0.05)
                else:
                    break
        await provider.close()


async def test_a_silent_gateway_times_out() -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silence, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    provider = ProxyPaymentProvider(f"http://127.0.0.1:{port}", "k" * 40, timeout=0.2, retry_attempts=2)
    begun = time.monotonic()
    with pytest.raises(UnavailableError):
        await provider.generate_payment_details(GENERATE)
    assert time.monotonic() - begun < 2
    await provider.close()
    server.close()
    await server.wait_closed()


async def test_closing_finishes_what_is_under_way(gateway: MockGateway) -> None:
    provider = ProxyPaymentProvider(gateway.url, gateway.api_key)
    answers = await asyncio.gather(*(opened(provider) for _ in range(20)))
    gateway.faults.delay(0.1, "settle")
    settling = [asyncio.create_task(provider.settle(settlement(answer))) for answer in answers]
    await asyncio.sleep(0)
    await provider.close()
    assert {(await each).refund for each in settling} == {288_000}


async def test_a35_the_key_appears_nowhere(gateway: MockGateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    provider = ProxyPaymentProvider(gateway.url, gateway.api_key, custom_headers={"X-Team": "a"}, retry_attempts=1)
    await provider.generate_payment_details(GENERATE)
    gateway.http.answer(500)
    with pytest.raises(UnavailableError) as failure:
        await provider.generate_payment_details(GENERATE)
    assert gateway.api_key not in caplog.text + repr(provider) + repr(failure.value) + str(failure.value)
    await provider.close()


async def test_headers_say_who_asks() -> None:
    seen: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    custom = {"X-Team": "blue", "authorization": "Bearer stolen"}
    provider = ProxyPaymentProvider(url, "k" * 40, custom_headers=custom, retry_attempts=1)
    with pytest.raises(UnavailableError):
        await provider.get_gateway_info()
    await provider.close()
    server.close()
    await server.wait_closed()
    head = httpx.Headers([line.split(b": ", 1) for line in seen[0].split(b"\r\n")[1:-2]])  # type: ignore[misc]
    assert seen[0].startswith(b"GET /api/stats HTTP/1.1\r\n")
    assert head["x-ws402-provider"] == "proxy"
    assert head["x-team"] == "blue"
    assert head.get_list("authorization") == ["Bearer " + "k" * 40]


@pytest.mark.parametrize(
    ("url", "key", "told"),
    [
        ("gateway:4029", "k" * 40, "GATEWAY_URL"),
        ("ftp://gateway", "k" * 40, "GATEWAY_URL"),
        ("http://user:secret@gateway", "k" * 40, "GATEWAY_URL"),
        ("http://gateway", None, "GATEWAY_API_KEY"),
        ("http://gateway", "", "GATEWAY_API_KEY"),
        ("http://gateway", "schlüssel" * 5, "GATEWAY_API_KEY"),
    ],
)
async def test_what_cannot_work_is_told_at_once(url: str, key: str | None, told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        ProxyPaymentProvider(url, key)
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)
