"""Background jobs that cannot die silently: one kind of loop, with a period, a back-off and a record of success."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from ws402.errors import UnavailableError, WS402Error
from ws402.observability import metrics

log = logging.getLogger(__name__)

MAX_BACK_OFF: Final = 30.0
"""Seconds; no failing job waits longer for its next try."""


class JobDeadError(UnavailableError):
    """A background job ended, or has not succeeded for longer than it may."""

    code = "job_dead"


class Job:
    """Does `work` every `seconds`, from `start` to `close`, whatever it raises.

    A failure is logged when it is new, and tried again with exponential back-off and jitter. `wake` shortens a wait to
    `gather` seconds, so that a burst of calls is one turn, but no back-off. `delay` is the wait before the first time
    (default: the period). With `patience`, in seconds, a process is not ready once the last success is older. Periods
    vary by a tenth, so that replicas do not keep step.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[object]],
        seconds: float,
        *,
        delay: float | None = None,
        patience: float | None = None,
        gather: float = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.seconds = seconds
        """The period; a change counts from the next wait on."""
        self.failures = 0
        """In a row."""
        self.error: BaseException | None = None
        """Why the last try failed."""
        self._work = work
        self._delay = seconds if delay is None else delay
        self._patience = patience
        self._gather = gather
        self._clock = clock
        self._succeeded = clock()
        self._poke = asyncio.Event()
        self._recovered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Begin."""
        self._closing = False
        self._succeeded = self._clock()
        metrics.JOB_FAILURES.ready(self.name)
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self.name)

    async def close(self, *, grace: float = 0) -> None:
        """End. Work that is under way may go on for `grace` seconds before it is cancelled."""
        self._closing = True
        task, self._task = self._task, None
        if task is None:
            return
        if grace:
            self._poke.set()
            await asyncio.wait([task], timeout=grace)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        metrics.JOB_SUCCESS.clear(self.name)

    def wake(self, *, recovered: bool = False) -> None:
        """There is work: do not wait for the period's end. `recovered`: nor for a back-off's, for what failed is known
        to work again.
        """
        self._poke.set()
        if recovered:
            self._recovered.set()

    @property
    def age(self) -> float:
        """Seconds since the last success, or since the start."""
        return self._clock() - self._succeeded

    @property
    def dead(self) -> bool:
        """Whether it has ended although nobody closed it."""
        return self._task is not None and self._task.done()

    def check(self) -> None:
        """Raise JobDeadError when it ended by itself, or when its last success is too old."""
        if self._task is None:
            return
        if self.dead:
            raise JobDeadError(f"The background job '{self.name}' has ended.", remedy="Restart the process.")
        if self._patience is not None and self.age > self._patience:
            raise JobDeadError(
                f"The background job '{self.name}' has not succeeded for {self.age:.0f} s: {self.error}.",
                remedy="The log says why.",
            )

    async def attempt(self) -> bool:
        """Do the work once; whether it went well. Whatever it raises is noted, but for our own cancellation."""
        try:
            await self._work()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if self._closing or (task is not None and task.cancelling()):
                raise
            self._failed(error)  # something that the work waited for was cancelled, not the job
        except Exception as error:  # noqa: BLE001 - the job goes on
            self._failed(error)
        else:
            self._went_well()
            return True
        return False

    async def _run(self) -> None:
        await self._wait(self._delay)
        while not self._closing:
            await self.attempt()
            if self.failures:
                turn = min(min(self.seconds, 1.0) * 2.0 ** min(self.failures, 10), MAX_BACK_OFF)
                self._recovered.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(random.uniform(turn / 4, turn)):  # noqa: S311 - spreads load only
                        await self._recovered.wait()
            else:
                await self._wait(self.seconds * random.uniform(0.9, 1.1))  # noqa: S311 - likewise

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._poke.wait()
            if not self._closing:
                await asyncio.sleep(self._gather)
        self._poke.clear()

    def _went_well(self) -> None:
        self._succeeded = self._clock()
        metrics.JOB_SUCCESS.set(time.time(), self.name)
        if self.failures:
            log.info("%s: works again", self.name)
        self.failures, self.error = 0, None

    def _failed(self, error: BaseException) -> None:
        self.failures += 1
        metrics.JOB_FAILURES.inc(self.name)
        known = self.error is not None and (type(self.error), str(self.error)) == (type(error), str(error))
        self.error = error
        if known:
            return
        if isinstance(error, WS402Error | OSError):
            log.warning("%s: %s; trying again", self.name, error)
        else:
            log.error("%s failed; trying again", self.name, exc_info=error)


class Jobs:
    """The background jobs of one owner."""

    def __init__(self, jobs: Iterable[Job] = ()) -> None:
        self._jobs = list(jobs)

    def add(self, job: Job) -> Job:
        """Keep one more; start it by itself."""
        self._jobs.append(job)
        return job

    def remove(self, job: Job) -> None:
        """Keep it no longer: it was closed, and may end."""
        self._jobs.remove(job)

    def start(self) -> None:
        """Begin all."""
        for job in self._jobs:
            job.start()

    async def close(self) -> None:
        """End all."""
        await asyncio.gather(*(job.close() for job in self._jobs))

    def check(self) -> None:
        """Readiness: raise JobDeadError for the first that is dead."""
        for job in self._jobs:
            job.check()
