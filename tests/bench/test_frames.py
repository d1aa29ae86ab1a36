"""What the load driver makes of a server's bytes, however they are cut."""

from __future__ import annotations

import pytest
from bench.frames import PING, TEXT, take

UPDATE = b'{"type":"usage_update"}'
LONG = b"x" * 300
HUGE = b"y" * 70_000


def served(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
    return head + payload


FRAMES = [(TEXT, UPDATE), (PING, b"now"), (TEXT, LONG), (PING, b""), (TEXT, HUGE), (TEXT, UPDATE)]
STREAM = b"".join(served(*each) for each in FRAMES)


def test_a_ping_between_other_frames_is_seen() -> None:
    assert take(STREAM) == (FRAMES, b"")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_pieces_make_the_same_frames(size: int) -> None:
    found, rest = [], b""
    for at in range(0, len(STREAM), size):
        more, rest = take(rest + STREAM[at : at + size])
        found += more
    assert (found, rest) == (FRAMES, b"")
