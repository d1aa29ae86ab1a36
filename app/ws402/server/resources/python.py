"""A resource that is a Python function: `module:function`, an async function or an async generator.

    async def echo(stream):                 async def countdown(stream):
        async for message in stream:            for left in range(10, 0, -1):
            await stream.send(message)              yield f"{left}"

It runs once for each session, in a task of its own, and is cancelled when the session ends. When it returns, the
session ends and is settled; when it raises, the client is told that the resource failed.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, cast

from ws402.errors import ConfigurationError
from ws402.server.resources.base import Resource, Stream
from ws402.settings import ResourceSettings

HIGH_WATER: Final = 64
"""Messages of the client that wait for the function before its socket is read no further."""

logger = logging.getLogger(__name__)


class AsyncStream:
    """What the function gets: `async for` reads the client's messages, `send` waits for a client that reads slowly."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._messages: deque[str | bytes] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._held = False
        self.task: asyncio.Task[None] | None = None

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._stream.id

    @property
    def user_id(self) -> str:
        """Who opened the session, as the client or the server's `user_id_extractor` says."""
        return self._stream.user_id

    @property
    def query(self) -> str:
        """The query string with which the client opened its socket."""
        return self._stream.query

    async def send(self, message: str | bytes) -> None:
        """Send a text or binary message; returns when the client's buffer has room again."""
        self._stream.send(message)
        while self._stream.paused and self._stream.live:
            self._writable.clear()
            await self._writable.wait()

    def charge(self, count: int, unit: str) -> bool:
        """Charge so many of a unit that the price names, such as `stream.charge(250, "tokens")`.

        Whether the session goes on: when all that was paid is used, it ends, and costs no more than was paid. A unit
        that has no price is free. Raises InvalidRequestError for anything but a whole number from 0 on.
        """
        return self._stream.charge(count, unit)

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    async def __anext__(self) -> str | bytes:
        while not self._messages:
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        message = self._messages.popleft()
        if self._held and len(self._messages) < HIGH_WATER // 2:
            self._held = False
            self._stream.resume_reading()
        return message

    def put(self, message: str | bytes) -> None:
        """A message of the client arrived."""
        self._messages.append(message)
        if len(self._messages) >= HIGH_WATER and not self._held:
            self._held = True
            self._stream.pause_reading()
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def writable(self) -> None:
        """The client reads again."""
        self._writable.set()


class PythonResource(Resource):
    """Runs the function."""

    def __init__(self, settings: ResourceSettings) -> None:
        super().__init__(settings)
        self._function: Callable[[AsyncStream], Any] | None = None

    def check(self) -> None:
        """Import the function; the folder in which the server was started counts as a place to look."""
        module_name, _, name = self.settings.target.partition(":")
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        try:
            function = getattr(importlib.import_module(module_name), name or "stream")
        except Exception as error:  # whatever the module does when it is imported
            raise ConfigurationError(
                f"Resource '{self.settings.id}': '{self.settings.target}' cannot be imported"
                f" ({type(error).__name__}: {error}).",
                remedy="Write module:function, and start the server where the module can be found.",
            ) from error
        if not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
            raise ConfigurationError(
                f"Resource '{self.settings.id}': '{self.settings.target}' is no async function.",
                remedy="Define it with async def; it gets one argument, the stream.",
            )
        try:
            inspect.signature(function).bind(None)
        except TypeError as error:
            raise ConfigurationError(
                f"Resource '{self.settings.id}': '{self.settings.target}' does not take one argument ({error}).",
                remedy=f"Define it as: async def {function.__name__}(stream). It gets the session's stream alone.",
            ) from None
        self._function = function

    def opened(self, stream: Stream) -> None:
        """Run the function for this session."""
        feed = AsyncStream(stream)
        stream.state = feed
        feed.task = asyncio.get_running_loop().create_task(self._run(stream, feed), name=f"ws402-{stream.id}")

    def received(self, stream: Stream, message: str | bytes) -> None:
        """For the function's `async for`."""
        stream.state.put(message)

    def writable(self, stream: Stream) -> None:
        """Let `send` return."""
        stream.state.writable()

    def closed(self, stream: Stream, code: int) -> None:  # noqa: ARG002
        """Cancel the function, unless it has ended by itself: what it charged or sent may have used the last coin."""
        feed: AsyncStream | None = stream.state
        if feed is not None and feed.task is not None:
            feed.task.cancel()

    async def _run(self, stream: Stream, feed: AsyncStream) -> None:
        function = self._function
        assert function is not None, "check() was not called"  # noqa: S101 - the server calls it first
        try:
            running = function(feed)
            if inspect.isasyncgen(running):
                async for message in cast("AsyncIterator[str | bytes]", running):
                    await feed.send(message)
            else:
                await running
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("resource %s failed", self.settings.id)
            feed.task = None
            stream.fail("The resource failed; what was not used is refunded.")
        else:
            feed.task = None
            stream.end()
