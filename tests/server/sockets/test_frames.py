"""Frames as RFC 6455 §5 has them: cut anywhere, joined, bounded."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws402.server.sockets.frames import BINARY, MAX_FRAGMENTS, PART, PING, TEXT, FrameError, FrameReader, frame


def masked(first: int, payload: bytes = b"") -> bytes:
    """A frame of a client."""
    size, key = len(payload), b"\x12\x34\xa6\x78"
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, 0xFE, size)
    else:
        head = struct.pack("!BBQ", first, 0xFF, size)
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def read(reader: FrameReader) -> list[tuple[int, bytes]]:
    found = []
    while (one := reader.next()) is not None:
        if one[0] != PART:
            found.append(one)
    return found


@given(
    st.lists(st.tuples(st.sampled_from([TEXT, BINARY, PING]), st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(1, 50), max_size=40),
)
def test_a_stream_that_is_cut_anywhere_has_the_same_messages(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    sent = [(first, payload[:125] if first == PING else payload) for first, payload in sent]
    stream = b"".join(masked(*one) for one in sent)
    reader, received = FrameReader(1000), []
    for size in cuts:
        reader.add(stream[:size])
        stream = stream[size:]
        received += read(reader)
    reader.add(stream)
    assert received + read(reader) == sent
    assert reader.unread == 0


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_all_lengths_go_both_ways(size: int) -> None:
    payload = os.urandom(size)
    reader = FrameReader(70_000)
    reader.add(masked(BINARY, payload))
    assert reader.next() == (BINARY, payload)
    written = frame(BINARY, payload)
    assert written.endswith(payload)
    assert len(written) == size + (2 if size < 126 else 4 if size < 65_536 else 10)


def test_fragments_are_one_message_and_control_frames_go_between() -> None:
    reader = FrameReader(100)
    reader.add(masked(0x01, b"ab") + masked(PING, b"?") + masked(0x00, b"cd") + masked(0x80, b"ef"))
    assert read(reader) == [(PING, b"?"), (TEXT, b"abcdef")]


def test_what_was_not_asked_for_stays_unread() -> None:
    reader = FrameReader(100)
    reader.add(masked(TEXT, b"one") + masked(TEXT, b"two"))
    assert reader.next() == (TEXT, b"one")
    assert reader.unread == 9
    reader.add(masked(TEXT, b"three"))
    assert read(reader) == [(TEXT, b"two"), (TEXT, b"three")]


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"\x81\x05hello", 1002),  # not masked
        (masked(0xC1), 1002),
        (masked(0x83), 1002),
        (masked(0x8B), 1002),
        (masked(0x09), 1002),
        (masked(PING, b"x" * 126), 1002),
        (masked(0x80), 1002),
        (masked(0x01) + masked(TEXT), 1002),
        (masked(TEXT, b"x" * 1001), 1009),
        (masked(0x01, b"x" * 600) + masked(0x80, b"x" * 401), 1009),
        (masked(TEXT)[:1] + b"\xff" + b"\xff" * 12, 1009),  # 2**64 - 1 bytes are announced
    ],
    ids=range(11),
)
def test_what_breaks_the_protocol_has_a_close_code(stream: bytes, code: int) -> None:
    reader = FrameReader(1000)
    reader.add(stream)
    with pytest.raises(FrameError) as error:
        read(reader)
    assert error.value.code == code


def test_a39_empty_fragments_have_an_end() -> None:
    reader = FrameReader(1000)
    reader.add(masked(0x01) + masked(0x00) * MAX_FRAGMENTS)
    with pytest.raises(FrameError) as error:
        read(reader)
    assert error.value.code == 1009


def test_a_stopped_reader_keeps_nothing() -> None:
    reader = FrameReader(1000)
    reader.add(masked(TEXT, b"one"))
    reader.stop()
    reader.add(masked(TEXT, b"two"))
    assert reader.next() is None
    assert reader.unread == 0
