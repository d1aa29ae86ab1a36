"""Reading an instruction's data."""

from __future__ import annotations

from solders.pubkey import Pubkey


class UnparsedError(Exception):
    """We do not know this instruction, or it is malformed."""


class Reader:
    """Little-endian numbers, keys and texts, one after the other. Each raises UnparsedError at the end of the data."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if self.left < size:
            raise UnparsedError
        self._at += size
        return self._data[self._at - size : self._at]

    def u8(self) -> int:
        """A byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Two bytes."""
        return int.from_bytes(self.take(2), "little")

    def u32(self) -> int:
        """Four bytes."""
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        """Eight bytes."""
        return int.from_bytes(self.take(8), "little")

    def key(self) -> str:
        """An address in base58."""
        return str(Pubkey.from_bytes(self.take(32)))

    def optional_key(self) -> str | None:
        """An address after a byte that says whether there is one (the token programs' form)."""
        return self.key() if self.u8() else None

    def text(self) -> str:
        """A text after its length in eight bytes (bincode)."""
        try:
            return self.take(self.u64()).decode()
        except UnicodeDecodeError:
            raise UnparsedError from None
