"""The built-in demonstration stream: a counter and the time, once a second, the same for everyone."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import msgspec

from ws402.server.resources.base import Resource, Stream
from ws402.settings import ResourceSettings

PERIOD_SECONDS: Final = 1.0


class Tick(msgspec.Struct, tag_field="type", tag="tick"):
    """`time` is milliseconds since the epoch."""

    sequence: int
    time: int


class TickerResource(Resource):
    """Encodes each tick once and sends it to all sessions; echoes nothing."""

    def __init__(self, settings: ResourceSettings) -> None:
        super().__init__(settings)
        self._streams: dict[str, Stream] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sequence = 0

    async def start(self) -> None:
        """Begin to tick."""
        self._timer = asyncio.get_running_loop().call_later(PERIOD_SECONDS, self._tick)

    async def close(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()

    def opened(self, stream: Stream) -> None:
        """From the next tick on."""
        self._streams[stream.id] = stream

    def closed(self, stream: Stream, code: int) -> None:  # noqa: ARG002
        """No more for this one."""
        self._streams.pop(stream.id, None)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD_SECONDS, self._tick)
        self._sequence += 1
        message = msgspec.json.encode(Tick(self._sequence, time.time_ns() // 1_000_000)).decode()
        for stream in list(self._streams.values()):
            if not stream.paused:
                stream.send(message)
