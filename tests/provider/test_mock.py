"""The mock keeps honest books and misbehaves exactly as asked."""

from __future__ import annotations

import time

import pytest

from ws402.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
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
from ws402.provider.mock.provider import MockPaymentProvider
from ws402.provider.mock.records import PAYER

PRICE = 1000


@pytest.fixture
def provider() -> MockPaymentProvider:
    return MockPaymentProvider(auto_pay=False)


async def invoice(provider: MockPaymentProvider, amount: int = 300_000, session: str | None = None) -> PaymentDetails:
    request = GenerateRequest(
        amount=amount, resource_id="feed", estimated_duration=300, price_per_second=PRICE, session_id=session
    )
    return await provider.generate_payment_details(request)


def claim(proof: Proof, resource: str | None = "feed") -> VerifyRequest:
    return VerifyRequest(proof=proof, resource_id=resource, server_id="server-1")


async def opened(provider: MockPaymentProvider, amount: int = 300_000) -> VerifyResponse:
    answer = await provider.verify_payment(claim(provider.pay(await invoice(provider, amount))))
    assert answer.valid
    return answer


def usage(answer: VerifyResponse, ms: int) -> Checkpoint:
    return Checkpoint(
        session_id=str(answer.session_id), epoch=answer.epoch or 0, elapsed_ms=ms, bytes_transferred=1, message_count=2
    )


def settlement(answer: VerifyResponse, ms: int) -> SettleRequest:
    return SettleRequest(
        session_id=str(answer.session_id),
        epoch=answer.epoch or 0,
        elapsed_ms=ms,
        bytes_transferred=1,
        message_count=2,
        reason=EndReason.CLIENT_CLOSED,
    )


async def test_a_session_is_paid_metered_settled_and_its_rest_refunded(provider: MockPaymentProvider) -> None:
    answer = await opened(provider)
    assert (await provider.checkpoint(usage(answer, 5_000))).live
    settled = await provider.settle(settlement(answer, 12_345))
    assert (settled.paid, settled.consumed, settled.refund) == (300_000, 12_345, 287_655)
    assert await provider.settle(settlement(answer, 99_000)) == settled
    status = await provider.refund_status(str(settled.refund_id))
    assert (status.state, status.amount, status.recipient) == ("final", 287_655, PAYER)
    assert provider.audit() == 0


async def test_usage_above_the_payment_consumes_no_more_than_was_paid(provider: MockPaymentProvider) -> None:
    settled = await provider.settle(settlement(await opened(provider, 5_000), 60_000))
    assert (settled.consumed, settled.refund, settled.refund_id) == (5_000, 0, None)


@pytest.mark.parametrize(
    ("deviation", "code"),
    [
        ({"amount": 299_999}, RejectCode.AMOUNT_SHORT),
        ({"asset": "USDC"}, RejectCode.WRONG_ASSET),
        ({"recipient": "0x01"}, RejectCode.WRONG_RECIPIENT),
        ({"state": "failed"}, RejectCode.TRANSFER_FAILED),
        ({"state": "pending"}, RejectCode.TRANSFER_UNCONFIRMED),
        ({"at": 1}, RejectCode.TRANSFER_TOO_OLD),
        ({"at": 2**42}, RejectCode.TRANSFER_TOO_LATE),
    ],
)
async def test_a_wrong_transfer_is_refused(
    provider: MockPaymentProvider, deviation: dict[str, object], code: RejectCode
) -> None:
    proof = provider.pay(await invoice(provider), **deviation)  # type: ignore[arg-type]
    answer = await provider.verify_payment(claim(proof))
    assert (answer.valid, answer.amount, answer.code) == (False, 0, code)
    assert not provider.sessions


async def test_a_pending_transfer_is_accepted_once_it_confirms(provider: MockPaymentProvider) -> None:
    proof = provider.pay(await invoice(provider), state="pending")
    assert not (await provider.verify_payment(claim(proof))).valid
    provider.confirm(proof)
    assert (await provider.verify_payment(claim(proof))).valid


async def test_a_bad_proof_is_refused(provider: MockPaymentProvider) -> None:
    details = await invoice(provider)
    other = await invoice(provider)
    proof = provider.pay(details)

    async def code(request: VerifyRequest) -> RejectCode | None:
        return (await provider.verify_payment(request)).code

    assert await code(claim(Proof(reference=details.reference))) is RejectCode.MALFORMED_PROOF
    unknown = Proof(reference="?", tx_hash=proof.tx, sender_address=PAYER)
    assert await code(claim(unknown)) is RejectCode.UNKNOWN_INVOICE
    assert await code(claim(proof, "other")) is RejectCode.RESOURCE_MISMATCH
    thief = Proof(reference=details.reference, tx_hash=proof.tx, sender_address="0x99")
    assert await code(claim(thief)) is RejectCode.SENDER_MISMATCH
    unpaid = Proof(reference=details.reference, tx_hash="0xabc", sender_address=PAYER)
    assert await code(claim(unpaid)) is RejectCode.TRANSFER_NOT_FOUND
    provider.expire(details)
    assert await code(claim(unpaid)) is RejectCode.INVOICE_EXPIRED
    assert (await provider.verify_payment(claim(provider.pay(other)))).valid


async def test_a_payment_opens_one_session_only(provider: MockPaymentProvider) -> None:
    details, other = await invoice(provider), await invoice(provider)
    proof = provider.pay(details)
    assert (await provider.verify_payment(claim(proof))).valid
    again = await provider.verify_payment(claim(proof))
    moved = await provider.verify_payment(
        claim(Proof(reference=other.reference, tx_hash=proof.tx, sender_address=PAYER))
    )
    assert again.code is moved.code is RejectCode.ALREADY_CLAIMED
    second = await provider.verify_payment(claim(provider.pay(details)))
    assert second.code is RejectCode.ALREADY_CLAIMED
    assert len(provider.sessions) == 1


async def test_a_top_up_adds_to_the_session(provider: MockPaymentProvider) -> None:
    answer = await opened(provider, 5_000)
    more = await invoice(provider, 7_000, answer.session_id)
    topped = await provider.verify_payment(claim(provider.pay(more)))
    assert (topped.session_id, topped.amount) == (answer.session_id, 7_000)
    settled = await provider.settle(settlement(answer, 6_000))
    assert (settled.paid, settled.consumed, settled.refund) == (12_000, 6_000, 6_000)
    late = await provider.verify_payment(claim(provider.pay(await invoice(provider, 7_000, answer.session_id))))
    assert late.code is RejectCode.SESSION_ENDED
    assert provider.audit() == 0


async def test_a_session_moves_once_by_its_token(provider: MockPaymentProvider) -> None:
    answer = await opened(provider)
    release = ReleaseRequest(
        session_id=str(answer.session_id), epoch=1, elapsed_ms=2_000, bytes_transferred=1, message_count=2
    )
    assert (await provider.release(release)).live
    request = ResumeRequest(token=str(answer.resume_token), server_id="server-2", resource_id="feed")
    resumed = await provider.resume(request)
    assert (resumed.session_id, resumed.epoch, resumed.elapsed_ms) == (answer.session_id, 2, 2_000)
    with pytest.raises(ConflictError):
        await provider.resume(request)
    left = await provider.checkpoint(usage(answer, 3_000))
    assert (left.live, left.reason) == (False, EndReason.SUPERSEDED)
    with pytest.raises(ConflictError):
        await provider.settle(settlement(answer, 3_000))


async def test_a_reorg_ends_the_session_and_owes_nothing(provider: MockPaymentProvider) -> None:
    answer = await opened(provider)
    provider.end_session(str(answer.session_id))
    seen = await provider.checkpoint(usage(answer, 1_000))
    assert (seen.live, seen.reason) == (False, EndReason.REORGED)
    assert (await provider.settle(settlement(answer, 1_000))).refund == 0
    assert provider.refunds == []
    assert provider.audit() == 0


async def test_a_stock_server_ends_a_session_by_an_amount(provider: MockPaymentProvider) -> None:
    proof = provider.pay(await invoice(provider))
    assert (await provider.verify_payment(VerifyRequest(proof=proof))).amount == 300_000
    with pytest.raises(ConflictError) as over:
        await provider.issue_refund(RefundRequest(proof=proof, amount=300_001))
    assert over.value.refundable == 300_000  # type: ignore[attr-defined]
    first = await provider.issue_refund(RefundRequest(proof=proof, amount=1_000))
    again = await provider.issue_refund(RefundRequest(proof=proof, amount=1_000))
    assert (first.amount, first.recipient, first.refund_id) == (1_000, PAYER, again.refund_id)
    assert [refund.amount for refund in provider.refunds] == [1_000]
    assert provider.audit() == 0


async def test_a_refusal_on_demand_claims_nothing(provider: MockPaymentProvider) -> None:
    provider.faults.reject(RejectCode.CHAIN_UNAVAILABLE, times=2, reason="no node")
    request = claim(provider.pay(await invoice(provider)))
    refused = [await provider.verify_payment(request) for _ in range(2)]
    assert {(each.code, each.reason) for each in refused} == {(RejectCode.CHAIN_UNAVAILABLE, "no node")}
    assert (await provider.verify_payment(request)).valid


async def test_an_unreachable_gateway_does_nothing(provider: MockPaymentProvider) -> None:
    provider.faults.unavailable("verify")
    request = claim(provider.pay(await invoice(provider)))
    with pytest.raises(UnavailableError):
        await provider.verify_payment(request)
    assert not provider.sessions
    assert (await provider.verify_payment(request)).valid
    assert provider.faults.calls["verify"] == 2


async def test_a_lost_answer_is_given_again_once(provider: MockPaymentProvider) -> None:
    provider.faults.lose_answer("verify")
    provider.faults.lose_answer("settle")
    request = claim(provider.pay(await invoice(provider)))
    with pytest.raises(UnavailableError):
        await provider.verify_payment(request)
    answer = await provider.verify_payment(request)
    assert answer.valid
    assert (await provider.verify_payment(request)).code is RejectCode.ALREADY_CLAIMED
    with pytest.raises(UnavailableError):
        await provider.settle(settlement(answer, 1_000))
    assert (await provider.settle(settlement(answer, 9_000))).consumed == 1_000
    assert provider.audit() == 0


async def test_a_fault_lasts_until_cleared(provider: MockPaymentProvider) -> None:
    provider.faults.unavailable(times=None)
    provider.faults.delay(0.05, "generate")
    for _ in range(3):
        with pytest.raises(UnavailableError):
            await invoice(provider)
    assert not await provider.health_check()
    provider.faults.clear()
    begun = time.monotonic()
    await invoice(provider)
    assert time.monotonic() - begun < 0.05
    assert await provider.health_check()


async def test_delay_makes_a_call_slow(provider: MockPaymentProvider) -> None:
    provider.faults.delay(0.05, "generate")
    begun = time.monotonic()
    await invoice(provider)
    assert time.monotonic() - begun >= 0.05


async def test_a_tenant_sees_its_own_only(provider: MockPaymentProvider) -> None:
    answer = await opened(provider)
    stranger = MockPaymentProvider(provider.service, "other")
    with pytest.raises(NotFoundError):
        await stranger.settle(settlement(answer, 1_000))
    settled = await provider.settle(settlement(answer, 1_000))
    with pytest.raises(NotFoundError):
        await stranger.refund_status(str(settled.refund_id))


async def test_without_a_wallet_a_well_formed_proof_counts_as_paid() -> None:
    provider = MockPaymentProvider()
    details = await invoice(provider)
    proof = Proof(reference=details.reference, tx_hash="0x" + "ab" * 32, sender_address=PAYER)
    answer = await provider.verify_payment(claim(proof))
    assert (answer.valid, answer.amount, answer.payer) == (True, 300_000, PAYER)


@pytest.mark.parametrize("amount", [0, -1, True, "1.5"])
async def test_an_impossible_amount_is_refused(provider: MockPaymentProvider, amount: int) -> None:
    with pytest.raises(InvalidRequestError):
        await invoice(provider, amount)


async def test_figures_are_as_the_gateway_has_them(provider: MockPaymentProvider) -> None:
    await opened(provider)
    provider.faults.reject(RejectCode.UNKNOWN_INVOICE)
    await provider.verify_payment(claim(provider.pay(await invoice(provider))))
    info = await provider.get_gateway_info()
    assert (info["provider"], info["paymentsVerified"], info["paymentsRejected"]) == ("mock", 1, 1)
    assert info["totalVolume"] == {"base-sepolia": {"ETH": 300_000}}
