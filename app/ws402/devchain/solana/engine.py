"""The chain itself: slots, blockhashes, commitment and forks of our own around LiteSVM's machine."""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from solders.account import Account
from solders.clock import Clock
from solders.hash import Hash
from solders.litesvm import LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import (
    FailedTransactionMetadata,
    InnerInstruction,
    SimulatedTransactionInfo,
    TransactionMetadata,
)

from ws402.devchain.solana import message as messages
from ws402.devchain.solana.message import AnyMessage, Loaded
from ws402.devchain.solana.programs import SYSVARS
from ws402.devchain.solana.tokens import TokenBalance, token_balances

MAX_AGE: Final = 150
"""Blocks for which a blockhash can be used (Agave's MAX_PROCESSING_AGE)."""
KEPT_EMPTY: Final = 20_000
"""Slots for which blocks without transactions can be asked for."""
SLOT_HASHES: Final = 512
PROCESSED, CONFIRMED, FINALIZED = "processed", "confirmed", "finalized"
NOT_RUN: Final = "InvalidProgramForExecution"
"""Validators charge the fee for a transaction that calls what is no program (SIMD-191); the machine does not."""
EMPTY: Final = Account(0, b"", Pubkey.default())


@dataclass(slots=True)
class Outcome:
    """What became of a transaction in the machine.

    `err` is the RPC API's TransactionError, None for success; `fee` is None when it was refused before it ran.
    """

    err: Any
    logs: list[str]
    inner: list[list[InnerInstruction]]
    units: int
    fee: int | None
    return_data: tuple[Pubkey, bytes] | None
    keys: list[Pubkey]
    loaded: Loaded
    pre: list[int]
    post: list[int]
    pre_tokens: list[TokenBalance]
    post_tokens: list[TokenBalance]
    data_size: int
    accounts: dict[Pubkey, Account | None]
    """After it. Only simulations keep it."""


@dataclass(slots=True, eq=False)
class Landed:
    """A transaction in a block, failed or not."""

    slot: int
    index: int
    transaction: VersionedTransaction
    outcome: Outcome

    @property
    def signature(self) -> Signature:
        """Its first signature, which names it."""
        return self.transaction.signatures[0]


@dataclass(slots=True, eq=False)
class Block:
    """A slot that was not skipped. `undo` has accounts as they were before it, until it is final."""

    slot: int
    height: int
    hash: Hash
    parent: int
    time: int
    earlier: int
    """Transactions in the blocks before it."""
    landed: list[Landed] = field(default_factory=list)
    undo: dict[Pubkey, Account | None] = field(default_factory=dict)


class RefusedError(Exception):
    """A transaction that lands nowhere. `err` is the RPC API's TransactionError."""

    def __init__(self, err: Any) -> None:
        super().__init__(str(err))
        self.err = err


class Engine:
    """Runs transactions at once, in the slot that is open; `advance` closes it. One thread at a time."""

    def __init__(self, genesis: Mapping[Pubkey, Account], *, confirm_after: int, finalize_after: int) -> None:
        self.confirm_after = confirm_after
        self.finalize_after = finalize_after
        self._svm = LiteSVM().with_blockhash_check(False).with_transaction_history(0)
        for address, account in self._svm.get_program_accounts(SYSVARS):
            self._svm.set_account(address, Account(self.rent(len(account.data)), account.data, account.owner))
        for address, account in genesis.items():
            self._svm.set_account(address, account)
        self.genesis_hash = Hash(os.urandom(32))
        first = Block(0, 0, self.genesis_hash, 0, int(time.time()), 0)
        self.blocks: dict[int, Block] = {0: first}
        self.head = first
        self.landed: dict[Signature, Landed] = {}
        self.by_address: defaultdict[Pubkey, list[Landed]] = defaultdict(list)
        self.listeners: set[Callable[[], None]] = set()
        """Called after each change: a slot, a transaction, a fork."""
        self._hashes: dict[Hash, Block] = {first.hash: first}
        self._clock: int | None = None
        # Nothing lands in slots that are final from the start.
        self.advance(finalize_after + 1)

    # --- Time ----------------------------------------------------------------------------------------------------

    def advance(self, slots: int = 1) -> None:
        """Close the open slot and open the next."""
        for _ in range(slots):
            self._open(self.head.slot + 1)

    def _open(self, slot: int) -> None:
        parent = self.head
        count = parent.earlier + len(parent.landed)
        self.head = Block(slot, parent.height + 1, Hash(os.urandom(32)), parent.slot, int(time.time()), count)
        self.blocks[slot] = self.head
        self._hashes[self.head.hash] = self.head
        while (oldest := next(iter(self._hashes.values()))).height + MAX_AGE + self.finalize_after < self.head.height:
            del self._hashes[oldest.hash]
        final = self.bank(FINALIZED)
        final.undo.clear()
        stale = self.blocks.get(slot - KEPT_EMPTY)
        if stale is not None and stale.slot and not stale.landed:
            del self.blocks[stale.slot]
        self._tell()

    def _tell(self) -> None:
        for listener in list(self.listeners):
            listener()

    def bank(self, commitment: str) -> Block:
        """The newest block of a commitment."""
        depth = {PROCESSED: 0, CONFIRMED: self.confirm_after}.get(commitment, self.finalize_after)
        slot = max(0, self.head.slot - depth)
        while slot not in self.blocks:
            slot -= 1
        return self.blocks[slot]

    def commitment(self, slot: int) -> str:
        """How sure a slot is."""
        for name in (FINALIZED, CONFIRMED):
            if slot <= self.bank(name).slot:
                return name
        return PROCESSED

    def usable(self, blockhash: Hash, block: Block) -> bool:
        """Whether a transaction with this blockhash can be run on that block."""
        origin = self._hashes.get(blockhash)
        return origin is not None and 0 <= block.height - origin.height <= MAX_AGE

    # --- Accounts ------------------------------------------------------------------------------------------------

    def account(self, address: Pubkey, block: Block) -> Account | None:
        """An account as it was after a block that is not older than the newest final one."""
        for slot in range(block.slot + 1, self.head.slot + 1):
            later = self.blocks.get(slot)
            if later is not None and address in later.undo:
                return later.undo[address]
        return self._svm.get_account(address)

    def rent(self, size: int) -> int:
        """Lamports that an account with so many bytes of data must hold."""
        return self._svm.minimum_balance_for_rent_exemption(size)

    def owned_by(self, program: Pubkey, block: Block) -> list[tuple[Pubkey, Account]]:
        """A program's accounts as they were after a block."""
        addresses = {address for address, _ in self._svm.get_program_accounts(program)}
        for slot in range(block.slot + 1, self.head.slot + 1):
            if slot in self.blocks:
                addresses |= set(self.blocks[slot].undo)
        found = ((address, self.account(address, block)) for address in sorted(addresses, key=bytes))
        return [(address, account) for address, account in found if account and account.owner == program]

    # --- Transactions --------------------------------------------------------------------------------------------

    def submit(self, transaction: VersionedTransaction) -> Landed:
        """Run a transaction in the open slot. Raises RefusedError when it pays no fee, so lands nowhere."""
        self._check(transaction, self.head)
        self._set_clock(self.head)
        taken = self._loaded(transaction.message, self.head)
        keys = messages.keys(transaction.message, taken)
        before = {key: self._svm.get_account(key) for key in keys}
        result = self._svm.send_transaction(transaction)
        if isinstance(result, FailedTransactionMetadata) and self._svm.get_account(keys[0]) == before[keys[0]]:
            if _error(result) != NOT_RUN or not _can_pay(before[keys[0]], result):
                raise RefusedError(_error(result))
            self._svm.set_account(keys[0], _charged(before[keys[0]], result))
        after = {key: self._svm.get_account(key) for key in keys}
        outcome = self._outcome(result, transaction, taken, before, after)
        outcome.accounts = {}
        for key in keys:
            if before[key] != after[key]:
                self.head.undo.setdefault(key, before[key])
        landed = Landed(self.head.slot, len(self.head.landed), transaction, outcome)
        self.head.landed.append(landed)
        self.landed[landed.signature] = landed
        for key in dict.fromkeys(keys):
            self.by_address[key].append(landed)
        self._tell()
        return landed

    def simulate(
        self, transaction: VersionedTransaction, block: Block, *, any_hash: bool = False, verify: bool = True
    ) -> Outcome:
        """Run a transaction on a block and forget it. `any_hash`: its blockhash need not be known."""
        taken = self._loaded(transaction.message, block)
        keys = messages.keys(transaction.message, taken)
        with self._as_of(block, keys):
            before = {key: self._svm.get_account(key) for key in keys}
            try:
                if not any_hash:
                    self._check(transaction, block)
                result = self._svm.with_sigverify(verify).simulate_transaction(transaction)
            except RefusedError as refused:
                return self._unrun(refused.err, keys, taken, before)
            finally:
                self._svm.with_sigverify(True)
        after = dict(before)
        if isinstance(result, SimulatedTransactionInfo):
            after |= dict(result.post_accounts())
        elif result.meta().logs() or (_error(result) == NOT_RUN and _can_pay(before[keys[0]], result)):
            after[keys[0]] = _charged(before[keys[0]], result)
        else:
            return self._unrun(_error(result), keys, taken, before)
        return self._outcome(result, transaction, taken, before, after)

    def _unrun(self, err: Any, keys: list[Pubkey], taken: Loaded, accounts: dict[Pubkey, Account | None]) -> Outcome:
        balances = [(accounts[key] or EMPTY).lamports for key in keys]
        tokens = token_balances(keys, accounts, self._svm.get_account)
        return Outcome(
            err=err,
            logs=[],
            inner=[],
            units=0,
            fee=None,
            return_data=None,
            keys=keys,
            loaded=taken,
            pre=balances,
            post=balances,
            pre_tokens=tokens,
            post_tokens=tokens,
            data_size=0,
            accounts={},
        )

    def _check(self, transaction: VersionedTransaction, block: Block) -> None:
        if not self.usable(transaction.message.recent_blockhash, block):
            raise RefusedError("BlockhashNotFound")
        earlier = self.landed.get(transaction.signatures[0])
        if earlier is not None and earlier.slot <= block.slot:
            raise RefusedError("AlreadyProcessed")

    def _loaded(self, message: AnyMessage, block: Block) -> Loaded:
        if not isinstance(message, MessageV0):
            return Loaded()
        tables = [self.account(each.account_key, block) for each in message.address_table_lookups]
        return messages.loaded(message, [table.data if table else None for table in tables])

    def _set_clock(self, block: Block) -> None:
        """Programs see this block's slot and time."""
        if self._clock == block.slot:
            return
        self._clock = block.slot
        self._svm.set_clock(Clock(block.slot, self.blocks[0].time, 0, 1, block.time))
        # A new lookup table names a recent slot.
        recent = range(block.slot - 1, max(-1, block.slot - SLOT_HASHES), -1)
        self._svm.set_slot_hashes([(slot, self.blocks[slot].hash) for slot in recent if slot in self.blocks])

    @contextlib.contextmanager
    def _as_of(self, block: Block, keys: Iterable[Pubkey]) -> Iterator[None]:
        """The machine's clock and accounts as they were after a block."""
        self._set_clock(block)
        now = {key: self._svm.get_account(key) for key in keys} if block is not self.head else {}
        changed = {key: account for key, account in now.items() if self.account(key, block) != account}
        for key in changed:
            self._svm.set_account(key, self.account(key, block) or EMPTY)
        try:
            yield
        finally:
            for key, account in changed.items():
                self._svm.set_account(key, account or EMPTY)

    def _outcome(
        self,
        result: TransactionMetadata | FailedTransactionMetadata | SimulatedTransactionInfo,
        transaction: VersionedTransaction,
        taken: Loaded,
        before: dict[Pubkey, Account | None],
        after: dict[Pubkey, Account | None],
    ) -> Outcome:
        keys = messages.keys(transaction.message, taken)
        err = _error(result) if isinstance(result, FailedTransactionMetadata) else None
        programs = [keys[each.program_id_index] for each in transaction.message.instructions]
        if err == NOT_RUN and any(before[program] is None for program in programs):
            err = "ProgramAccountNotFound"
        meta = result if isinstance(result, TransactionMetadata) else result.meta()
        returned = meta.return_data()
        return Outcome(
            err=err,
            logs=meta.logs(),
            inner=meta.inner_instructions(),
            units=meta.compute_units_consumed(),
            fee=meta.fee(),
            return_data=(returned.program_id, bytes(returned.data)) if returned.data else None,
            keys=keys,
            loaded=taken,
            pre=[(before[key] or EMPTY).lamports for key in keys],
            post=[(after[key] or EMPTY).lamports for key in keys],
            pre_tokens=token_balances(keys, before, self._svm.get_account),
            post_tokens=token_balances(keys, after, self._svm.get_account),
            data_size=sum(64 + len(each.data) for each in before.values() if each) if meta.logs() else 0,
            accounts=after,
        )

    # --- Forks ---------------------------------------------------------------------------------------------------

    def fork(self, slots: int, *, keep: bool) -> None:
        """Give up the newest slots, the open one among them, and go on from the block before in a slot after them.

        Their transactions are lost; `keep`: they land again in the new slot, if they still can. Raises ValueError for
        slots that are final.
        """
        abandoned = [self.blocks[slot] for slot in self.blocks if slot > self.head.slot - slots]
        if not abandoned or abandoned[0].slot <= self.bank(FINALIZED).slot:
            raise ValueError("only slots that are not final can be given up")
        tip = self.head.slot
        for block in reversed(abandoned):
            for address, account in block.undo.items():
                self._svm.set_account(address, account or EMPTY)
            for landed in reversed(block.landed):
                del self.landed[landed.signature]
                for key in dict.fromkeys(landed.outcome.keys):
                    self.by_address[key].remove(landed)
            del self.blocks[block.slot], self._hashes[block.hash]
        self.head = self.blocks[abandoned[0].parent]
        self._clock = None
        self._open(tip + 1)
        if keep:
            for each in (landed for block in abandoned for landed in block.landed):
                with contextlib.suppress(RefusedError):
                    self.submit(each.transaction)


def _can_pay(payer: Account | None, result: FailedTransactionMetadata) -> bool:
    return payer is not None and payer.lamports >= result.meta().fee()


def _charged(payer: Account | None, result: FailedTransactionMetadata) -> Account:
    """The payer of a failed transaction, after its fee."""
    before = payer or EMPTY
    left = before.lamports - result.meta().fee()
    return Account(left, before.data, before.owner, before.executable, before.rent_epoch)


def _error(result: FailedTransactionMetadata) -> Any:
    """The machine's error in the RPC API's form."""
    return msgspec.json.decode(result.to_json())["err"]
