"""What gas costs (EIP-1559), and what a replacement must cost for nodes to take it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ws402.chains.evm import abi
from ws402.chains.evm.replies import ReplyError
from ws402.chains.evm.transfers import number
from ws402.chains.rpc.endpoint import Call, Endpoint, EndpointError
from ws402.chains.rpc.pool import Pool

HISTORY: Final[Call] = ("eth_feeHistory", ["0x5", "latest", [50]])
TIP: Final[Call] = ("eth_maxPriorityFeePerGas", [])
TRANSACTION_BYTES: Final = 200
"""More than any of our refunds has."""

FRESH_SECONDS: Final = 1.0
GWEI: Final = 10**9


@dataclass(frozen=True, slots=True)
class FeeQuote:
    """Wei per gas now, and what publishing one transaction on a parent chain costs at most."""

    base_fee: int
    tip: int
    publishing: int

    @property
    def price(self) -> int:
        """What a transaction pays per gas when the next block takes it."""
        return self.base_fee + self.tip


@dataclass(frozen=True, slots=True)
class Bid:
    """Fee fields of a transaction, in wei per gas."""

    max_fee: int
    tip: int


class Fees:
    """Quotes of one network, kept for a second; `cap` is the most that we ever bid, in wei per gas."""

    def __init__(self, pool: Pool, cap_gwei: int) -> None:
        self._pool = pool
        self._quote: FeeQuote | None = None
        self._at = 0.0
        self._asking = asyncio.Lock()
        self.cap = cap_gwei * GWEI

    async def quote(self) -> FeeQuote:
        """What gas costs now. Raises ChainUnavailableError."""
        # Many refunds are signed at once: one of them asks for all.
        async with self._asking:
            if self._quote is None or time.monotonic() - self._at > FRESH_SECONDS:
                self._quote = await self._pool.run(_ask)
                self._at = time.monotonic()
            return self._quote

    async def bid(self) -> Bid:
        """Enough for the next blocks even if the base fee doubles; never above the cap."""
        quote = await self.quote()
        max_fee = min(self.cap, 2 * quote.base_fee + quote.tip)
        return Bid(max_fee, min(quote.tip, max_fee))

    async def outbid(self, old: Bid) -> Bid | None:
        """A bid that nodes accept in place of `old`: both fees at least 12.5 % higher. None: the cap forbids it."""
        fresh = await self.bid()
        max_fee = max(fresh.max_fee, _raised(old.max_fee))
        return None if max_fee > self.cap else Bid(max_fee, max(fresh.tip, _raised(old.tip)))


def _raised(fee: int) -> int:
    return fee + fee // 8 + 1


async def _ask(endpoint: Endpoint) -> FeeQuote:
    oracle: Call = ("eth_call", [{"to": abi.GAS_ORACLE, "data": abi.l1_fee_data(TRANSACTION_BYTES)}, "latest"])
    history, tip, publishing = await endpoint.call([HISTORY, TIP, oracle], optional=True)
    if isinstance(history, ReplyError):
        raise EndpointError(f"{endpoint.name}: no fee history: {history.message}")
    try:
        base_fee = number(history["baseFeePerGas"][-1])
        paid = _median([number(each[0]) for each in history.get("reward") or () if each])
        return FeeQuote(base_fee, max(paid, _optional(tip)), _optional(publishing))
    except (KeyError, IndexError, TypeError, ValueError):
        raise EndpointError(f"{endpoint.name}: a malformed fee history") from None


def _optional(answer: Any) -> int:
    """A quantity where the node, or the chain, has one."""
    return 0 if isinstance(answer, ReplyError) or answer in (None, "0x") else number(answer)


def _median(values: Sequence[int]) -> int:
    """Of those above zero: empty blocks say nothing about prices."""
    paid = sorted(value for value in values if value > 0)
    return paid[len(paid) // 2] if paid else 0
