"""A chain in memory that does what `Chain` says, over blocks that a test makes and replaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from tests.gateway.machine.blocks import FEE, FEE_CAP, NETWORK, US, Block, Blocks, Tx

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
from ws402.protocol import PaymentDetails


class Key:
    """The signing key of our account. The chain signs by name alone, so it is never asked."""

    algorithm: Literal["secp256k1"] = "secp256k1"
    key_id = "memory"
    public_key = b"\1" * 64

    async def sign(self, payload: bytes) -> bytes:
        raise NotImplementedError


class MemoryChain(Blocks):
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
        super().__init__()
        self.lags = False
        """The endpoint still shows the branch that the last reorg took away."""
        self.deaf = False
        """Nodes forget what is sent to them now."""

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

    async def states(self, txs: Sequence[str]) -> list[TxState]:
        states = [(await MemoryChain.lookup(self, tx)).state for tx in txs]
        return [each if each in (TxState.UNKNOWN, TxState.PENDING) else TxState.INCLUDED for each in states]

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
