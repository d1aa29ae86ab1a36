"""WebSocket frames as the load driver reads and writes them (RFC 6455 §5.2)."""

from __future__ import annotations

MASK = b"\x00\x00\x00\x00"  # a mask of zeros is a valid mask (RFC 6455 §5.3) and costs the driver nothing
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame."""
    size = len(payload)
    head = bytes((0x80 | opcode, 0x80 | size)) if size < 126 else bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    return head + MASK + payload


def take(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """A server's frames (opcode, payload), however many came together, and the beginning of the next one."""
    found = []
    at, end = 0, len(data)
    while end - at >= 2:
        size, start = data[at + 1] & 0x7F, at + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            start += width
            if end < start:
                break
            size = int.from_bytes(data[start - width : start], "big")
        if end < start + size:
            break
        found.append((data[at] & 0x0F, data[start : start + size]))
        at = start + size
    return found, data[at:]
