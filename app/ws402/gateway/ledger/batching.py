"""Micro-batches: operations that arrive while a commit is under way share the next one. Nothing waits on a timer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError

from ws402.errors import UnavailableError, WS402Error
from ws402.observability import metrics, tracing

log = logging.getLogger(__name__)

Op = TypeVar("Op")
Result = TypeVar("Result")


class Batcher(Generic[Op, Result]):
    """Runs lists of operations, one list at a time.

    `run` answers each operation of a list on its own, in order: with a result or an error. When the list as a whole
    fails, whatever was raised, nothing of it was done, and its halves run again: a bad operation fails alone, and one
    among many costs a few more transactions, not one each. Only an outage (UnavailableError) fails all at once.
    """

    def __init__(
        self, name: str, run: Callable[[list[Op]], Awaitable[list[Result | WS402Error]]], *, limit: int = 256
    ) -> None:
        self.name = name
        self._run = run
        self._limit = limit
        self._queue: deque[tuple[Op, asyncio.Future[Result]]] = deque()
        self._traced: dict[asyncio.Future[Result], tracing.Span] = {}
        """Operations in the queue that are in a sampled trace."""
        self._task: asyncio.Task[None] | None = None
        self._sizes = metrics.BATCH_OPERATIONS.of(name)
        self._seconds = metrics.BATCH_SECONDS.of(name)

    @property
    def waiting(self) -> int:
        """Operations in the queue."""
        return len(self._queue)

    def submit(self, op: Op) -> asyncio.Future[Result]:
        """Queue an operation; its future gets the result, or the error."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((op, future))
        if (span := tracing.current()) is not None:
            self._traced[future] = span
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain(), name=f"batch {self.name}")
        return future

    async def close(self) -> None:
        """Wait until the queue is empty."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _drain(self) -> None:
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._limit))]
                begun = time.perf_counter()
                # The task was made by whoever came first: it works for those of the batch, and for nobody else.
                spans = self._spans(batch)
                with tracing.use(*spans):
                    await self._answer(batch)
                self._sizes.observe(len(batch))
                self._seconds.observe(time.perf_counter() - begun, spans[0].trace_id if spans else None)
                for span in spans:
                    span.end()
        finally:
            self._task = None

    def _spans(self, batch: list[tuple[Op, asyncio.Future[Result]]]) -> list[tracing.Span]:
        """A span for the batch in every sampled trace that has an operation in it."""
        if not self._traced:
            return []
        about = {"ws402.batch.size": len(batch)}
        found = [self._traced.pop(future) for _, future in batch if future in self._traced]
        return [span.child(f"ws402.batch {self.name}", attributes=about) for span in found]

    async def _answer(self, batch: list[tuple[Op, asyncio.Future[Result]]], *, again: bool = True) -> None:
        try:
            results: list[Result | WS402Error] = await self._run([op for op, _ in batch])
            answers = list(zip(batch, results, strict=True))
        except UnavailableError as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whoever caused it gets it; the queue must go on
            if len(batch) > 1:
                log.warning("batch of %d %s operations runs again in halves: %s", len(batch), self.name, _brief(error))
                middle = len(batch) // 2
                await self._answer(batch[:middle])
                await self._answer(batch[middle:])
            elif again and isinstance(error, DBAPIError):
                # Another gateway's transaction was in the way (a deadlock, the same key); it has ended now.
                await self._answer(batch, again=False)
            else:
                _fail(batch, error)
        else:
            for (_, future), result in answers:
                if future.done():
                    continue
                if isinstance(result, WS402Error):
                    future.set_exception(result)
                else:
                    future.set_result(result)


def _brief(error: Exception) -> str:
    """What failed, without what an operation holds."""
    return str(error.orig) if isinstance(error, DBAPIError) else type(error).__name__


def _fail(batch: list[tuple[Op, asyncio.Future[Result]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
