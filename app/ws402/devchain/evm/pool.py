"""The transaction pool: one transaction a sender and nonce, replacement by a 10 % higher fee, gaps until filled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from ws402.devchain.jsonrpc import RpcError

PRICE_BUMP_PERCENT: Final = 10
"""How much both fees of a replacement must rise; geth's default."""

MAX_TRANSACTION_BYTES: Final = 131_072
"""geth's limit on one transaction."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """A transaction that waits for its block."""

    transaction: Any
    sender: bytes
    hash: bytes
    raw: bytes
    arrival: int

    @property
    def nonce(self) -> int:
        """The sender's nonce."""
        nonce: int = self.transaction.nonce
        return nonce

    def tip(self, base_fee: int) -> int:
        """What the block's producer earns per gas; negative when it does not cover the base fee."""
        tip: int = min(self.transaction.max_priority_fee_per_gas, self.transaction.max_fee_per_gas - base_fee)
        return tip


class Pool:
    """Waiting transactions, by sender and nonce."""

    def __init__(self) -> None:
        self._senders: dict[bytes, dict[int, Pooled]] = {}
        self._hashes: dict[bytes, Pooled] = {}
        self._arrivals = count()

    def __len__(self) -> int:
        return len(self._hashes)

    def __iter__(self) -> Iterator[Pooled]:
        return iter(self._hashes.values())

    def get(self, tx: bytes) -> Pooled | None:
        """By hash."""
        return self._hashes.get(tx)

    def add(self, transaction: Any, sender: bytes, tx: bytes, raw: bytes, *, nonce: int, balance: int) -> Pooled:
        """Admit a transaction, given its sender's state. Raises RpcError in geth's words."""
        if tx in self._hashes:
            raise RpcError("already known")
        if transaction.nonce < nonce:
            raise RpcError(f"nonce too low: next nonce {nonce}, tx nonce {transaction.nonce}")
        cost = transaction.gas * transaction.max_fee_per_gas + transaction.value
        if cost > balance:
            raise RpcError(
                f"insufficient funds for gas * price + value: balance {balance}, tx cost {cost}, "
                f"overshot {cost - balance}"
            )
        waiting = self._senders.get(sender, {})
        old = waiting.get(transaction.nonce)
        if old is not None and not _outbids(transaction, old.transaction):
            raise RpcError("replacement transaction underpriced")
        pending = sum(
            each.transaction.gas * each.transaction.max_fee_per_gas + each.transaction.value
            for number, each in waiting.items()
            if number < transaction.nonce
        )
        if cost + pending > balance:
            raise RpcError(
                f"insufficient funds for gas * price + value: balance {balance}, queued cost {pending}, "
                f"tx cost {cost}, overshot {cost + pending - balance}"
            )
        if old is not None:
            del self._hashes[old.hash]
        pooled = Pooled(transaction, sender, tx, raw, next(self._arrivals))
        self._senders.setdefault(sender, {})[transaction.nonce] = pooled
        self._hashes[tx] = pooled
        return pooled

    def discard(self, pooled: Pooled) -> None:
        """Forget one, whether it was mined or dropped."""
        if self._hashes.pop(pooled.hash, None) is None:
            return
        waiting = self._senders[pooled.sender]
        del waiting[pooled.nonce]
        if not waiting:
            del self._senders[pooled.sender]

    def next_nonce(self, sender: bytes, nonce: int) -> int:
        """The nonce after the sender's waiting transactions that follow each other without a gap."""
        waiting = self._senders.get(sender, {})
        while nonce in waiting:
            nonce += 1
        return nonce

    def senders(self) -> list[bytes]:
        """Everybody who has something waiting."""
        return list(self._senders)

    def at(self, sender: bytes, nonce: int) -> Pooled | None:
        """The waiting transaction of this sender with this nonce."""
        return self._senders.get(sender, {}).get(nonce)

    def drop_below(self, sender: bytes, nonce: int) -> None:
        """Forget what can never be executed: its nonce was used."""
        for pooled in [each for number, each in self._senders.get(sender, {}).items() if number < nonce]:
            self.discard(pooled)


def _outbids(new: Any, old: Any) -> bool:
    return all(
        getattr(new, fee) * 100 >= getattr(old, fee) * (100 + PRICE_BUMP_PERCENT)
        for fee in ("max_fee_per_gas", "max_priority_fee_per_gas")
    )
