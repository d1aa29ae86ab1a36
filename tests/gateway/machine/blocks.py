"""Blocks in memory, and how they are replaced.

They stand for what real nodes show only by chance: the same transaction in another block, in the same height of another
branch, or gone and back, once or twice. Accounts have nonces, fees are taken, balances are those of a block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Final, Literal

import msgspec

from ws402.money import Asset

NETWORK: Final = "memory"
US: Final = "0x" + "11" * 20
OPERATOR: Final = "0x" + "99" * 20
FLOAT: Final = 1_000_000
"""What our account holds at first, of each asset."""
FINAL_AFTER: Final = 6
"""Blocks below the head that no reorg takes away."""
FEE: Final = 10
FEE_CAP: Final = 40

Fate = Literal["same", "later", "gone"]
"""What a reorg makes of a transaction: again at its height, in the next block, or in no block (it may come back)."""


class Tx(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction: a payment to us, or one of ours. `nonce`: ours only."""

    id: str
    sender: str
    recipient: str
    asset: str
    amount: int
    tags: tuple[str, ...] = ()
    nonce: int | None = None
    fee: int = 0


class Block(msgspec.Struct, kw_only=True):
    """A block, and the state after it."""

    number: int
    hash: str
    parent: str
    time: int
    txs: dict[str, tuple[Tx, bool]]
    """By id: the transaction, and whether it had an effect."""
    held: dict[str, int]
    nonce: int


class Blocks:
    """One chain, as all nodes would show it. `tx` ids and block hashes are numbers that never come twice."""

    def __init__(self) -> None:
        self.assets = {
            "ETH": Asset(NETWORK, "ETH", 18),
            "USD": Asset(NETWORK, "USD", 6, "0x" + "55" * 20),
        }
        self.refusing: set[str] = set()
        """Recipients that take nothing."""
        self.contracts: set[str] = set()
        self._ids = count(1)
        first = {"number": 0, "hash": self._id(), "parent": "", "time": int(time.time() * 1000), "txs": {}}
        self._blocks = [Block(**first, held=dict.fromkeys(self.assets, FLOAT), nonce=0)]
        self.pool: dict[str, Tx] = {}
        """Transactions that wait for a block."""
        self.gone: dict[str, Tx] = {}
        """Payments that a reorg took out, and that may come back."""
        self._branch: list[Block] = []
        """What the last reorg took away."""
        self.mine(FINAL_AFTER)

    def pay(self, sender: str, asset: str, amount: int, tags: tuple[str, ...] = ()) -> Tx:
        """A payment to us, waiting for a block."""
        tx = Tx(id=self._id(), sender=sender, recipient=US, asset=asset, amount=amount, tags=tags)
        self.pool[tx.id] = tx
        return tx

    def spend(self, amount: int) -> Tx:
        """A transaction of our account that no gateway made, until it is final."""
        tx = Tx(
            id=self._id(),
            sender=US,
            recipient=OPERATOR,
            asset="ETH",
            amount=amount,
            nonce=self._blocks[-1].nonce,
            fee=FEE_CAP + 1,
        )
        self.pool[tx.id] = tx
        self.mine(FINAL_AFTER + 1)
        return tx

    def mine(self, blocks: int = 1) -> None:
        """Make blocks; the first takes all that waits and can be taken."""
        for _ in range(blocks):
            self._append(list(self.pool.values()))

    def reorg(self, depth: int, fate: Callable[[Tx], Fate], *, longer: bool = True) -> None:
        """Replace the newest `depth` blocks, but no final one; `longer`: by one more than there were."""
        depth = min(depth, len(self._blocks) - 1 - self.final)
        taken, self._blocks = self._blocks[len(self._blocks) - depth :], self._blocks[: len(self._blocks) - depth]
        self._branch = taken
        late: list[Tx] = []
        for block in taken:
            now, fates = late, {each.id: fate(each) for each, _ in block.txs.values()}
            late = [each for each, _ in block.txs.values() if fates[each.id] == "later"]
            for each, _ in block.txs.values():
                if fates[each.id] == "gone" and each.nonce is None:
                    self.gone[each.id] = each
            self._append([*now, *(each for each, _ in block.txs.values() if fates[each.id] == "same")])
        if longer:
            self._append(late)
        else:
            self.pool |= {each.id: each for each in late}

    @property
    def can_return(self) -> bool:
        """Whether the branch that the last reorg took away can still win."""
        base = self._branch[0].number - 1 if self._branch else -1
        return base >= self.final and self._blocks[base].hash == self._branch[0].parent

    def reorg_back(self) -> None:
        """The very blocks that the last reorg took away are the chain again, and longer than the other branch."""
        base, branch = self._branch[0].number, self._branch
        other, self._blocks = self._blocks[base:], self._blocks[:base] + branch
        known = {each for block in branch for each in block.txs}
        for tx in (tx for block in other for tx, _ in block.txs.values() if tx.id not in known):
            (self.gone if tx.nonce is None else self.pool)[tx.id] = tx
        self.pool = {each.id: each for each in self.pool.values() if each.id not in known}
        self.gone = {each.id: each for each in self.gone.values() if each.id not in known}
        self._branch = other
        while self.height <= other[-1].number:
            self.mine()

    def forget(self, which: Callable[[Tx], bool]) -> None:
        """A reorg of all blocks, final ones too, that leaves out what `which` says: what finality rules out."""
        taken, self._blocks = self._blocks[1:], self._blocks[:1]
        for block in taken:
            kept = [tx for tx, _ in block.txs.values() if not which(tx)]
            self.gone |= {tx.id: tx for tx, _ in block.txs.values() if which(tx)}
            self._append(kept)
        self._append([])

    def come_back(self) -> None:
        """What reorgs took out is sent once more."""
        self.pool |= self.gone
        self.gone.clear()

    def age(self, ms: int) -> None:
        """All blocks are this much older."""
        for block in self._blocks:
            block.time -= ms

    @property
    def height(self) -> int:
        """Number of the newest block."""
        return self._blocks[-1].number

    @property
    def final(self) -> int:
        """Number of the newest final block."""
        return max(0, self.height - FINAL_AFTER)

    def hash_of(self, number: int) -> str | None:
        """The hash of a canonical block."""
        return self._blocks[number].hash if number <= self.height else None

    def txs_of(self, depth: int) -> Iterable[Tx]:
        """What is in the newest block (1), the one before it (2), …"""
        return [tx for tx, _ in self._blocks[-depth].txs.values()]

    def moved(self, *, ours: bool) -> Iterable[Tx]:
        """What is in a block and had an effect: payments to us, or what we sent."""
        return (tx for block in self._blocks for tx, done in block.txs.values() if done and (tx.nonce is None) != ours)

    def _id(self) -> str:
        return f"0x{next(self._ids):064x}"

    def _append(self, wanted: Sequence[Tx]) -> None:
        top = self._blocks[-1]
        at = max(top.time + 1, int(time.time() * 1000))
        block = Block(
            number=top.number + 1,
            hash=self._id(),
            parent=top.hash,
            time=at,
            txs={},
            held=dict(top.held),
            nonce=top.nonce,
        )
        # Where several want one nonce, the dearest gets it.
        for tx in sorted(wanted, key=lambda each: (-1 if each.nonce is None else each.nonce, -each.fee)):
            if not self._take(block, tx):
                self.pool[tx.id] = tx
        self._blocks.append(block)
        self.pool = {each.id: each for each in self.pool.values() if each.nonce is None or each.nonce >= block.nonce}

    def _take(self, block: Block, tx: Tx) -> bool:
        if tx.nonce is None:
            block.held[tx.asset] += tx.amount
            done = True
        else:
            need = {tx.asset: tx.amount}
            need["ETH"] = need.get("ETH", 0) + tx.fee
            if tx.nonce != block.nonce or any(block.held[asset] < amount for asset, amount in need.items()):
                return False
            done = tx.recipient not in self.refusing
            block.held["ETH"] -= tx.fee
            if done and tx.recipient != US:
                block.held[tx.asset] -= tx.amount
            block.nonce += 1
        block.txs[tx.id] = (tx, done)
        self.pool.pop(tx.id, None)
        return True

    def _find(self, tx: str) -> tuple[Block, Tx, bool] | None:
        for block in reversed(self._blocks):
            if tx in block.txs:
                return block, *block.txs[tx]
        return None
