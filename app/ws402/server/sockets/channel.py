"""Frames both ways over one connection, within bounds, paid or not.

While more waits for the client than the transport's high-water mark, nothing more is read from it, so that no ping and
no request adds to that; beyond `max_write_buffer_bytes` or `MAX_WAITING_FRAMES` more it is cut off. A single large
message is no reason: it waits, and flows. What may not be looked at yet, because the session has enough to do, stays
unread.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ws402.server.sockets.frames import PING, FrameError, FrameReader, frame

MAX_WAITING_FRAMES: Final = 16_384
"""Frames that may be added to what waits for a client above the high-water mark: small ones cost more than their
bytes."""

_PING: Final = frame(PING, b"")


class Channel(asyncio.Protocol):
    """What comes in goes to `_take`, one frame at a time."""

    __slots__ = ("_deaf", "_frames", "_limit", "_reader", "_reading", "_stuck", "heard", "held", "paused", "transport")

    def __init__(self, transport: asyncio.Transport, max_message_bytes: int) -> None:
        self.transport = transport
        self.heard = True
        """Something came since the last ping, or nothing could."""
        self.held = False
        """The session, or the gateway that looks at a proof, has enough to do."""
        self.paused = False
        """The client reads too slowly."""
        self._reader = FrameReader(max_message_bytes)
        self._reading = False
        self._deaf = False
        """The transport does not read: held or paused."""
        self._limit = 0
        """Bytes that may wait while paused."""
        self._frames = 0
        """Frames that were written while paused."""
        self._stuck = -1
        """What waited at the last ping while paused, plus what was added since; -1 while that is not known."""

    # --- what a socket adds --------------------------------------------------------------------------------------

    def _take(self, first: int, payload: bytes) -> None:
        """A message, a control frame, or PART. Raises FrameError."""
        raise NotImplementedError

    def _fail(self, code: int, reason: str) -> None:
        """The client broke the protocol."""
        raise NotImplementedError

    def _replay(self) -> None:
        """Before anything is read: what waited longer."""

    def _overflow(self) -> None:
        """The client was cut off, for too much waits for it."""

    @property
    def _max_waiting_bytes(self) -> int:
        raise NotImplementedError

    # --- in ------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self.heard = True
        self._reader.add(data)
        self._read()

    def eof_received(self) -> bool:
        """The client sends no more: a WebSocket cannot be half-closed."""
        return False

    def hold(self, held: bool) -> None:
        """Read no further for now, or read again: TCP makes the client wait."""
        if held == self.held:
            return
        self.held = held
        if held:
            self._listen()
        else:
            self._read()

    def _read(self) -> None:
        """Take frames until there is none, or until the session or the client must catch up."""
        if self._reading:
            return
        self._reading = True
        try:
            self._replay()
            while not (self.held or self.paused):
                found = self._reader.next()
                if found is None:
                    break
                self._take(*found)
        except FrameError as error:
            self._fail(error.code, error.reason)
        finally:
            self._reading = False
        self._listen()

    def _listen(self) -> None:
        """Let the transport read exactly when we would."""
        deaf = self.held or self.paused
        if deaf == self._deaf or self._reading or self.transport.is_closing():
            return
        self._deaf = deaf
        if deaf:
            self.transport.pause_reading()
        else:
            self.heard = True  # silence counts from now
            self.transport.resume_reading()

    # --- out -----------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Whole frames. A client is cut off when too much is added to what it has not read."""
        self.transport.write(data)
        if not self.paused:
            return
        self._frames += 1
        if self._stuck >= 0:
            self._stuck += len(data)
        if self._frames > MAX_WAITING_FRAMES or self.waiting_bytes > self._limit:
            self._reader.stop()
            self.transport.abort()
            self._overflow()

    @property
    def waiting_bytes(self) -> int:
        """What the client has not read yet, as far as we hold it."""
        return self.transport.get_write_buffer_size()

    def pause_writing(self) -> None:
        """The transport's buffer is above its high-water mark, by a message of any size."""
        self.paused = True
        self._limit = self.waiting_bytes + self._max_waiting_bytes
        self._frames = 0
        self._listen()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.paused = False
        self._stuck = -1
        self._read()

    def ping(self) -> bool:
        """Ask for a sign of life; False when there was none since the last ping, although we listened.

        Of a client that reads too slowly, the sign is that it reads at all.
        """
        if self.paused:
            waiting = self.waiting_bytes
            if 0 <= self._stuck <= waiting:
                return False
            self._stuck = waiting
            return True
        if not self.heard and not self.held:
            return False
        self.heard = False
        self.write(_PING)
        return True
