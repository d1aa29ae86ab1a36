"""The gateway's HTTP API as stock servers call it, and the proof that all peers show."""

from __future__ import annotations

from typing import Literal

from ws402.money import WireAmount
from ws402.protocol.base import Count, Message, RejectCode
from ws402.protocol.prices import PriceTerms


class GenerateRequest(Message, kw_only=True):
    """POST /api/payment/generate: ask for an invoice. `session_id` asks for a top-up of that session.

    `price` is the price in full, where `price_per_second`, rounded up, does not say it all; its `decimals` must be the
    asset's. With the session's `resume_token`, resource, network, asset and price are the session's own, and `amount`
    is what it costs for `estimated_duration` and `estimated_units`: any server can ask, not only the one that holds
    the session.
    """

    amount: WireAmount
    resource_id: str
    estimated_duration: Count
    network: str | None = None
    asset: str | None = None
    price_per_second: WireAmount | None = None
    price: PriceTerms | None = None
    estimated_units: dict[str, Count] | None = None
    session_id: str | None = None
    resume_token: str | None = None
    unique_amount: bool | None = None
    """Ask for an amount that names the invoice, where a payment link has no room for anything else."""


class Proof(Message, kw_only=True):
    """What a client shows for its payment: EVM (`txHash`, `senderAddress`) or Solana (`signature`, `senderWallet`)."""

    reference: str | None = None
    tx_hash: str | None = None
    sender_address: str | None = None
    signature: str | None = None
    sender_wallet: str | None = None

    @property
    def tx(self) -> str | None:
        """The transaction's id on its chain."""
        return self.tx_hash or self.signature

    @property
    def sender(self) -> str | None:
        """The payer as the client names it; compared with the chain, never believed."""
        return self.sender_address or self.sender_wallet


class VerifyRequest(Message, kw_only=True):
    """POST /api/payment/verify. `server_id` marks our own servers: their sessions are metered by checkpoints."""

    proof: Proof
    timestamp: Count | None = None
    resource_id: str | None = None
    claim_token: str | None = None
    payer_signature: str | None = None
    server_id: str | None = None
    session_id: str | None = None


class VerifyResponse(Message, kw_only=True):
    """Whether the proof opened (or topped up) a session. A refused proof has valid=False, amount=0 and a reason."""

    valid: bool
    amount: WireAmount
    reason: str | None = None
    code: RejectCode | None = None
    session_id: str | None = None
    payer: str | None = None
    network: str | None = None
    asset: str | None = None
    resource_id: str | None = None
    price_per_second: WireAmount | None = None
    price: PriceTerms | None = None
    resume_token: str | None = None
    epoch: Count | None = None


class InvoiceSecret(Message, kw_only=True):
    """What only the one who was given an invoice knows: its `reference`, and the `claim_token` where there is one."""

    reference: str
    claim_token: str | None = None


class PaymentStatus(Message, kw_only=True):
    """What has arrived for an invoice: `waiting` (nothing), `arrived` (show `tx` and `sender` as a proof), `paid` (its
    session was opened), `returned` (it goes back to its sender), `expired` (nothing came in time), `unknown`.
    """

    state: Literal["waiting", "arrived", "paid", "returned", "expired", "unknown"]
    tx: str | None = None
    sender: str | None = None
    amount: WireAmount | None = None


class RefundRequest(Message, kw_only=True):
    """POST /api/payment/refund, as stock servers end a session: `amount` is what was paid and not used."""

    proof: Proof
    amount: WireAmount
    timestamp: Count | None = None


class RefundResponse(Message, kw_only=True):
    """`status: success` means that the debt is durably recorded and will be delivered."""

    status: Literal["success"]
    amount: WireAmount
    recipient: str
    message: str
    timestamp: Count
    refund_id: str | None = None
    state: str | None = None
    tx_hash: str | None = None


class HealthResponse(Message, kw_only=True):
    """GET /api/health. Of /health/ready: `away`, the networks that cannot be reached now while others can; `restored`,
    those that send no refund, for the ledger is a copy that was not reconciled with them.
    """

    status: str
    provider: str
    timestamp: Count
    away: list[str] | None = None
    restored: list[str] | None = None


class ErrorResponse(Message, kw_only=True):
    """Every error of both HTTP APIs: `error` is the HTTP reason phrase; no internals in `message`.

    `schema_url` comes with 402: where the price and the payment details are to be had.
    """

    error: str
    message: str
    code: str | None = None
    remedy: str | None = None
    refundable: WireAmount | None = None
    schema_url: str | None = None


class AssetInfo(Message, kw_only=True):
    """What can be paid in. `native`: an invoice that names this network and no asset asks for it."""

    network: str
    asset: str
    decimals: Count
    native: bool


class StatsResponse(Message, kw_only=True):
    """GET /api/stats. Counters are since this process started; volume is in smallest units by network and asset."""

    gateway: str
    provider: str
    network: str
    chain_id: Count | None = None
    merchant_wallet: str
    auto_refund_enabled: bool
    uptime: Count
    timestamp: Count
    payments_verified: Count
    payments_rejected: Count
    refunds_issued: Count
    refunds_failed: Count
    total_volume: dict[str, dict[str, WireAmount]]
    average_response_time: float
    default_asset: str | None = None
    """What an invoice asks for that names neither network nor asset."""
    assets: list[AssetInfo] | None = None


class BlockhashRequest(Message, kw_only=True):
    """GET /api/blockhash: the gateway's first network of Solana when none is named."""

    network: str | None = None


class BlockhashResponse(Message, kw_only=True):
    """What a transaction on Solana is tied to: it can be in a block up to that height."""

    blockhash: str
    last_valid_block_height: Count
    network: str


def payer_message(*, reference: str, network: str, tx: str, recipient: str) -> str:
    """The text that a payer signs (EIP-191 personal_sign, ed25519) to tie a transfer to an invoice.

    `recipient` is the realm: a signature given to one merchant is worth nothing to another.
    """
    return f"WS402 payment\nrecipient: {recipient}\nnetwork: {network}\ntransaction: {tx}\nreference: {reference}"
