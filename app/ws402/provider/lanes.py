"""Micro-batches of operations: those that arrive while a call is under way join the next one. No timer when idle."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from ws402.observability import metrics
from ws402.protocol import AnyOp, OpResult

LIMIT: Final = 256
"""Operations in a call."""

PATIENCE_SECONDS: Final = 0.05
"""A call that takes longer than this no longer makes the next one wait."""

MAX_CALLS: Final = 4
"""Calls of one lane under way at once."""


class Lane:
    """Sends operations in the order in which they came. `call` answers a list of them, or fails as a whole."""

    def __init__(self, name: str, call: Callable[[list[AnyOp]], Awaitable[list[OpResult]]]) -> None:
        self.name = name
        self._call = call
        self._sizes = metrics.LINK_BATCH.of(name)
        self._queue: deque[tuple[AnyOp, asyncio.Future[OpResult]]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._fresh: asyncio.Task[None] | None = None
        """The newest call, while it is not late."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Operations in the queue."""
        return len(self._queue)

    def submit(self, op: AnyOp) -> asyncio.Future[OpResult]:
        """Queue an operation; its future gets the answer, or the error of its call."""
        future: asyncio.Future[OpResult] = asyncio.get_running_loop().create_future()
        self._queue.append((op, future))
        self._next()
        return future

    async def close(self) -> None:
        """Wait until everything is answered."""
        while self._calls or self._queue:
            await asyncio.wait(self._calls)

    def _next(self) -> None:
        if not self._queue or len(self._calls) >= MAX_CALLS:
            return
        if self._fresh is not None:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._late)
            return
        task = asyncio.get_running_loop().create_task(self._send(), name=f"provider {self.name}")
        self._fresh = task
        self._calls.add(task)
        task.add_done_callback(self._done)

    def _late(self) -> None:
        self._timer = self._fresh = None
        self._next()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if self._fresh is task:
            self._fresh = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        self._next()

    async def _send(self) -> None:
        batch: list[tuple[AnyOp, asyncio.Future[OpResult]]] = []
        while self._queue and len(batch) < LIMIT:
            op, future = self._queue.popleft()
            if not future.done():  # a caller that gave up before it was sent
                batch.append((op, future))
        if not batch:
            return
        self._sizes.observe(len(batch))
        try:
            results = await self._call([op for op, _ in batch])
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    if isinstance(error, Exception):
                        future.set_exception(error)
                    else:
                        future.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
