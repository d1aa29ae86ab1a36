"""What the gateway asks of a chain. `chains/evm` and `chains/solana` implement it; one conformance suite runs over all.

Every method may raise `ChainUnavailableError` (no RPC endpoint answers; nothing is known) and nothing else but what it
names. Amounts are smallest units; block times are milliseconds since the epoch; a tx id is the chain's own spelling,
lower case where the chain ignores case.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec

from ws402.errors import ConfigurationError, UnavailableError, WS402Error
from ws402.keys.base import Signer
from ws402.money import Asset
from ws402.protocol import PaymentDetails


class ChainUnavailableError(UnavailableError):
    """No RPC endpoint of the network answers, or too few of them agree. Says nothing about the payment."""

    code = "chain_unavailable"


class WrongChainError(ConfigurationError):
    """An RPC endpoint serves another chain than the one configured."""

    code = "wrong_chain"


class BroadcastRefusedError(WS402Error):
    """A node refused a transaction for good (not: could not be reached). `reason` is machine-readable.

    `nonce_used`: another transaction with this nonce is in a block; `underpriced`: its fee is too low now;
    `insufficient_funds`: the key's balance does not cover it; `expired`: its blockhash is too old; `other`.
    """

    code = "broadcast_refused"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class RefundImpossibleError(WS402Error):
    """The recipient cannot take this refund now (it would revert, or has no token account): hold it for an operator."""

    code = "refund_impossible"


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """Money that arrived at one of our addresses, as the chain shows it. Unique by (network, tx, index)."""

    network: str
    tx: str
    index: int
    """Which movement of the transaction: EVM -1 for the transaction's own value, else the log index; Solana the
    instruction's position (inner ones numbered after it by the chain's implementation)."""
    block: int
    block_hash: str
    block_time: int
    sender: str
    recipient: str
    asset: str
    """Symbol of a configured asset; transfers of anything else are not reported at all."""
    amount: int
    tags: tuple[str, ...] = ()
    """Lower-case hex (no 0x) of every 32-byte value that ties this transfer, and no other, to an invoice."""


class TxState(StrEnum):
    """Where a transaction stands."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    INCLUDED = "included"
    FINAL = "final"
    FAILED = "failed"
    """In a block, but without effect (reverted). It may still be reorganised away until `final`."""


class TxStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction's state; `fee` is what it cost the sender, in the network's own coin, once it is in a block."""

    state: TxState
    block: int | None = None
    fee: int = 0
    final: bool = False
    """For `failed`: the failure is final too."""


class TransferLookup(msgspec.Struct, frozen=True, kw_only=True):
    """What a direct look-up of one transaction found. `other` helps to say what was wrong with it."""

    state: TxState
    transfers: tuple[Transfer, ...] = ()
    other: tuple[str, ...] = ()
    """Why there is no usable transfer, if the transaction moved something: 'recipient', 'asset'."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The chain's newest block and the newest that no reorg can remove (by the chain's own rule or our settings)."""

    block: int
    block_hash: str
    block_time: int
    final: int


class BlockTransfers(msgspec.Struct, frozen=True, kw_only=True):
    """One block's header and its transfers to us, in order."""

    block: int
    block_hash: str
    parent_hash: str
    """Hash of the block before it in the answer; of the first one: of block `first - 1`."""
    block_time: int
    transfers: tuple[Transfer, ...]


class EndpointState(msgspec.Struct, frozen=True, kw_only=True):
    """How one RPC endpoint of a network does. `name` is its host: its URL may hold an access key."""

    name: str
    resting: bool
    """It failed, and is left alone for a while."""
    behind: int
    """Blocks that it was behind the newest head when heads were compared last."""
    lagging: bool
    """So far behind that it is asked last: it stands still, or has fallen behind."""


class RefundOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a refund transaction must do. `memo` names the debt where the chain has room for it."""

    recipient: str
    asset: str
    amount: int
    memo: str


class SignedTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """A signed refund, to be stored before it is first sent. `raw` sent again is the same transaction."""

    tx: str
    raw: bytes
    sender: str
    nonce: int | None
    """EVM: the sender's nonce. Solana: None."""
    valid_until: int | None
    """The last block height that can take it. EVM: None, a nonce has no end."""
    max_fee: int
    """The most that it can cost, in the network's own coin."""
    fee: dict[str, int]
    """Fee parameters by the chain's own names, for a later bump."""


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """Money that left an account of ours, to whom a refund of it would name."""

    recipient: str
    asset: str
    amount: int


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction in a block that an account of ours signed and paid for, as the chain shows it."""

    tx: str
    block: int
    block_time: int
    sender: str
    nonce: int | None
    fee: int
    """What it cost besides what it moved, in the network's own coin."""
    moves: tuple[Movement, ...]
    """Of configured assets, in order; none when it failed, was only to use a nonce up, or moved what is others'."""
    collected: tuple[str, ...] = ()
    """Tags (`Authorizations.tag`) of the payers' authorizations that were used in it."""


class InvoiceTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What an invoice asks for, chain-neutral."""

    asset: str
    amount: int
    reference: str
    tag: str
    expires_at: int
    label: str


class Anchor(msgspec.Struct, frozen=True):
    """What a transaction is tied to, where it has to be: it can be taken up to the block height `valid_until`.

    `slot`: when this was so.
    """

    blockhash: str
    valid_until: int
    slot: int


@runtime_checkable
class AnchoredChain(Protocol):
    """A chain whose transactions are tied to a recent block."""

    network: str

    async def anchor(self) -> Anchor:
        """A recent one, for transactions that payers build."""


class Chain(Protocol):
    """One network."""

    network: str
    """Our name: 'base', 'base-sepolia', 'solana', …"""
    caip2: str
    assets: dict[str, Asset]
    """By symbol. Amount, decimals and contract come from configuration, never from a client."""
    native: str
    """Symbol of the coin that pays fees."""
    recipient: str
    """Our address that invoices name. May be set to another one that was accepted before."""
    poll_seconds: float
    """How often to ask for new blocks."""
    span: int
    """How many blocks at most to ask for at once."""
    reference_is_public: bool
    """Whether a payment shows its invoice's reference to everybody: the claim needs a secret of its own."""
    daily_fees: int | None
    """In `native`: what deliveries may cost in 24 hours by the network's settings; None: no limit."""
    resend_seconds: float
    """After how long a transaction that is in no block is sent again: nodes forget."""
    reserve: int
    """How much of `native` an account of ours must keep, by the chain's rules."""

    async def start(self) -> None:
        """Connect and check that every endpoint serves the right chain. Raises WrongChainError."""

    async def close(self) -> None:
        """Close connections."""

    async def check(self) -> None:
        """Readiness: an endpoint answers, and serves the right chain. Raises WrongChainError."""

    def endpoints(self) -> Sequence[EndpointState]:
        """How its RPC endpoints do, in the configured order."""

    def accept(self, address: str) -> None:
        """From now on transfers to this address are ours too; those between our addresses are no payments."""

    async def head(self) -> Head:
        """The newest and the newest final block."""

    async def blocks(self, first: int, last: int) -> Sequence[BlockTransfers]:
        """The canonical blocks `first`..`last` (the caller bounds them), each asked once, with transfers to us.

        A chain with an index of our transfers may leave out blocks without any, but never `last`.
        """

    async def sends(self, senders: Collection[str], first: int, last: int) -> Sequence[Sent]:
        """What these accounts of ours sent in the canonical blocks `first`..`last` (the caller bounds them by `span`),
        oldest first.
        """

    async def outstanding(self, address: str) -> int:
        """How many transactions of an account of ours wait for a block, as far as any endpoint knows. Always 0 where
        there are no nonces: those end by themselves.
        """

    async def lookup(self, tx: str, *, amount: int = 0) -> TransferLookup:
        """Look one transaction up directly; endpoints must agree when `amount` is above the configured value."""

    async def states(self, txs: Sequence[str]) -> list[TxState]:
        """Where transactions stand by their ids alone, in order and by few requests: UNKNOWN, PENDING or INCLUDED.

        INCLUDED says that a `lookup` will find it, nothing of success. Raises ChainUnavailableError.
        """

    def confirmations(self, asset: str, amount: int) -> int | None:
        """How many blocks (its own included) a transfer of this value needs before a session opens; None: finality."""

    def normalize_address(self, address: str) -> str:
        """One spelling per address, for comparison. Raises InvalidRequestError for what is no address."""

    def normalize_tx(self, tx: str) -> str:
        """One spelling per tx id. Raises InvalidRequestError for what is no tx id."""

    def address_of(self, signer: Signer) -> str:
        """The account that a signer signs for, normalised."""

    def new_reference(self) -> str:
        """A fresh, unguessable reference in the form that this chain's wallets need."""

    def details(self, terms: InvoiceTerms) -> PaymentDetails:
        """The payment details of the wire for an invoice."""

    async def check_signature(self, payer: str, message: str, signature: str) -> bool:
        """Whether `payer` (a key or a contract wallet) signed the text."""

    async def is_contract(self, address: str) -> bool:
        """Whether a refund to the address would run somebody's code (delegated accounts that are also keys: False)."""

    async def balance(self, address: str, asset: str, block: int | None = None) -> int:
        """Balance at a block, newest by default."""

    async def next_nonce(self, address: str) -> int | None:
        """Nonce after the last transaction in a block; None where the chain has none."""

    async def estimate_fee(self, order: RefundOrder, sender: str) -> int:
        """About what delivering costs now, in `native`. Raises as `sign` does."""

    async def sign(
        self, order: RefundOrder, signer: Signer, *, nonce: int | None, replaces: SignedTransaction | None = None
    ) -> SignedTransaction:
        """Build and sign, sending nothing. `replaces`: same nonce and order with a fee that nodes accept as a bump;
        answers `replaces` itself when the cap on fees forbids one. Not where there are no nonces.

        Raises RefundImpossibleError when a simulation shows that the recipient refuses, BroadcastRefusedError
        ('insufficient_funds') when our account does not hold the amount.
        """

    async def sign_cancel(self, signer: Signer, *, nonce: int, replaces: SignedTransaction | None) -> SignedTransaction:
        """A transaction without effect that uses up a nonce (gap filling). At the cap, `replaces` itself."""

    async def broadcast(self, transaction: SignedTransaction) -> None:
        """Send the stored bytes; sending again is harmless. Raises BroadcastRefusedError."""

    async def status(self, tx: str) -> TxStatus:
        """Where a transaction stands."""

    async def expired(self, transaction: SignedTransaction) -> bool:
        """Whether it is proven that a transaction is in no block and never will be, whoever sends it and however late.

        False as long as any endpoint doubts it, and always where transactions have a nonce: its use decides.
        """
