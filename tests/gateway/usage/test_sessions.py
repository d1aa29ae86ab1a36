"""Between payment and settlement: checkpoints, top-ups, release and resume, servers that vanish, settlement once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import select, update
from tests.fixtures.evm import Evm
from tests.fixtures.faults import line_to
from tests.gateway.till import AMOUNT, PRICE, TENANT, Till, open_till

from ws402.errors import ConflictError, NotFoundError, UnavailableError, WS402Error
from ws402.gateway.api.operations import Operations
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import checkpoints, refunds, sessions
from ws402.gateway.usage.settlement import NotRefundableError
from ws402.protocol import (
    Checkpoint,
    CheckpointOp,
    EndReason,
    GenerateOp,
    GenerateRequest,
    PriceTerms,
    RateTerms,
    RejectCode,
    ReleaseRequest,
    ResumeRequest,
    SettleOp,
    SettleRequest,
    VerifyOp,
    VerifyRequest,
)


@pytest.fixture
async def till(evm: Evm, database: Database) -> AsyncIterator[Till]:
    async with open_till(evm, database, vanish_seconds=5, resume_seconds=5) as made:
        yield made


def usage(session_id: str | None, elapsed_ms: int, *, epoch: int = 0) -> dict[str, object]:
    return {
        "session_id": session_id or "",
        "epoch": epoch,
        "elapsed_ms": elapsed_ms,
        "bytes_transferred": 10,
        "message_count": 2,
    }


async def age(till: Till, session_id: str | None, ms: int) -> None:
    """Make a session look older, so that usage can be reported without waiting for it."""
    async with till.database.begin() as connection:
        await connection.execute(
            update(sessions).where(sessions.c.id == session_id).values(opened_at=sessions.c.opened_at - ms)
        )


async def test_a_settlement_splits_what_was_paid(till: Till) -> None:
    session = await till.open()
    await age(till, session.session_id, 60_000)
    settled = await till.settle(session.session_id or "", 42_500)
    consumed = 42_500 * PRICE // 1000
    assert (settled.paid, settled.consumed, settled.refund) == (AMOUNT, consumed, AMOUNT - consumed)
    accounts = await till.accounts()
    assert (accounts["revenue"], accounts["payer_due"], accounts["session_escrow"]) == (consumed, AMOUNT - consumed, 0)


THIRD = PriceTerms(rates=[RateTerms(unit="seconds", amount=1, per=3)])
"""A third of a smallest unit a second."""


async def test_a_price_below_a_smallest_unit_a_second_is_exact_over_resumes_and_rounded_once(till: Till) -> None:
    payer = await till.payer()
    opened = await till.verify(await till.send(payer, await till.invoice(100, price_per_second=1, price=THIRD)))
    assert (opened.price_per_second, opened.price) == (1, THIRD)
    session_id = opened.session_id or ""
    await age(till, session_id, 400_000)
    gateway = till.service.of(TENANT)
    for epoch, elapsed in enumerate((100_000, 200_000, 299_000)):
        await gateway.release(ReleaseRequest(**usage(session_id, elapsed, epoch=epoch)))  # type: ignore[arg-type]
        resumed = await gateway.resume(ResumeRequest(token=opened.resume_token or "", server_id="another"))
        assert (resumed.price_per_second, resumed.price, resumed.elapsed_ms) == (1, THIRD, elapsed)
        opened.resume_token = resumed.resume_token
    top_up = await till.invoice(
        5000, resource_id="film", estimated_duration=31, session_id=session_id, resume_token=opened.resume_token
    )
    assert (top_up.amount, top_up.price) == (11, THIRD), "by its own price, rounded up"
    settled = await till.settle(session_id, 299_000, epoch=3)
    assert (settled.consumed, settled.refund) == (99, 1)  # not 33 + 33 + 32


async def test_a_vanished_server_s_session_is_settled_by_its_price_in_full(till: Till) -> None:
    payer = await till.payer()
    opened = await till.verify(
        await till.send(payer, await till.invoice(100, price_per_second=1, price=THIRD)), server_id="gone"
    )
    await age(till, opened.session_id, 100_000)
    await till.service.of(TENANT).checkpoint(Checkpoint(**usage(opened.session_id, 90_000)))  # type: ignore[arg-type]
    async with till.database.begin() as connection:
        await connection.execute(update(checkpoints).values(reported_at=checkpoints.c.reported_at - 6000))
    till.service.upkeep.listening.since -= 10
    await till.service.upkeep.sweep()
    (row,) = await till.rows(select(sessions.c["consumed", "refunded"]))
    assert tuple(row) == (30, 70)


METERS = PriceTerms(
    rates=[
        RateTerms(unit="seconds", amount=1, per=3),
        RateTerms(unit="messages", amount=2, per=7),
        RateTerms(unit="tokens", amount=5, per=1000),
    ]
)


async def test_use_in_several_units_is_kept_over_reports_handover_and_settlement(till: Till) -> None:
    payer = await till.payer()
    opened = await till.verify(
        await till.send(payer, await till.invoice(10_000, price_per_second=1, price=METERS)), server_id="one"
    )
    session_id, gateway = opened.session_id or "", till.service.of(TENANT)
    await age(till, session_id, 100_000)

    def used(elapsed: int, epoch: int = 0, **units: int) -> dict[str, Any]:
        return {**usage(session_id, elapsed, epoch=epoch), "units": units}

    await gateway.checkpoint(Checkpoint(**used(5000, messages=10, tokens=7)))
    await gateway.checkpoint(Checkpoint(**used(9000, messages=3, tokens=9, unpriced=2**53)))
    await gateway.checkpoint(Checkpoint(**usage(session_id, 9500)))  # type: ignore[arg-type]
    await gateway.release(ReleaseRequest(**used(10_000, messages=11)))
    resumed = await gateway.resume(ResumeRequest(token=opened.resume_token or "", server_id="two"))
    assert resumed.units == {"messages": 11, "tokens": 9}
    top_up = await till.invoice(
        9, estimated_duration=30, session_id=session_id, resume_token=resumed.resume_token,
        estimated_units={"messages": 70, "tokens": 1000, "unpriced": 10**9},
    )  # fmt: skip
    assert top_up.amount == 10 + 20 + 5
    settled = await gateway.settle(
        SettleRequest(**used(10_000, epoch=1, messages=11, tokens=2000), reason=EndReason.CLIENT_CLOSED)
    )
    assert (settled.consumed, settled.refund) == (16, 9984)  # 3.33 + 3.14 + 10, rounded once


async def test_a_server_that_reports_without_measure_takes_what_was_paid_and_time_is_bounded(till: Till) -> None:
    payer = await till.payer()
    for units, consumed in (({"messages": 2**53}, 100), ({}, None)):
        opened = await till.verify(
            await till.send(payer, await till.invoice(100, price_per_second=1, price=METERS)), server_id="one"
        )
        report = {**usage(opened.session_id, 2**50), "units": units, "reason": EndReason.CLIENT_CLOSED}
        settled = await till.service.of(TENANT).settle(SettleRequest(**report))  # type: ignore[arg-type]
        assert settled.paid == settled.consumed + settled.refund == 100
        assert settled.consumed == consumed if consumed else settled.consumed <= 20


@pytest.mark.parametrize(
    ("price", "per_second", "code"),
    [
        (structs.replace(THIRD, decimals=6), 1, "wrong_decimals"),
        (THIRD, 2, "bad_price"),
        (PriceTerms(rates=[]), 1, "bad_price"),
        (PriceTerms(rates=[RateTerms(unit="seconds", amount=0, per=1)]), 1, "bad_amount"),
    ],
)
async def test_no_invoice_is_made_for_a_price_that_contradicts_itself_or_the_asset(
    till: Till, price: PriceTerms, per_second: int, code: str
) -> None:
    with pytest.raises(WS402Error) as refused:
        await till.invoice(100, price_per_second=per_second, price=price)
    assert refused.value.code == code


async def test_a18_error_and_close_settle_once(till: Till) -> None:
    session = await till.open()
    await age(till, session.session_id, 60_000)
    answers = await asyncio.gather(*(till.settle(session.session_id or "", ms) for ms in (1000, 2000, 3000)))
    later = await till.settle(session.session_id or "", 50_000)
    assert len({(each.consumed, each.refund, each.refund_id) for each in [*answers, later]}) == 1
    assert len(await till.rows(select(refunds))) == 1


async def test_consumed_never_exceeds_what_was_paid(till: Till) -> None:
    session = await till.open()
    await age(till, session.session_id, 3_600_000)
    settled = await till.settle(session.session_id or "", 3_000_000)
    assert (settled.consumed, settled.refund, settled.refund_id) == (AMOUNT, 0, None)


async def test_a21_a_server_cannot_charge_for_time_that_has_not_passed(till: Till) -> None:
    session = await till.open()
    settled = await till.settle(session.session_id or "", 250_000)
    assert int(settled.consumed) < 10 * PRICE


async def test_usage_never_goes_back(till: Till) -> None:
    session = await till.open()
    await age(till, session.session_id, 60_000)
    for elapsed in (9000, 4000):
        await till.service.of(TENANT).checkpoint(Checkpoint(**usage(session.session_id, elapsed)))
    settled = await till.settle(session.session_id or "", 1000)
    assert settled.consumed == 9 * PRICE


async def test_a37_another_tenants_session_does_not_exist(till: Till) -> None:
    session = await till.open()
    for call in (
        till.settle(session.session_id or "", 0, tenant="rival"),
        till.service.of("rival").checkpoint(Checkpoint(**usage(session.session_id, 1))),
    ):
        with pytest.raises(NotFoundError):
            await call
    with pytest.raises(ConflictError):
        await till.service.of("rival").resume(ResumeRequest(token=session.resume_token or "", server_id="s"))


async def test_a_vanished_server_is_settled_for_at_its_last_checkpoint(till: Till) -> None:
    session, silent, alive = [await till.open() for _ in range(3)]
    for each in (session, silent, alive):
        await age(till, each.session_id, 60_000)
    await till.service.of(TENANT).checkpoint(Checkpoint(**usage(session.session_id, 7000)))
    async with till.database.begin() as connection:
        gone = checkpoints.c.session_id.in_([session.session_id, silent.session_id])
        await connection.execute(update(checkpoints).where(gone).values(reported_at=checkpoints.c.reported_at - 6000))
    await till.service.upkeep.sweep()
    assert {row.state for row in await till.rows(select(sessions.c.state))} == {"live"}, "it was not up long enough"
    till.service.upkeep.listening.since -= 10
    await till.service.upkeep.sweep()
    consumed = {row.id: row.consumed for row in await till.rows(select(sessions).where(sessions.c.state == "ended"))}
    assert consumed == {session.session_id: 7 * PRICE, silent.session_id: 0}
    late = await till.settle(session.session_id or "", 59_000)
    assert late.consumed == 7 * PRICE
    await till.accounts()


async def test_a40_top_ups_race_with_usage_and_settlement(till: Till) -> None:
    payer = await till.payer()
    session = await till.verify(await till.send(payer, await till.invoice()))
    proofs = []
    for _ in range(4):
        proofs.append(await till.send(payer, await till.invoice(PRICE, session_id=session.session_id)))
    answers = await asyncio.gather(
        *(till.verify(proof, session_id=session.session_id) for proof in proofs * 2),
        till.service.of(TENANT).checkpoint(Checkpoint(**usage(session.session_id, 1))),
    )
    assert sum(getattr(each, "valid", False) for each in answers) == 4
    settled = await till.settle(session.session_id or "", 0)
    assert settled.paid == AMOUNT + 4 * PRICE
    late = await till.send(payer, await till.invoice())
    assert late
    await till.accounts()


async def test_a_top_up_of_an_ended_session_is_owed_back(till: Till) -> None:
    payer = await till.payer()
    session = await till.verify(await till.send(payer, await till.invoice()))
    invoice = await till.invoice(PRICE, session_id=session.session_id)
    await till.settle(session.session_id or "", 0)
    proof = await till.send(payer, invoice)
    assert (await till.verify(proof, session_id=session.session_id)).code == RejectCode.SESSION_ENDED
    assert (await till.accounts())["payer_due"] == AMOUNT + PRICE
    with pytest.raises(ConflictError, match="has ended"):
        await till.invoice(PRICE, session_id=session.session_id)


async def test_a_top_up_from_another_account_is_owed_back_to_it(till: Till) -> None:
    session = await till.open()
    stranger = await till.payer()
    proof = await till.send(stranger, await till.invoice(PRICE, session_id=session.session_id))
    assert (await till.verify(proof, session_id=session.session_id)).code == RejectCode.SENDER_MISMATCH
    rows = await till.rows(select(refunds))
    assert [(row.recipient, row.amount) for row in rows] == [(stranger.address, PRICE)]


async def test_a36_a_resume_token_works_once_and_supersedes_the_holder(till: Till) -> None:
    session = await till.open()
    await age(till, session.session_id, 60_000)
    released = await till.service.of(TENANT).release(ReleaseRequest(**usage(session.session_id, 8000)))
    assert released.live
    request = ResumeRequest(token=session.resume_token or "", server_id="server-2")
    resumed = await till.service.of(TENANT).resume(request)
    assert (resumed.elapsed_ms, resumed.epoch, resumed.paid) == (8000, 1, AMOUNT)
    with pytest.raises(ConflictError, match="not valid"):
        await till.service.of(TENANT).resume(request)
    old = await till.service.of(TENANT).checkpoint(Checkpoint(**usage(session.session_id, 50_000)))
    assert (old.live, old.reason) == (False, EndReason.SUPERSEDED)
    with pytest.raises(ConflictError, match="resumed"):
        await till.settle(session.session_id or "", 50_000)
    settled = await till.settle(session.session_id or "", 9000, epoch=1)
    assert settled.consumed == 9 * PRICE
    with pytest.raises(ConflictError):
        await till.service.of(TENANT).resume(ResumeRequest(token=resumed.resume_token, server_id="server-3"))


async def test_a36_racing_resumes_have_one_winner(till: Till) -> None:
    session = await till.open()
    request = ResumeRequest(token=session.resume_token or "", server_id="server-2")
    answers = await asyncio.gather(
        *(till.service.of(TENANT).resume(request, key=f"try-{i}") for i in range(8)), return_exceptions=True
    )
    won = [position for position, each in enumerate(answers) if not isinstance(each, WS402Error)]
    assert len(won) == 1
    repeated = await till.service.of(TENANT).resume(request, key=f"try-{won[0]}")
    assert repeated == answers[won[0]]


async def test_a_release_is_settled_when_nobody_resumes(till: Till) -> None:
    session = await till.open()
    await age(till, session.session_id, 60_000)
    for _ in range(2):  # a lost answer is asked for again
        assert (await till.service.of(TENANT).release(ReleaseRequest(**usage(session.session_id, 3000)))).live
    async with till.database.begin() as connection:
        await connection.execute(update(checkpoints).values(reported_at=checkpoints.c.reported_at - 6000))
    till.service.upkeep.listening.since -= 10
    await till.service.upkeep.sweep()
    (row,) = await till.rows(select(sessions))
    assert (row.state, row.consumed) == ("ended", 3 * PRICE)


async def test_a17_a_stock_refund_is_at_most_what_was_paid_and_happens_once(till: Till) -> None:
    payer = await till.payer()
    proof = await till.send(payer, await till.invoice(price_per_second=None))
    await till.verify(proof, server_id=None)
    with pytest.raises(NotRefundableError) as refusal:
        await till.refund(proof, AMOUNT + 1)
    assert refusal.value.refundable == AMOUNT
    answers = await asyncio.gather(*(till.refund(proof, 100) for _ in range(5)))
    assert {(each.amount, each.refund_id) for each in answers} == {(100, answers[0].refund_id)}
    with pytest.raises(NotRefundableError):
        await till.refund(proof, 101)
    assert [row.amount for row in await till.rows(select(refunds))] == [100]


async def test_a16_a_stock_refund_goes_to_the_payer_whoever_is_named(till: Till) -> None:
    payer = await till.payer()
    proof = await till.send(payer, await till.invoice(price_per_second=None))
    await till.verify(proof, server_id=None)
    proof.sender_address = "0x" + "66" * 20
    assert (await till.refund(proof, 50)).recipient == payer.address


async def test_a_stock_session_that_used_everything_owes_nothing(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice(price_per_second=None))
    await till.verify(proof, server_id=None)
    answer = await till.refund(proof, 0)
    assert (answer.amount, answer.refund_id) == (0, None)
    assert (await till.accounts())["revenue"] == AMOUNT


async def test_a_stock_session_is_never_settled_behind_its_servers_back(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice(price_per_second=None))
    session = await till.verify(proof, server_id=None)
    async with till.database.begin() as connection:
        await connection.execute(update(checkpoints).values(reported_at=0))
    till.service.upkeep.listening.since -= 10
    await till.service.upkeep.sweep()
    (row,) = await till.rows(select(sessions).where(sessions.c.id == session.session_id))
    assert row.state == "live"


async def test_a_batch_answers_each_operation_on_its_own(till: Till) -> None:
    session = await till.open()
    proof = await till.send(await till.payer(), await till.invoice())
    operations = Operations(till.service)
    results = await operations.run(
        TENANT,
        [
            GenerateOp(body=GenerateRequest(amount=5, resource_id="film", estimated_duration=1)),
            GenerateOp(body=GenerateRequest(amount=-5, resource_id="film", estimated_duration=1)),
            VerifyOp(body=VerifyRequest(proof=proof, server_id="s"), key="k"),
            CheckpointOp(body=Checkpoint(**usage("ses_unknown", 1))),
            SettleOp(body=SettleRequest(**usage(session.session_id, 0), reason=EndReason.CLIENT_ENDED)),
        ],
    )
    assert [each.error.code if each.error else None for each in results] == [
        None,
        "bad_amount",
        None,
        "not_found",
        None,
    ]
    await operations.close()


async def test_a48_a_chain_that_cannot_be_asked_burns_no_proof(evm: Evm, database: Database) -> None:
    async with line_to(evm.url) as (url, line), open_till(evm, database, network={"rpc": [url]}) as till:
        invoice = await till.invoice()
        await line.cut()
        proof = await till.send(await till.payer(), invoice)
        assert (await till.verify(proof)).code == RejectCode.CHAIN_UNAVAILABLE
        with pytest.raises(UnavailableError):
            await till.service.ready()
        await line.mend()
        assert (await till.verify(proof)).valid
