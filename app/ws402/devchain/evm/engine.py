"""The chain itself: py-evm's machine on a list of blocks of our own, so that blocks can be made and unmade."""

from __future__ import annotations

import heapq
import os
import time
from dataclasses import dataclass, field
from typing import Any, Final

from eth.chains.base import MiningChain
from eth.constants import (
    BLANK_ROOT_HASH,
    POST_MERGE_DIFFICULTY,
    POST_MERGE_MIX_HASH,
    POST_MERGE_NONCE,
)
from eth.db.atomic import AtomicDB
from eth.exceptions import InvalidInstruction, Revert, VMError
from eth.vm.forks.london.headers import calculate_expected_base_fee_per_gas
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException

from ws402.devchain.evm import kept
from ws402.devchain.evm.blocks import Block, Call, Mined
from ws402.devchain.evm.errors import reverted
from ws402.devchain.evm.pool import MAX_TRANSACTION_BYTES, Pool, Pooled
from ws402.devchain.jsonrpc import RpcError, invalid
from ws402.devchain.state import State

GAS_LIMIT: Final = 30_000_000
COINBASE: Final = bytes.fromhex("4200000000000000000000000000000000000011")
"""Who earns the tips: the address that collects them on Base too."""

MAX_REORG: Final = 256
"""Older blocks stay what they are."""


class _DevVM(PragueVM):
    """Blocks may share a second with their parent, so that block times never run ahead of the clock."""

    @classmethod
    def validate_header(cls, header: Any, parent_header: Any) -> None:
        """As the fork has it, but for equal timestamps."""
        if header.timestamp == parent_header.timestamp:
            parent_header = parent_header.copy(timestamp=header.timestamp - 1)
        super().validate_header(header, parent_header)


@dataclass(slots=True)
class Engine:
    """Chain, pool and clock. Not thread-safe: one thread owns it."""

    chain_id: int
    balances: dict[bytes, int]
    final_after: int
    file: State | None = None
    """Where its blocks are kept; `balances` then count for a new one only."""
    pool: Pool = field(default_factory=Pool)
    blocks: list[Block] = field(default_factory=list)
    time_offset: int = 0
    next_timestamp: int | None = None
    _by_hash: dict[bytes, int] = field(default_factory=dict)
    _places: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    _chain: Any = None
    _store: kept.KeptStore = field(default_factory=lambda: kept.KeptStore({}))

    def __post_init__(self) -> None:
        kind = MiningChain.configure("DevChain", chain_id=self.chain_id, vm_configuration=((0, _DevVM),))
        if self.file is not None:
            self._store = kept.KeptStore(self.file.store())
            if self._store.kv_store:
                self._chain = kind(AtomicDB(self._store))
                for _, body in self.file.blocks():
                    self._index(kept.read(body, self._chain))
                return
        genesis: Any = {
            "coinbase": COINBASE,
            "difficulty": POST_MERGE_DIFFICULTY,
            "extra_data": b"",
            "gas_limit": GAS_LIMIT,
            "mix_hash": POST_MERGE_MIX_HASH,
            "nonce": POST_MERGE_NONCE,
            "receipt_root": BLANK_ROOT_HASH,
            "timestamp": int(time.time()),
            "transaction_root": BLANK_ROOT_HASH,
        }
        state: Any = {
            address: {"balance": balance, "nonce": 0, "code": b"", "storage": {}}
            for address, balance in self.balances.items()
        }
        self._chain = kind.from_genesis(AtomicDB(self._store), genesis, state)
        header = self._chain.get_canonical_block_header_by_number(0)
        self._append(Block(header, header.hash, 0))

    # --- Blocks --------------------------------------------------------------------------------------------------

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    @property
    def final(self) -> int:
        """Height of the newest block that we call final."""
        return max(0, self.head.number - self.final_after)

    @property
    def next_base_fee(self) -> int:
        """The base fee of the block after the head (EIP-1559)."""
        fee: int = calculate_expected_base_fee_per_gas(self.head.header)
        return fee

    def block_by_hash(self, block_hash: bytes) -> Block | None:
        """A block of the present chain."""
        number = self._by_hash.get(block_hash)
        return None if number is None else self.blocks[number]

    def find(self, tx: bytes) -> tuple[Block, int] | None:
        """Where a transaction is: its block and its place there."""
        place = self._places.get(tx)
        return None if place is None else (self.blocks[place[0]], place[1])

    def mine(self) -> Block:
        """Make a block from what is ready in the pool."""
        parent = self.head.header
        header = self._chain.create_header_from_parent(parent).copy(
            coinbase=COINBASE,
            gas_limit=GAS_LIMIT,
            mix_hash=os.urandom(32),
            timestamp=self._timestamp(parent.timestamp),
        )
        vm = self._chain.get_vm(header)
        transactions, mined, result = self._fill(vm, header)
        receipts = [each.receipt for each in mined]
        block = vm.set_block_transactions_and_withdrawals(vm.get_block(), result, transactions, receipts)
        block = vm.mine_block(block, mix_hash=header.mix_hash).block
        self._chain.chaindb.persist_header(block.header)
        self._append(Block(block.header, block.header.hash, 540 + sum(len(each.raw) for each in mined), tuple(mined)))
        for sender in self.pool.senders():
            self.pool.drop_below(sender, self.nonce(sender))
        return self.head

    def reorg(self, depth: int, *, keep: bool) -> None:
        """Replace the newest `depth` blocks by as many new ones; `keep`: their transactions wait in the pool again."""
        if not 0 < depth <= min(MAX_REORG, self.head.number):
            raise invalid(f"invalid reorg depth {depth}: the chain has {self.head.number} blocks")
        removed = self.blocks[-depth:]
        del self.blocks[-depth:]
        for block in removed:
            del self._by_hash[block.hash]
            for mined in block.mined:
                del self._places[mined.hash]
        if keep:
            for mined in (each for block in removed for each in block.mined):
                self.submit(mined.raw)
        for _ in removed:
            self.mine()

    def _append(self, block: Block) -> None:
        if self.file is None:
            self._store.changed.clear()
        else:
            kept.append(self.file, self._store, block)
        self._index(block)

    def _index(self, block: Block) -> None:
        self.blocks.append(block)
        self._by_hash[block.hash] = block.number
        for index, mined in enumerate(block.mined):
            self._places[mined.hash] = (block.number, index)

    def _timestamp(self, parent: int) -> int:
        if self.next_timestamp is not None:
            timestamp, self.next_timestamp = self.next_timestamp, None
            return timestamp
        return max(parent, int(time.time()) + self.time_offset)

    def _fill(self, vm: Any, header: Any) -> tuple[list[Any], list[Mined], Any]:
        """Execute what is ready, dearest tip first and each sender's nonces in order; skip what cannot be executed."""
        base_fee = header.base_fee_per_gas
        ready: list[tuple[int, int, Pooled]] = []

        def offer(sender: bytes) -> None:
            pooled = self.pool.at(sender, vm.state.get_nonce(sender))
            if pooled is not None and pooled.tip(base_fee) >= 0:
                heapq.heappush(ready, (-pooled.tip(base_fee), pooled.arrival, pooled))

        for sender in self.pool.senders():
            offer(sender)
        transactions: list[Any] = []
        mined: list[Mined] = []
        logs = 0
        while ready:
            pooled = heapq.heappop(ready)[2]
            try:
                receipt, computation = vm.apply_transaction(header, pooled.transaction)
            except ValidationError:
                # Its sender's money went elsewhere, or the block is full: a later block may take it.
                continue
            gas_used = receipt.gas_used - header.gas_used
            header = vm.add_receipt_to_header(header, receipt)
            transactions.append(pooled.transaction)
            mined.append(
                Mined(
                    pooled.transaction,
                    pooled.sender,
                    pooled.hash,
                    pooled.raw,
                    receipt,
                    gas_used,
                    logs,
                    _trace(computation),
                )
            )
            logs += len(receipt.logs)
            self.pool.discard(pooled)
            offer(pooled.sender)
        return transactions, mined, header

    # --- State ---------------------------------------------------------------------------------------------------

    def state(self, block: Block | None = None) -> Any:
        """State after a block, the newest by default; changes to it are nobody's but the caller's."""
        return self._chain.get_vm((block or self.head).header).state

    def nonce(self, address: bytes) -> int:
        """The nonce after the last transaction in a block."""
        nonce: int = self.state().get_nonce(address)
        return nonce

    def submit(self, raw: bytes) -> bytes:
        """Take a signed transaction into the pool and answer its hash. Raises RpcError in geth's words."""
        transaction, sender = self._decode(raw)
        tx = keccak(raw)
        state = self.state()
        self.pool.add(transaction, sender, tx, raw, nonce=state.get_nonce(sender), balance=state.get_balance(sender))
        return tx

    def _decode(self, raw: bytes) -> tuple[Any, bytes]:
        if len(raw) > MAX_TRANSACTION_BYTES:
            raise RpcError(f"oversized data: transaction size {len(raw)}, limit {MAX_TRANSACTION_BYTES}")
        if raw[:1] == b"\x03":
            raise RpcError("transaction type not supported: blobs")
        builder = self._chain.get_vm(self.head.header).get_transaction_builder()
        try:
            transaction = builder.decode(raw)
            transaction.validate()
        except (RLPException, ValidationError, InvalidInstruction, ValueError, TypeError) as error:
            raise RpcError(f"rlp: {str(error)[:200]}") from error
        if transaction.chain_id is None:
            raise RpcError("only replay-protected (EIP-155) transactions allowed over RPC")
        if transaction.chain_id != self.chain_id:
            raise RpcError(f"invalid chain id for signer: have {transaction.chain_id} want {self.chain_id}")
        try:
            sender = transaction.get_sender()
        except (ValidationError, ValueError) as error:
            raise RpcError("invalid sender") from error
        if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas:
            raise RpcError("max priority fee per gas higher than max fee per gas")
        if transaction.gas > GAS_LIMIT:
            raise RpcError("exceeds block gas limit")
        if transaction.gas < transaction.intrinsic_gas:
            raise RpcError(f"intrinsic gas too low: gas {transaction.gas}, minimum needed {transaction.intrinsic_gas}")
        return transaction, sender

    def execute(
        self, sender: bytes, to: bytes, value: int, data: bytes, gas: int, block: Block | None = None
    ) -> tuple[Any, int]:
        """Run a call free of charge and forget it; answers the computation and the gas it took, refunds given back.

        Raises RpcError when it cannot be started. A call that fails is told by its computation.
        """
        block = block or self.head
        state = self._chain.get_vm(block.header.copy(base_fee_per_gas=0)).state
        builder = self._chain.get_vm(block.header).get_transaction_builder()
        unsigned = builder.create_unsigned_transaction(
            nonce=state.get_nonce(sender), gas_price=0, gas=gas, to=to, value=value, data=data
        )
        if gas < unsigned.intrinsic_gas:
            raise RpcError(f"intrinsic gas too low: gas {gas}, minimum needed {unsigned.intrinsic_gas}")
        if value > (balance := state.get_balance(sender)):
            raise RpcError(f"insufficient funds for gas * price + value: balance {balance}, tx cost {value}")
        computation = state.apply_transaction(SpoofTransaction(unsigned, from_=sender))
        left = computation.get_gas_remaining()
        used = gas - left
        return computation, used - min(computation.get_gas_refund(), used // 5) + computation.data_floor_gas

    def estimate(self, sender: bytes, to: bytes, value: int, data: bytes, cap: int, block: Block | None = None) -> int:
        """The least gas, within 1.5 %, with which a call succeeds. Raises RpcError as geth does when none does."""
        computation, used = self.execute(sender, to, value, data, cap, block)
        raise_for(computation)
        if to and not data and not self.state(block).get_code(to):
            return used
        # A callee keeps 1/64 of its gas back (EIP-150), and refunds come only at the end.
        low, high = used - 1, cap
        guess = min(cap, (used + computation.get_gas_refund() + 2300) * 64 // 63)
        while high - low > max(1, high * 15 // 1000):
            if self._succeeds(sender, to, value, data, guess, block):
                high = guess
            else:
                low = guess
            guess = (low + high) // 2
        return high

    def _succeeds(self, sender: bytes, to: bytes, value: int, data: bytes, gas: int, block: Block | None) -> bool:
        try:
            computation, used = self.execute(sender, to, value, data, gas, block)
        except RpcError:
            return False
        return not computation.is_error and used <= gas


def raise_for(computation: Any) -> None:
    """Raise what geth answers to a call that failed."""
    if not computation.is_error:
        return
    error: VMError = computation.error
    if isinstance(error, Revert):
        raise reverted(bytes(computation.output))
    texts = {"OutOfGas": "out of gas", "InvalidInstruction": "invalid opcode", "InvalidJumpDestination": "invalid jump"}
    raise RpcError(texts.get(type(error).__name__, f"execution failed: {type(error).__name__}"))


def _trace(computation: Any) -> Call:
    message = computation.msg
    return Call(
        sender=message.sender,
        to=message.storage_address if message.is_create else message.to,
        value=message.value if message.should_transfer_value else 0,
        data=bytes(message.data),
        failed=computation.is_error,
        calls=tuple(_trace(child) for child in computation.children),
    )
