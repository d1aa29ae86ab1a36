"""The end of sessions at the gateway: each is told once, and told again until the gateway has answered.

A request is fixed when its session ends: repeating it cannot change what is charged, and the gateway gives the same
answer each time. While the gateway is away, requests wait in one bounded queue with one task. If this server dies
first, the gateway settles by the last checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ws402.errors import CALLER_REFUSED, RateLimitedError, UnavailableError, WS402Error
from ws402.observability import tracing
from ws402.observability.context import session_id
from ws402.protocol import EndReason, ReleaseRequest, SettleRequest, SettleResponse
from ws402.provider.base import PaymentProvider
from ws402.server.calls import Calls

MAX_WAITING: Final = 50_000
BATCH: Final = 200
FIRST_DELAY_SECONDS: Final = 0.5
MAX_DELAY_SECONDS: Final = 30.0

logger = logging.getLogger(__name__)

Done = Callable[[SettleRequest | ReleaseRequest, SettleResponse | None], None]
"""Called once: with the settlement, or with None when the gateway refused or the session was only released."""


@dataclass(slots=True)
class _Ending:
    request: SettleRequest | ReleaseRequest
    done: Done
    span: tracing.Span | None = None


class Ends:
    """Delivers the ends of sessions."""

    def __init__(self, provider: PaymentProvider, calls: Calls, *, first_delay: float = FIRST_DELAY_SECONDS) -> None:
        self._provider = provider
        self._calls = calls
        self._first_delay = first_delay
        self._waiting: deque[_Ending] = deque()
        self._retry: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Ends that the gateway has not answered yet."""
        return len(self._waiting)

    def deliver(self, request: SettleRequest | ReleaseRequest, done: Done, span: tracing.Span | None = None) -> None:
        """Tell the gateway now; if it is away, keep at it in the background. `span`: the session in its trace."""
        self._calls.spawn(self._deliver(request, done, span))

    def refund_unused(self, session_id: str, epoch: int, reason: EndReason, *, elapsed_ms: int = 0) -> None:
        """A payment was accepted but nothing could be delivered for it: everything goes back."""
        request = SettleRequest(
            session_id=session_id,
            epoch=epoch,
            elapsed_ms=elapsed_ms,
            bytes_transferred=0,
            message_count=0,
            reason=reason,
        )
        self.deliver(request, _unheard)

    async def _deliver(self, request: SettleRequest | ReleaseRequest, done: Done, span: tracing.Span | None) -> None:
        session_id.set(request.session_id)
        ending = _Ending(request, done, span)
        if not await (self._ask(ending) if span is None else self._tell(ending)):
            self._keep(ending)

    async def flush(self, seconds: float) -> bool:
        """Try everything that is left now, for at most this long; answers whether nothing is left."""
        if self._retry is not None:
            self._hurry.set()
            await asyncio.wait([self._retry], timeout=seconds)
        return not self._waiting

    async def close(self) -> None:
        """Give up what is left: the gateway settles it by the last checkpoint."""
        if self._retry is not None:
            self._retry.cancel()
            await asyncio.wait([self._retry])
        if self._waiting:
            logger.error("%d ended sessions could not be settled; the gateway will, by checkpoint", len(self._waiting))

    def _keep(self, ending: _Ending) -> None:
        if len(self._waiting) >= MAX_WAITING:
            logger.error("too many ends wait; session %s is left to the gateway", ending.request.session_id)
            return
        self._waiting.append(ending)
        if self._retry is None:
            self._retry = asyncio.get_running_loop().create_task(self._keep_telling(), name="ws402-settlements")

    async def _keep_telling(self) -> None:
        logger.warning("the gateway is away; ended sessions wait to be settled")
        delay = self._first_delay
        while self._waiting:
            await self._pause(delay)
            batch = [self._waiting[at] for at in range(min(BATCH, len(self._waiting)))]
            told = await asyncio.gather(*(self._tell(ending) for ending in batch))
            for _ in batch:
                self._waiting.popleft()
            self._waiting.extend(ending for ending, was_told in zip(batch, told, strict=True) if not was_told)
            delay = self._first_delay if any(told) else min(delay * 2, MAX_DELAY_SECONDS)
        self._retry = None
        logger.info("all ended sessions are settled")

    async def _pause(self, seconds: float) -> None:
        """Wait, or until someone is in a hurry."""
        try:
            async with asyncio.timeout(seconds * random.uniform(0.5, 1)):  # noqa: S311 - not a secret
                await self._hurry.wait()
                self._hurry.clear()
        except TimeoutError:
            pass

    async def _tell(self, ending: _Ending) -> bool:
        """Whether the gateway answered, whatever it said."""
        if ending.span is None:
            return await self._ask(ending)
        with tracing.use(ending.span):
            return await self._ask(ending)

    async def _ask(self, ending: _Ending) -> bool:
        request = ending.request
        answer: SettleResponse | None = None
        try:
            if isinstance(request, SettleRequest):
                answer = await self._provider.settle(request)
            else:
                await self._provider.release(request)
        except (UnavailableError, RateLimitedError, *CALLER_REFUSED):
            return False
        except WS402Error as error:
            logger.warning("the gateway did not take the end of session %s: %s", request.session_id, error.code)
        except Exception:
            logger.exception("telling the end of session %s failed; trying again", request.session_id)
            return False
        ending.done(request, answer)
        return True


def _unheard(request: SettleRequest | ReleaseRequest, answer: SettleResponse | None) -> None:
    """Nobody is left to be told."""
    logger.info("session %s was refunded unused (%s)", request.session_id, "settled" if answer else "by the gateway")
