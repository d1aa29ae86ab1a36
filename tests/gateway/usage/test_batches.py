"""Several operations of sessions in one transaction, or in two gateways' transactions at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, text, update
from tests.fixtures.evm import Evm
from tests.gateway.till import TENANT, Till, open_till

from ws402.errors import InvalidRequestError
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import checkpoints, sessions
from ws402.gateway.usage.settlement import lock_sessions
from ws402.protocol import Checkpoint, EndReason, ReleaseRequest, ResumeRequest


@pytest.fixture
async def till(evm: Evm, database: Database) -> AsyncIterator[Till]:
    async with open_till(evm, database) as made:
        yield made


async def live(till: Till) -> str:
    """A session that was opened an hour ago."""
    session_id = (await till.open()).session_id or ""
    async with till.database.begin() as connection:
        await connection.execute(
            update(sessions).where(sessions.c.id == session_id).values(opened_at=sessions.c.opened_at - 3_600_000)
        )
    return session_id


def usage(session_id: str, amount: int) -> dict[str, object]:
    return {
        "session_id": session_id,
        "epoch": 0,
        "elapsed_ms": amount,
        "bytes_transferred": amount,
        "message_count": amount,
    }


async def recorded(till: Till, session_id: str) -> tuple[int, int, int]:
    (row,) = await till.rows(select(checkpoints).where(checkpoints.c.session_id == session_id))
    return row.elapsed_ms, row.bytes_transferred, row.message_count


async def test_two_reports_in_one_batch_take_nothing_back(till: Till) -> None:
    session_id, calls = await live(till), till.service.of(TENANT)
    await asyncio.gather(*(calls.checkpoint(Checkpoint(**usage(session_id, n))) for n in (100, 2000, 300)))
    assert await recorded(till, session_id) == (2000, 2000, 2000)


async def test_a_checkpoint_behind_a_release_in_the_same_batch_is_told_to_let_go(till: Till) -> None:
    session_id, calls = await live(till), till.service.of(TENANT)
    released, again, late = await asyncio.gather(
        calls.release(ReleaseRequest(**usage(session_id, 10))),
        calls.release(ReleaseRequest(**usage(session_id, 10))),
        calls.checkpoint(Checkpoint(**usage(session_id, 20))),
    )
    assert (released.live, again.live) == (True, True)
    assert (late.live, late.reason) == (False, EndReason.SUPERSEDED)
    assert await recorded(till, session_id) == (10, 10, 10)


async def test_a_count_that_no_database_holds_fails_alone(till: Till) -> None:
    bad, good, calls = await live(till), await live(till), till.service.of(TENANT)
    huge = Checkpoint(**usage(bad, 5) | {"message_count": 2**63})
    failed, answer = await asyncio.gather(
        calls.checkpoint(huge), calls.checkpoint(Checkpoint(**usage(good, 7))), return_exceptions=True
    )
    assert isinstance(failed, Exception)
    assert not isinstance(answer, BaseException)
    assert answer.live
    assert (await recorded(till, bad), await recorded(till, good)) == ((0, 0, 0), (7, 7, 7))


async def test_a_session_without_a_price_cannot_be_resumed_or_topped_up_and_says_so_alone(till: Till) -> None:
    payer = await till.payer()
    unpriced = await till.verify(await till.send(payer, await till.invoice(price_per_second=None)))
    good, calls = await till.open(), till.service.of(TENANT)
    refused, resumed = await asyncio.gather(
        calls.resume(ResumeRequest(token=unpriced.resume_token or "", server_id="s")),
        calls.resume(ResumeRequest(token=good.resume_token or "", server_id="s")),
        return_exceptions=True,
    )
    assert isinstance(refused, InvalidRequestError)
    assert not isinstance(resumed, BaseException)
    assert resumed.session_id == good.session_id
    with pytest.raises(InvalidRequestError, match="no price"):
        await till.invoice(session_id=unpriced.session_id, resume_token=unpriced.resume_token)


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_report_that_waits_for_another_gateways_takes_nothing_back(till: Till) -> None:
    session_id = await live(till)
    async with till.database.begin() as connection:  # as the other gateway, in the middle of a report
        await lock_sessions(connection, {session_id})
        reported = update(checkpoints).where(checkpoints.c.session_id == session_id)
        await connection.execute(reported.values(reported_at=1, **dict.fromkeys(USAGE, 2000)))
        late = asyncio.ensure_future(till.service.of(TENANT).checkpoint(Checkpoint(**usage(session_id, 100))))
        await until_waiting(till.database, 1)
    assert (await late).live
    assert await recorded(till, session_id) == (2000, 2000, 2000)


USAGE = ("elapsed_ms", "bytes_transferred", "message_count")


async def until_waiting(database: Database, count: int) -> None:
    """Until so many statements wait for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while True:
        async with database.read() as connection:
            if (await connection.execute(waiting)).scalar_one() >= count:
                return
        await asyncio.sleep(0.02)
