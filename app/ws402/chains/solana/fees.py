"""What a refund bids for being taken soon: the priority fee that others paid lately, under a cap."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from ws402.chains.base import Anchor
from ws402.chains.rpc.endpoint import Endpoint, EndpointError
from ws402.chains.rpc.pool import Pool, guarded
from ws402.chains.solana.reader import CONFIRMED
from ws402.chains.solana.replies import ReplyError

SIGNATURE_FEE: Final = 5000
"""Lamports for each signature; our refunds have one."""

MICRO: Final = 1_000_000
FRESH_SECONDS: Final = 2.0

FIRST_FLOOR: Final = 1_000
FLOOR_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Quote:
    """An anchor, and micro-lamports per compute unit that most of the last blocks' transactions paid at most."""

    anchor: Anchor
    price: int


def cost(units: int, price: int) -> int:
    """Lamports of a transaction with one signature, a limit of compute units and a price in micro-lamports."""
    return SIGNATURE_FEE + -(-units * price // MICRO)


class Fees:
    """Quotes of one cluster, kept for two seconds; `cap` is the most that we ever bid, in micro-lamports per unit."""

    def __init__(self, pool: Pool, cap: int) -> None:
        self._pool = pool
        self._quote: Quote | None = None
        self._at = 0.0
        self._asking = asyncio.Lock()
        self._floor = (0, 0.0)
        self.cap = cap

    async def quote(self, sender: str) -> Quote:
        """What to sign with now. Raises ChainUnavailableError."""
        # Many refunds are signed at once: one of them asks for all.
        async with self._asking:
            if self._quote is None or time.monotonic() - self._at > FRESH_SECONDS:
                asked = time.monotonic()
                self._quote = await self._pool.run(guarded(lambda endpoint: _ask(endpoint, sender)))
                self._at = asked
            return self._quote

    def bid(self, quote: Quote) -> int:
        """Micro-lamports per unit. Never above the cap."""
        floor, until = self._floor
        return min(self.cap, max(quote.price, floor if time.monotonic() < until else 0))

    def raise_floor(self, price: int) -> None:
        """No block took a transaction at this price: bid twice as much for a while."""
        self._floor = max(2 * price, FIRST_FLOOR), time.monotonic() + FLOOR_SECONDS
        self._quote = None


async def _ask(endpoint: Endpoint, sender: str) -> Quote:
    latest, recent = await endpoint.call(
        [("getLatestBlockhash", [CONFIRMED]), ("getRecentPrioritizationFees", [[sender]])]
    )
    for answer in (latest, recent):
        if isinstance(answer, ReplyError):
            raise EndpointError(f"{endpoint.name}: {answer.message}")
    value = latest["value"]
    anchor = Anchor(value["blockhash"], int(value["lastValidBlockHeight"]), int(latest["context"]["slot"]))
    paid = sorted(int(each["prioritizationFee"]) for each in recent)
    return Quote(anchor, paid[len(paid) * 3 // 4] if paid else 0)
