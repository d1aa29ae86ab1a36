"""Tells the gateway at intervals how much each live session has used: a server that dies loses nobody's money."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from ws402.errors import NotFoundError, WS402Error
from ws402.jobs import Job
from ws402.protocol import Checkpoint, CheckpointResponse, EndReason
from ws402.provider.base import PaymentProvider

BATCH: Final = 250

logger = logging.getLogger(__name__)


class Metered(Protocol):
    """A live session."""

    def checkpoint(self, now: int) -> Checkpoint:
        """Its use so far."""

    def lose(self, reason: EndReason | None) -> None:
        """The gateway says that it ended or moved: stop serving it, settle nothing."""


class Checkpointer:
    """One job for all sessions. Calls of one batch are under way together, so the provider can send them as one."""

    def __init__(
        self,
        provider: PaymentProvider,
        sessions: Callable[[], Sequence[Metered]],
        *,
        interval_seconds: float,
        clock: Callable[[], int],
    ) -> None:
        self._provider = provider
        self._sessions = sessions
        self._interval = interval_seconds
        self._clock = clock
        self._away = False
        self.job = Job("checkpoints", self._round, interval_seconds)

    async def sweep(self, pause: float = 0) -> None:
        """One checkpoint for every live session; `pause` seconds are spread between the batches."""
        sessions = self._sessions()
        batches = -(-len(sessions) // BATCH)
        for at in range(batches):
            await self._send(sessions[at * BATCH : (at + 1) * BATCH])
            if at < batches - 1:
                await asyncio.sleep(pause / batches)

    async def _round(self) -> None:
        """A sweep takes up to half of the interval; the job waits for what is left of it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.sweep(self._interval / 2)
        self.job.seconds = max(0.0, self._interval - (loop.time() - began))

    async def _send(self, sessions: Sequence[Metered]) -> None:
        now = self._clock()
        calls = [self._provider.checkpoint(session.checkpoint(now)) for session in sessions]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        failed: BaseException | None = None
        for session, answer in zip(sessions, answers, strict=True):
            if isinstance(answer, CheckpointResponse):
                if not answer.live:
                    session.lose(answer.reason)
            elif isinstance(answer, NotFoundError):  # nobody could settle it
                session.lose(None)
            else:
                failed = answer
        self._report(failed)

    def _report(self, failed: BaseException | None) -> None:
        """Say once that the gateway went away, once that it came back."""
        if failed is None:
            if self._away:
                logger.info("the gateway takes checkpoints again")
        elif not isinstance(failed, WS402Error):
            logger.error("a checkpoint failed", exc_info=failed)
        elif not self._away:
            logger.warning("the gateway does not take checkpoints: %s", failed.code)
        self._away = failed is not None
