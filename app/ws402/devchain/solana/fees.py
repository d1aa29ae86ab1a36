"""What a message pays: 5000 lamports a signature, and its price for compute (Agave's fee rules since 2.0)."""

from __future__ import annotations

from typing import Final

from ws402.devchain.solana.message import AnyMessage
from ws402.devchain.solana.programs import COMPUTE_BUDGET, RESERVED

LAMPORTS_PER_SIGNATURE: Final = 5_000
DEFAULT_UNITS: Final = 200_000
"""Compute units that an instruction may take where the message sets no limit."""
BUILTIN_UNITS: Final = 3_000
"""The same for the programs that are part of the runtime (SIMD-170)."""
MAX_UNITS: Final = 1_400_000
SET_LIMIT, SET_PRICE = 2, 3
"""Instructions of the compute budget program, by their first byte."""


def price(message: AnyMessage) -> int:
    """The price that a message offers, in micro-lamports per compute unit."""
    return _setting(message, SET_PRICE, 9) or 0


def fee(message: AnyMessage) -> int:
    """What a message pays whether it succeeds or fails, in lamports."""
    limit = _setting(message, SET_LIMIT, 5)
    if limit is None:
        programs = [message.account_keys[each.program_id_index] for each in message.instructions]
        limit = sum(BUILTIN_UNITS if each in RESERVED else DEFAULT_UNITS for each in programs)
    priority = -(-price(message) * min(limit, MAX_UNITS) // 1_000_000)
    return LAMPORTS_PER_SIGNATURE * message.header.num_required_signatures + priority


def _setting(message: AnyMessage, kind: int, size: int) -> int | None:
    for each in message.instructions:
        data = bytes(each.data)
        if message.account_keys[each.program_id_index] == COMPUTE_BUDGET and len(data) >= size and data[0] == kind:
            return int.from_bytes(data[1:size], "little")
    return None
