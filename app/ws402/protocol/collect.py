"""Payments that the gateway collects: a payer signs a transfer, and whoever shows it asks the gateway to bring it to
the chain (x402's `exact` scheme on EVM chains, EIP-3009).
"""

from __future__ import annotations

from typing import Literal

from ws402.money import WireAmount
from ws402.protocol.base import Count, Message
from ws402.protocol.prices import PriceTerms


class TokenTerms(Message, kw_only=True):
    """A token in which the gateway collects, and the domain in which its holders sign (EIP-712)."""

    network: str
    chain_id: Count
    asset: str
    contract: str
    decimals: Count
    recipient: str
    name: str
    version: str
    min_amount: WireAmount


class TermsResponse(Message, kw_only=True):
    """What can be collected; nothing where the gateway has no collector. `default_…`: what an invoice asks for when
    nothing is named; `attach_seconds`: how long a session waits for its payer; `challenge_secrets`: by which servers
    know the challenges that they made, the one to use first.
    """

    tokens: list[TokenTerms]
    default_network: str
    default_asset: str | None = None
    attach_seconds: Count = 0
    challenge_secrets: tuple[str, ...] = ()


class TermsRequest(Message, kw_only=True):
    """Ask for the terms."""


class SignedTransfer(Message, kw_only=True):
    """A payer's authorization (EIP-3009) as it was signed. `nonce` and `signature` are hex with 0x; times are Unix
    seconds.
    """

    payer: str
    recipient: str
    amount: WireAmount
    valid_after: Count
    valid_before: Count
    nonce: str
    signature: str


class CollectRequest(Message, kw_only=True):
    """Collect a signed transfer and open the session that it pays for.

    `mode`: `request` takes the session for `server_id` at once, `session` leaves it for a resume. `secret`: what only
    the offer's recipient knows; the same payment is answered again only to who shows the same one. `realm`: the secret
    is the id of an MPP challenge of this realm, and the nonce must be bound to both.
    """

    network: str
    asset: str
    transfer: SignedTransfer
    resource_id: str
    price_per_second: WireAmount
    price: PriceTerms | None = None
    duration: Count
    mode: Literal["request", "session"]
    server_id: str
    secret: str | None = None
    realm: str | None = None


class CollectResponse(Message, kw_only=True):
    """What became of it.

    `open`: the session is the caller's, with the next one-time token. `pending`: not known yet, nothing may be paid
    again. `refused`: nothing was sent, `reason` is x402's. `failed`: it can never land. `known`: it has paid for this
    session, which is not to be had again.
    """

    state: Literal["open", "pending", "refused", "failed", "known"]
    reason: str | None = None
    message: str | None = None
    tx: str | None = None
    session_id: str | None = None
    epoch: Count | None = None
    resume_token: str | None = None
    payer: str | None = None
    paid: WireAmount | None = None
    elapsed_ms: Count = 0


class SessionRequest(Message, kw_only=True):
    """How does this session stand?"""

    session_id: str


class SessionRefund(Message, kw_only=True):
    """A session's refund; `state` as in `RefundStatusResponse`."""

    amount: WireAmount
    state: str
    tx_hash: str | None = None


class SessionResponse(Message, kw_only=True):
    """A session's money. `state`: live, released, ended, reversed; consumed and refund are known once it has ended."""

    session_id: str
    state: str
    network: str
    asset: str
    paid_amount: WireAmount
    consumed_amount: WireAmount | None = None
    refund: SessionRefund | None = None
