"""What the client asks of a wallet."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from ws402.client.offers import Offer


@dataclass(frozen=True, slots=True)
class SignedPayment:
    """A signed transaction that was not sent yet. Sending it again is the same payment."""

    tx: str
    raw: str = field(repr=False)
    nonce: int | None = None
    """EVM: the account's."""
    valid_until: int | None = None
    """Solana: the last block height at which it can be in a block."""


class Inclusion(StrEnum):
    """What became of a transaction."""

    INCLUDED = "included"
    PENDING = "pending"
    """Not in a block yet."""
    FAILED = "failed"
    """In a block, without effect."""
    REPLACED = "replaced"
    """Never to be in a block: another transaction of the account has taken its nonce."""
    EXPIRED = "expired"
    """Never to be in a block, and in none: the final chain is past its last block height and does not have it."""


class Wallet(Protocol):
    """One account on one network. `lock` is held from `sign` to `send`, for both may depend on the account's nonce.

    All but `address` and `lock` may raise NodeUnavailableError.
    """

    address: str
    """As proofs name it."""
    lock: asyncio.Lock

    async def chain(self) -> str:
        """The chain that the wallet's node serves (CAIP-2)."""

    async def sign(self, offer: Offer) -> SignedPayment:
        """Sign what the offer asks for, sending nothing. Raises WalletError."""

    async def send(self, payment: SignedPayment) -> None:
        """Send it; again is harmless. Raises WalletError, `nonce_taken` when it can never be in a block."""

    async def inclusion(self, payment: SignedPayment, seconds: float) -> Inclusion:
        """Where it is, waiting at most this long for a block."""

    async def sign_message(self, text: str) -> str | None:
        """Signature over a text as the chain's wallets make it, or None when the wallet cannot."""

    async def decimals(self, token: str | None) -> int:
        """Decimal places of a token by the chain itself, or of the network's own coin."""

    async def received(self, tx: str, recipient: str, amount: int, token: str | None) -> bool:
        """Whether the chain shows that `tx` paid at least `amount` to `recipient`."""

    async def close(self) -> None:
        """Close connections."""
