"""A chain in memory that does what `Chain` says, and reorganises as a test asks.

It stands for what real nodes show only by chance: the same transaction in another block, in the same height of another
branch, or gone and back, once or twice. Accounts have nonces, fees are taken, balances are those of a block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Final, Literal

import msgspec

from ws402.chains.base import (
    BlockTransfers,
    BroadcastRefusedError,
    Head,
    InvoiceTerms,
    RefundImpossibleError,
    RefundOrder,
    SignedTransaction,
    Transfer,
    TransferLookup,
    TxState,
    TxStatus,
)
from ws402.chains.evm.details import payment_details
from ws402.gateway.ledger.ids import new_token
from ws402.keys.base import Signer
from ws402.money import Asset
from ws402.protocol import PaymentDetails

NETWORK: Final = "memory"
US: Final = "0x" + "11" * 20
FLOAT: Final = 1_000_000
"""What our account holds at first, of each asset."""
FINAL_AFTER: Final = 6
"""Blocks below the head that no reorg takes away."""
FEE: Final = 10
FEE_CAP: Final = 40
BLOCK_MS: Final = 1000

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


class Key:
    """The signing key of our account. The chain signs by name alone, so it is never asked."""

    algorithm: Literal["secp256k1"] = "secp256k1"
    key_id = "memory"
    public_key = b"\1" * 64

    async def sign(self, payload: bytes) -> bytes:
        raise NotImplementedError


class MemoryChain:
    """See `ws402.chains.base.Chain`."""

    network = NETWORK
    caip2 = "eip155:31337"
    native = "ETH"
    recipient = US
    poll_seconds = 1e6  # looked at when a test says so
    span = 50
    reserve = 0
    reference_is_public = False
    daily_fees = None
    resend_seconds = 0.0

    def __init__(self) -> None:
        self.assets = {
            "ETH": Asset(NETWORK, "ETH", 18),
            "USD": Asset(NETWORK, "USD", 6, "0x" + "55" * 20),
        }
        self.refusing: set[str] = set()
        """Recipients that take nothing."""
        self.contracts: set[str] = set()
        self.lags = False
        """The endpoint still shows the branch that the last reorg took away."""
        self.deaf = False
        """Nodes forget what is sent to them now."""
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

    # --- what a test does --------------------------------------------------------------------------------------------

    def pay(self, sender: str, asset: str, amount: int, tags: tuple[str, ...] = ()) -> Tx:
        """A payment to us, waiting for a block."""
        tx = Tx(id=self._id(), sender=sender, recipient=US, asset=asset, amount=amount, tags=tags)
        self.pool[tx.id] = tx
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

    # --- blocks ------------------------------------------------------------------------------------------------------

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

    def _transfers(self, block: Block) -> tuple[Transfer, ...]:
        return tuple(self._transfer(block, tx) for tx, _ in block.txs.values() if tx.nonce is None)

    def _transfer(self, block: Block, tx: Tx) -> Transfer:
        return Transfer(
            network=NETWORK,
            tx=tx.id,
            index=-1,
            block=block.number,
            block_hash=block.hash,
            block_time=block.time,
            sender=tx.sender,
            recipient=US,
            asset=tx.asset,
            amount=tx.amount,
            tags=tx.tags,
        )

    # --- Chain -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def check(self) -> None:
        pass

    def accept(self, address: str) -> None:
        assert address == US

    async def head(self) -> Head:
        top = self._blocks[-1]
        return Head(block=top.number, block_hash=top.hash, block_time=top.time, final=self.final)

    async def blocks(self, first: int, last: int) -> Sequence[BlockTransfers]:
        return [
            BlockTransfers(
                block=each.number,
                block_hash=each.hash,
                parent_hash=each.parent,
                block_time=each.time,
                transfers=self._transfers(each),
            )
            for each in self._blocks[first : last + 1]
        ]

    async def lookup(self, tx: str, *, amount: int = 0) -> TransferLookup:
        found = self._find(tx)
        if self.lags and found is None:
            found = next(((block, *block.txs[tx]) for block in self._branch if tx in block.txs), None)
        if found is None:
            return TransferLookup(state=TxState.PENDING if tx in self.pool else TxState.UNKNOWN)
        block, known, done = found
        state = TxState.FINAL if block.number <= self.final else TxState.INCLUDED
        if not done:
            return TransferLookup(state=TxState.FAILED)
        transfers = (self._transfer(block, known),) if known.nonce is None else ()
        return TransferLookup(state=state, transfers=transfers, other=() if transfers else ("recipient",))

    def confirmations(self, asset: str, amount: int) -> int | None:
        return 1

    def normalize_address(self, address: str) -> str:
        return address.lower()

    def normalize_tx(self, tx: str) -> str:
        return tx.lower()

    def address_of(self, signer: Signer) -> str:
        return US

    def new_reference(self) -> str:
        return new_token()

    def details(self, terms: InvoiceTerms) -> PaymentDetails:
        return payment_details(terms, self.assets[terms.asset], network=NETWORK, chain_id=31337, recipient=US)

    async def check_signature(self, payer: str, message: str, signature: str) -> bool:
        return signature == f"signed by {payer}"

    async def is_contract(self, address: str) -> bool:
        return address in self.contracts

    async def balance(self, address: str, asset: str, block: int | None = None) -> int:
        assert address == US
        return self._blocks[self.height if block is None else block].held[asset]

    async def next_nonce(self, address: str) -> int | None:
        return self._blocks[-1].nonce

    async def estimate_fee(self, order: RefundOrder, sender: str) -> int:
        self._simulate(order)
        return FEE

    def _simulate(self, order: RefundOrder) -> None:
        if order.recipient in self.refusing:
            raise RefundImpossibleError("The recipient takes nothing.")
        if self._blocks[-1].held[order.asset] < order.amount:
            raise BroadcastRefusedError("The account does not hold that.", "insufficient_funds")

    async def sign(
        self, order: RefundOrder, signer: Signer, *, nonce: int | None, replaces: SignedTransaction | None = None
    ) -> SignedTransaction:
        self._simulate(order)
        return self._sign(order.recipient, order.asset, order.amount, nonce, replaces)

    async def sign_cancel(self, signer: Signer, *, nonce: int, replaces: SignedTransaction | None) -> SignedTransaction:
        return self._sign(US, "ETH", 0, nonce, replaces)

    def _sign(
        self, recipient: str, asset: str, amount: int, nonce: int | None, replaces: SignedTransaction | None
    ) -> SignedTransaction:
        fee = FEE
        if replaces is not None:
            if replaces.max_fee >= FEE_CAP:
                return replaces
            fee = 2 * replaces.max_fee
        tx = Tx(id=self._id(), sender=US, recipient=recipient, asset=asset, amount=amount, nonce=nonce, fee=fee)
        raw = msgspec.json.encode(tx)
        return SignedTransaction(
            tx=tx.id, raw=raw, sender=US, nonce=nonce, valid_until=None, max_fee=fee, fee={"fee": fee}
        )

    async def broadcast(self, transaction: SignedTransaction) -> None:
        tx = msgspec.json.decode(transaction.raw, type=Tx)
        assert tx.nonce is not None
        if self._find(tx.id) is not None or self.deaf:
            return
        if tx.nonce < self._blocks[-1].nonce:
            raise BroadcastRefusedError("The nonce is used.", "nonce_used")
        self.pool[tx.id] = tx

    async def status(self, tx: str) -> TxStatus:
        found = self._find(tx)
        if found is None:
            return TxStatus(state=TxState.PENDING if tx in self.pool else TxState.UNKNOWN)
        block, known, done = found
        final = block.number <= self.final
        state = TxState.FAILED if not done else TxState.FINAL if final else TxState.INCLUDED
        return TxStatus(state=state, block=block.number, fee=known.fee, final=final)

    async def expired(self, transaction: SignedTransaction) -> bool:
        return False
