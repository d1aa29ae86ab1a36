"""Background jobs go on whatever their work raises, and readiness tells when one cannot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from ws402.errors import UnavailableError
from ws402.jobs import Job, JobDeadError, Jobs
from ws402.observability import metrics


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def failing(errors: list[BaseException | None]) -> tuple[list[int], Callable[[], Awaitable[None]]]:
    """Work that raises these one after the other, and then works."""
    turns: list[int] = []

    async def work() -> None:
        turns.append(len(turns))
        if len(turns) <= len(errors) and (error := errors[len(turns) - 1]) is not None:
            raise error

    return turns, work


@pytest.mark.parametrize(
    "error", [ValueError("unforeseen"), UnavailableError("away"), OSError("gone"), asyncio.CancelledError()]
)
async def test_no_error_ends_a_job(error: BaseException) -> None:
    turns, work = failing([error, error])
    job = Job("test errors", work, 0.001)
    job.start()
    await until(lambda: len(turns) > 4)
    job.check()
    assert job.failures == 0
    assert metrics.JOB_FAILURES.value("test errors") >= 2
    await job.close()


async def test_an_error_is_told_once_until_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    same = UnavailableError("away")
    turns, work = failing([same, same, same, UnavailableError("still away"), None])
    job = Job("test log", work, 0.001)
    with caplog.at_level(logging.INFO, "ws402.jobs"):
        job.start()
        await until(lambda: len(turns) > 5)
        await job.close()
    assert [record.getMessage() for record in caplog.records] == [
        "test log: away; trying again",
        "test log: still away; trying again",
        "test log: works again",
    ]


async def test_a_wake_shortens_the_wait_and_a_burst_is_one_turn() -> None:
    turns, work = failing([])
    job = Job("test wake", work, 3600, gather=0.01)
    job.start()
    for _ in range(5):
        job.wake()
    await until(lambda: turns)
    await asyncio.sleep(0.05)
    assert len(turns) == 1
    await job.close()


async def test_a_back_off_ends_when_what_failed_works_again() -> None:
    turns, work = failing([UnavailableError("away")] * 12)
    job = Job("test recovered", work, 60, delay=0)
    job.start()
    for number in range(1, 13):
        await until(lambda number=number: len(turns) == number)  # type: ignore[misc]  # bound now
        job.wake()
        await asyncio.sleep(0.002)
        assert len(turns) == number, "a wake ended a back-off"
        job.wake(recovered=True)
    await until(lambda: job.failures == 0)
    await job.close()


async def test_success_is_shown_and_closing_takes_it_away() -> None:
    turns, work = failing([])
    job = Job("test success", work, 0.001)
    job.start()
    await until(lambda: turns)
    await until(lambda: metrics.JOB_SUCCESS.value("test success"))
    await job.close()
    assert metrics.JOB_SUCCESS.value("test success") == 0


async def test_a_job_that_ended_is_not_ready() -> None:
    async def work() -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]  # as a stranger would
        await asyncio.sleep(0)

    job = Job("test dead", work, 0.001)
    jobs = Jobs((job,))
    jobs.check()
    jobs.start()
    await until(lambda: job.dead)
    with pytest.raises(JobDeadError, match="'test dead' has ended") as told:
        jobs.check()
    assert told.value.code == "job_dead"
    await jobs.close()
    jobs.check()


async def test_a_job_whose_success_is_too_old_is_not_ready() -> None:
    now = [0.0]
    turns, work = failing([UnavailableError("away")] * 10_000)
    job = Job("test late", work, 0.001, patience=60, clock=lambda: now[0])
    job.start()
    await until(lambda: len(turns) > 1)
    job.check()
    now[0] = 61
    with pytest.raises(JobDeadError, match="has not succeeded for 61 s: away"):
        job.check()
    await job.close()


async def test_closing_lets_work_under_way_end() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.sleep(0.02)
        ended.set()

    job = Job("test grace", work, 0.001)
    job.start()
    await begun.wait()
    await job.close(grace=5)
    assert ended.is_set()
