"""HTTP requests of sessions: how many may be under way, and that none outlives its session."""

from __future__ import annotations

import asyncio
from typing import Final

from ws402.errors import ForbiddenError, RateLimitedError
from ws402.server.resources.base import Receive, Resource, Scope, Send, Stream
from ws402.settings import ResourceSettings

MAX_REQUESTS: Final = 1000
"""Requests of one resource at once, over all its sessions."""
SHARED_REQUESTS: Final = 750
"""Of these, how many any session may take part of: the others are for sessions that have none under way."""


class HttpServed(Resource):
    """A resource that answers HTTP. A session may have `max_requests` of the settings under way at once."""

    over_http = True

    def __init__(self, settings: ResourceSettings) -> None:
        super().__init__(settings)
        self._requests: dict[str, set[asyncio.Task[None]]] = {}
        """By session."""
        self._under_way = 0

    async def serve(self, stream: Stream, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer while the session lives. Raises RateLimitedError, ForbiddenError."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a request runs in a task
        mine = self._requests.get(stream.id)
        self._check_room(0 if mine is None else len(mine))
        if mine is None:
            mine = self._requests[stream.id] = set()
        mine.add(task)
        self._under_way += 1
        try:
            await self.answer(stream, path, scope, receive, send)
        except asyncio.CancelledError:
            if task in mine:
                raise  # not by us
            task.uncancel()
            raise ForbiddenError("The session has ended.", remedy="Open another.", code="token_refused") from None
        finally:
            self._under_way -= 1
            mine.discard(task)
            if not mine and self._requests.get(stream.id) is mine:
                del self._requests[stream.id]

    def _check_room(self, mine: int) -> None:
        if mine >= self.settings.max_requests or (mine and self._under_way >= SHARED_REQUESTS):
            raise RateLimitedError(
                f"{mine} requests of this session are under way.", retry_after=1, remedy="Let them finish first."
            )
        if self._under_way >= MAX_REQUESTS:
            raise RateLimitedError("The resource has as many requests as it takes.", retry_after=1, remedy="Try again.")

    async def answer(self, stream: Stream, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """As `serve`, within the limits; cancelled when the session ends."""
        raise NotImplementedError

    def closed(self, stream: Stream, code: int) -> None:  # noqa: ARG002
        """What is under way ends with the session: a client that reads nothing would keep it for ever."""
        current = asyncio.current_task()
        mine = self._requests.pop(stream.id, None)
        if mine is None:
            return
        late = [task for task in mine if task is not current]
        mine.difference_update(late)
        for task in late:
            task.cancel()
