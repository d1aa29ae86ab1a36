"""WebSocket frames of a server (RFC 6455 §5.2), read one by one and written without any object in between.

A reader of frames that can stop after any of them is what bounds a socket: what has been received but may not be looked
at yet stays as bytes.
"""

from __future__ import annotations

import sys
from typing import Final

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this interpreter
    from websockets.utils import apply_mask

TEXT: Final = 0x81
BINARY: Final = 0x82
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A

PART: Final = 0
"""What `FrameReader.next` answers for a fragment of a message that goes on."""

MAX_FRAGMENTS: Final = 4_096
"""Frames of one message; a client that sends a megabyte in larger pieces than 256 bytes needs fewer."""

_NEVER: Final = sys.maxsize


class FrameError(Exception):
    """The client broke the protocol; `code` is what the close frame says (RFC 6455 §7.4.1)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def frame(first: int, payload: bytes) -> bytes:
    """One whole frame, unmasked; `first` is TEXT, BINARY, CLOSE, PING or PONG."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126, size >> 8, size & 0xFF)) + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


class FrameReader:
    """Takes bytes as they come, gives whole messages and control frames, one a call."""

    __slots__ = ("_at", "_data", "_first", "_fragments", "_message", "_need", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` bounds a message."""
        self.max_bytes = max_bytes
        self._data: bytes | bytearray = b""
        self._at = 0
        self._need = 2
        """How many bytes the next frame has at least."""
        self._message: bytearray | None = None
        self._first = 0
        self._fragments = 0

    @property
    def unread(self) -> int:
        """Bytes that were added and not looked at yet."""
        return len(self._data) - self._at

    def add(self, data: bytes) -> None:
        """More of the stream."""
        if self._need == _NEVER:
            return
        if self._at == len(self._data):
            self._data = data
        else:
            if isinstance(self._data, bytearray):
                del self._data[: self._at]
            else:
                self._data = bytearray(self._data[self._at :])  # grows in place: a byte at a time costs no copies
            self._data += data
        self._at = 0

    def stop(self) -> None:
        """Nothing more of this stream is of interest."""
        self._data = b""
        self._at = 0
        self._need = _NEVER
        self._message = None

    def next(self) -> tuple[int, bytes] | None:
        """The first byte of a message or control frame, FIN set, and its payload; PART and nothing for a fragment of
        a message that goes on; None when more bytes are needed. Raises FrameError.
        """
        data, at = self._data, self._at
        have = len(data) - at
        if have < self._need:
            return None
        first, second = data[at], data[at + 1]
        self._check(first, second)
        length = second & 0x7F
        start = 6
        if length > 125:
            start = 8 if length == 126 else 14
            if have < start:
                self._need = start
                return None
            length = int.from_bytes(data[at + 2 : at + start - 4], "big")
        if first & 0x08 == 0 and length + (len(self._message) if self._message is not None else 0) > self.max_bytes:
            raise FrameError(1009, "the message is larger than may be")
        if have < start + length:
            self._need = start + length
            return None
        self._need = 2
        start += at
        payload = apply_mask(data[start : start + length], data[start - 4 : start])
        self._at = start + length
        if self._at == len(data):
            self._data = b""
            self._at = 0
        if first > 0x80:
            return first, payload
        return self._join(first, payload)

    def _join(self, first: int, payload: bytes) -> tuple[int, bytes]:
        """A fragment: the first, one in the middle, or (0x80) the last."""
        if self._message is None:
            self._message = bytearray(payload)
            self._first = first | 0x80
            self._fragments = 1
            return PART, b""
        self._message += payload
        self._fragments += 1
        if self._fragments > MAX_FRAGMENTS:
            raise FrameError(1009, "the message has more fragments than may be")
        if first & 0x80 == 0:
            return PART, b""
        whole, self._message = bytes(self._message), None
        return self._first, whole

    def _check(self, first: int, second: int) -> None:
        """What RFC 6455 §5.2 to §5.5 ask of the first two bytes."""
        if first & 0x70:
            raise FrameError(1002, "reserved bits must be 0")
        if second & 0x80 == 0:
            raise FrameError(1002, "frames of a client are masked")
        opcode = first & 0x0F
        if opcode & 0x08:
            if opcode > 0x0A:
                raise FrameError(1002, "invalid opcode")
            if first & 0x80 == 0 or second & 0x7F > 125:
                raise FrameError(1002, "a control frame is short and whole")
        elif opcode > 2:
            raise FrameError(1002, "invalid opcode")
        elif (opcode == 0) is (self._message is None):
            raise FrameError(1002, "a continuation of nothing" if opcode == 0 else "expected a continuation frame")
