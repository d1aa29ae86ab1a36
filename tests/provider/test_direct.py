"""The gateway in the server's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ws402.errors import ConflictError, UnavailableError
from ws402.protocol import (
    EndReason,
    GenerateRequest,
    Proof,
    RejectCode,
    ResumeRequest,
    SettleRequest,
    VerifyRequest,
)
from ws402.provider.direct import DirectPaymentProvider
from ws402.provider.mock.service import MockPaymentService

GENERATE = GenerateRequest(amount=300_000, resource_id="feed", estimated_duration=300, price_per_second=1000)


@pytest.fixture
def service() -> MockPaymentService:
    return MockPaymentService()


@pytest.fixture
async def provider(service: MockPaymentService) -> AsyncIterator[DirectPaymentProvider]:
    direct = DirectPaymentProvider(service)
    await direct.start()
    yield direct
    await direct.close()


async def proof(provider: DirectPaymentProvider) -> Proof:
    details = await provider.request_payment_details(GENERATE)
    return Proof(reference=details.reference, tx_hash=f"0x{details.reference}", sender_address="0xaa")


async def test_calls_reach_the_service(provider: DirectPaymentProvider) -> None:
    answer = await provider.verify_payment(VerifyRequest(proof=await proof(provider), server_id="s"))
    ending = SettleRequest(
        session_id=str(answer.session_id),
        epoch=answer.epoch or 0,
        elapsed_ms=1000,
        bytes_transferred=0,
        message_count=0,
        reason=EndReason.CLIENT_CLOSED,
    )
    assert (await provider.settle(ending)).refund == 299_000
    assert (provider.name, provider.gateway_url) == ("direct", None)
    assert (await provider.get_gateway_info())["paymentsVerified"] == 1


async def test_a_verification_or_resume_that_broke_off_is_finished_once(
    provider: DirectPaymentProvider, service: MockPaymentService
) -> None:
    service.faults.lose_answer("verify", times=2)
    answer = await provider.verify_payment(VerifyRequest(proof=await proof(provider), server_id="s"))
    assert answer.valid
    assert len(service.book.sessions) == 1
    service.faults.lose_answer("resume")
    request = ResumeRequest(token=str(answer.resume_token), server_id="t")
    assert (await provider.resume(request)).session_id == answer.session_id
    with pytest.raises(ConflictError):
        await provider.resume(request)


async def test_what_stays_away_is_told(provider: DirectPaymentProvider, service: MockPaymentService) -> None:
    service.faults.unavailable("generate", times=None)
    with pytest.raises(UnavailableError):
        await provider.generate_payment_details(GENERATE)
    assert service.faults.calls["generate"] == 3
    service.faults.unavailable("ready")
    assert not await provider.health_check()
    assert await provider.health_check()


async def test_a1_an_answer_in_process_is_delivered_so_the_same_proof_again_is_a_replay(
    provider: DirectPaymentProvider,
) -> None:
    request = VerifyRequest(proof=await proof(provider))
    assert (await provider.verify_payment(request)).valid
    assert (await provider.verify_payment(request)).code is RejectCode.ALREADY_CLAIMED
