"""What a block of the embedded chain holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """A message call inside a transaction, as a tracer shows it."""

    sender: bytes
    to: bytes
    value: int
    data: bytes
    failed: bool
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction in a block."""

    transaction: Any
    sender: bytes
    hash: bytes
    raw: bytes
    receipt: Any
    gas_used: int
    first_log: int
    trace: Call


@dataclass(frozen=True, slots=True)
class Block:
    """A block and what its transactions did."""

    header: Any
    hash: bytes
    size: int
    mined: tuple[Mined, ...] = ()

    @property
    def number(self) -> int:
        """Height."""
        number: int = self.header.block_number
        return number
