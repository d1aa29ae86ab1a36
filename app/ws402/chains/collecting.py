"""What the gateway asks of a chain on which payers can sign a transfer that somebody else sends (EIP-3009)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import msgspec

from ws402.chains.base import SignedTransaction
from ws402.errors import WS402Error
from ws402.keys.base import Signer


class AuthorizationRefusedError(WS402Error):
    """A payer's authorization cannot be collected as it is. `reason` is x402's word for it."""

    code = "authorization_refused"
    status = 402

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """A payer's signed order to move a token once (EIP-3009). Anybody may bring it to the chain, and pay the gas."""

    asset: str
    """Symbol of a configured asset."""
    payer: str
    recipient: str
    amount: int
    valid_after: int
    """Unix seconds by the chain's clock: it can be used in blocks later than this,"""
    valid_before: int
    """and earlier than this."""
    nonce: str
    """32 bytes in lower-case hex, without 0x. A token takes it from a payer once."""
    signature: bytes


class SigningDomain(msgspec.Struct, frozen=True, kw_only=True):
    """In which domain a token's holders sign (EIP-712), by settings."""

    name: str
    version: str
    contract: str


class Authorizations(Protocol):
    """Collecting by payers' authorizations, where a chain has them. Each call may raise ChainUnavailableError."""

    domains: Mapping[str, SigningDomain]
    """By symbol: the tokens that can be collected in."""

    async def check_domains(self) -> None:
        """Compare the domains with the tokens' own. Raises ConfigurationError, which names the right one."""

    def tag(self, asset: str, payer: str, nonce: str) -> str:
        """What `Transfer.tags` has when this payer's authorization with this nonce was used."""

    def check_signature(self, authorization: Authorization) -> None:
        """Whether the payer signed it. Raises AuthorizationRefusedError."""

    async def simulate(self, authorization: Authorization) -> None:
        """Whether the newest block would take it. Raises AuthorizationRefusedError."""

    async def used(self, authorization: Authorization) -> bool:
        """Whether the token has taken it, or it was called off, by the newest block."""

    async def find(self, authorization: Authorization, since: int) -> str | None:
        """The transaction that used it, in a block from `since` on."""

    async def sign(self, authorization: Authorization, signer: Signer, *, nonce: int) -> SignedTransaction:
        """The transaction that brings it to the chain, unsent; `nonce` is the signer's.

        Raises AuthorizationRefusedError, BroadcastRefusedError ('insufficient_funds').
        """

    async def outbid(self, replaces: SignedTransaction, signer: Signer) -> SignedTransaction:
        """The same with a fee that nodes accept as a bump; `replaces` itself when the cap on fees forbids one."""


@runtime_checkable
class CollectingChain(Protocol):
    """A chain on which payers can sign a transfer that others send."""

    authorizations: Authorizations
