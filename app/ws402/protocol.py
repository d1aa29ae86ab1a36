"""The WS402 wire: one Struct a message. Nothing else in the project knows a field's spelling.

Fields that stock peers (JavaScript `ws402` 0.1.x) do not know are optional and left out when unset, so such a peer can
ignore them. Times are milliseconds since the Unix epoch where a name ends in `At` or is `timestamp`, seconds where it
ends in `Seconds` or is a duration. Amounts are whole smallest units (see `ws402.money`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

from ws402.money import WireAmount

VERSION: Final = "0.1.0"
"""The version of the wire that the schema announces."""

HANDSHAKE_SECONDS: Final = 30
"""A client must have sent its payment proof this long after the socket opened."""


class RejectCode(StrEnum):
    """Why a payment proof was refused; stable, for programs. Transient ones may be sent again unchanged."""

    MALFORMED_PROOF = "malformed_proof"
    UNKNOWN_INVOICE = "unknown_invoice"
    INVOICE_EXPIRED = "invoice_expired"
    RESOURCE_MISMATCH = "resource_mismatch"
    TRANSFER_NOT_FOUND = "transfer_not_found"
    TRANSFER_UNCONFIRMED = "transfer_unconfirmed"
    TRANSFER_FAILED = "transfer_failed"
    TRANSFER_TOO_OLD = "transfer_too_old"
    TRANSFER_TOO_LATE = "transfer_too_late"
    WRONG_RECIPIENT = "wrong_recipient"
    WRONG_ASSET = "wrong_asset"
    AMOUNT_SHORT = "amount_short"
    AMOUNT_MISMATCH = "amount_mismatch"
    SENDER_MISMATCH = "sender_mismatch"
    BINDING_REQUIRED = "binding_required"
    BINDING_INVALID = "binding_invalid"
    ALREADY_CLAIMED = "already_claimed"
    SESSION_ENDED = "session_ended"
    CHAIN_UNAVAILABLE = "chain_unavailable"


TRANSIENT_REJECTS: Final = frozenset(
    {RejectCode.TRANSFER_NOT_FOUND, RejectCode.TRANSFER_UNCONFIRMED, RejectCode.CHAIN_UNAVAILABLE}
)
"""Refusals that claim nothing and may turn into acceptance later."""


class EndReason(StrEnum):
    """Why a session ended."""

    CLIENT_CLOSED = "client_closed"
    CLIENT_ENDED = "client_ended"
    BALANCE_EXHAUSTED = "balance_exhausted"
    MAX_DURATION = "max_duration"
    RESOURCE_ENDED = "resource_ended"
    SLOW_READER = "slow_reader"
    SERVER_DRAINING = "server_draining"
    SERVER_ERROR = "server_error"
    SERVER_VANISHED = "server_vanished"
    SUPERSEDED = "superseded"
    REORGED = "reorged"
    REFUND_REQUESTED = "refund_requested"


class Message(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Base of all messages: camelCase on the wire, unset optional fields left out, unknown fields ignored.

    msgspec does not inherit `kw_only`, so every message says it.
    """


# --- Payment details: what to pay ------------------------------------------------------------------------------------


class Details(Message, kw_only=True):
    """What every kind of payment details has."""

    network: str
    recipient: str
    amount: WireAmount
    currency: str
    reference: str
    expires_at: int
    instructions: dict[str, str]
    asset: str | None = None
    claim_token: str | None = None
    binding: list[str] | None = None
    resource_id: str | None = None
    estimated_duration: int | None = None
    price_per_second: WireAmount | None = None
    gateway: str | None = None
    timestamp: int | None = None


class EvmPaymentDetails(Details, kw_only=True, tag_field="type", tag="base"):
    """Payment details of an EVM chain. `data`: the calldata that ties the payment to its invoice (EIP-681 link too)."""

    chain_id: int
    amount_wei: WireAmount
    amount_eth: str = msgspec.field(name="amountETH")
    decimals: int | None = None
    token_address: str | None = None
    data: str | None = None
    eip681: str | None = None


class SolanaPaymentDetails(Details, kw_only=True, tag_field="type", tag="solana"):
    """Payment details of Solana; `reference` is a base58 public key that the transfer instruction must list."""

    amount_sol: str = msgspec.field(name="amountSOL")
    solana_pay_url: str = msgspec.field(name="solanaPayURL")
    qr_code: str
    spl_token: str | None = None


PaymentDetails = EvmPaymentDetails | SolanaPaymentDetails


# --- Gateway HTTP API ------------------------------------------------------------------------------------------------


class GenerateRequest(Message, kw_only=True):
    """POST /api/payment/generate: ask for an invoice. `session_id` asks for a top-up of that session."""

    amount: WireAmount
    resource_id: str
    estimated_duration: int
    network: str | None = None
    asset: str | None = None
    price_per_second: WireAmount | None = None
    session_id: str | None = None


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
    timestamp: int | None = None
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
    resume_token: str | None = None
    epoch: int | None = None


class RefundRequest(Message, kw_only=True):
    """POST /api/payment/refund, as stock servers end a session: `amount` is what was paid and not used."""

    proof: Proof
    amount: WireAmount
    timestamp: int | None = None


class RefundResponse(Message, kw_only=True):
    """`status: success` means that the debt is durably recorded and will be delivered."""

    status: Literal["success"]
    amount: WireAmount
    recipient: str
    message: str
    timestamp: int
    refund_id: str | None = None
    state: str | None = None
    tx_hash: str | None = None


class HealthResponse(Message, kw_only=True):
    """GET /api/health."""

    status: str
    provider: str
    timestamp: int


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


class StatsResponse(Message, kw_only=True):
    """GET /api/stats. Counters are since this process started; volume is in smallest units by network and asset."""

    gateway: str
    provider: str
    network: str
    chain_id: int | None = None
    merchant_wallet: str
    auto_refund_enabled: bool
    uptime: int
    timestamp: int
    payments_verified: int
    payments_rejected: int
    refunds_issued: int
    refunds_failed: int
    total_volume: dict[str, dict[str, WireAmount]]
    average_response_time: float


# --- Batched operations of our own servers (POST /api/ops) -----------------------------------------------------------


class Checkpoint(Message, kw_only=True):
    """Usage of a live session so far. `epoch` counts resumes: an older holder of the session is told to let go."""

    session_id: str
    epoch: int
    elapsed_ms: int
    bytes_transferred: int
    message_count: int


class CheckpointResponse(Message, kw_only=True):
    """`live` False: the session ended or moved to another server (`reason`); stop serving it, and do not settle."""

    session_id: str
    live: bool
    reason: EndReason | None = None


class SettleRequest(Checkpoint, kw_only=True):
    """The end of a session: usage is final, the rest is owed to the payer."""

    reason: EndReason


class SettleResponse(Message, kw_only=True):
    """The settlement; the same for every repetition of the request. `refund_id` is unset when nothing is owed."""

    session_id: str
    paid: WireAmount
    consumed: WireAmount
    refund: WireAmount
    refund_id: str | None = None
    refund_state: str | None = None


class ReleaseRequest(Checkpoint, kw_only=True):
    """A server hands a live session back (drain, lost socket): it may be resumed anywhere for a while, unmetered."""


class ResumeRequest(Message, kw_only=True):
    """Take over a session with its one-time token; the answer has the next token."""

    token: str
    server_id: str
    resource_id: str | None = None


class ResumeResponse(Message, kw_only=True):
    """A resumed session: what was paid and already used, and the next one-time token."""

    session_id: str
    epoch: int
    resume_token: str
    resource_id: str
    payer: str
    network: str
    asset: str
    paid: WireAmount
    price_per_second: WireAmount
    elapsed_ms: int
    bytes_transferred: int
    message_count: int


class RefundStatusRequest(Message, kw_only=True):
    """Where is this refund?"""

    refund_id: str


class RefundStatusResponse(Message, kw_only=True):
    """A refund's state: waiting, due, credit, in_flight, confirmed, final or held; `tx_hash` once it was sent."""

    refund_id: str
    state: str
    amount: WireAmount
    recipient: str
    tx_hash: str | None = None


class Op(Message, kw_only=True, tag_field="op"):
    """One operation of a batch. `key` makes it idempotent: the same key and body give the same answer."""

    key: str | None = None


class GenerateOp(Op, kw_only=True, tag="generate"):
    """Ask for an invoice."""

    body: GenerateRequest


class VerifyOp(Op, kw_only=True, tag="verify"):
    """Verify a proof and open (or top up) a session."""

    body: VerifyRequest


class CheckpointOp(Op, kw_only=True, tag="checkpoint"):
    """Report usage."""

    body: Checkpoint


class SettleOp(Op, kw_only=True, tag="settle"):
    """End a session."""

    body: SettleRequest


class ReleaseOp(Op, kw_only=True, tag="release"):
    """Hand a session back."""

    body: ReleaseRequest


class ResumeOp(Op, kw_only=True, tag="resume"):
    """Take a session over."""

    body: ResumeRequest


class RefundStatusOp(Op, kw_only=True, tag="refund_status"):
    """Ask for a refund's state."""

    body: RefundStatusRequest


AnyOp = GenerateOp | VerifyOp | CheckpointOp | SettleOp | ReleaseOp | ResumeOp | RefundStatusOp


class BatchRequest(Message, kw_only=True):
    """Operations for the gateway; each is answered on its own, in order."""

    ops: list[AnyOp]


class OpError(Message, kw_only=True):
    """An operation that failed while its neighbours did not. `retry` tells whether the same call may work later.

    `status` is what the operation alone would have been answered with. The code `pending`: a verification with a key
    goes on; the same operation sent again waits for its end.
    """

    code: str
    message: str
    retry: bool
    remedy: str | None = None
    status: int | None = None


_NOTHING: Final = msgspec.Raw(b"null")


class OpResult(Message, kw_only=True):
    """The answer to one operation: its response's JSON as it is, or (then `ok` is null and left out) an error."""

    ok: msgspec.Raw = _NOTHING
    error: OpError | None = None


class BatchResponse(Message, kw_only=True):
    """Answers in the order of the operations."""

    results: list[OpResult]


# --- The WebSocket, client to server ---------------------------------------------------------------------------------


class PaymentProofMessage(Message, kw_only=True, tag_field="type", tag="payment_proof"):
    """The proof that opens the session; again in a live session: a top-up."""

    proof: Proof
    claim_token: str | None = None
    payer_signature: str | None = None


class ResumeMessage(Message, kw_only=True, tag_field="type", tag="resume"):
    """Go on with a session on a new socket."""

    token: str


class EndSessionMessage(Message, kw_only=True, tag_field="type", tag="end_session"):
    """End the session now and answer with `session_ended`."""


ClientMessage = PaymentProofMessage | ResumeMessage | EndSessionMessage


# --- The WebSocket, server to client ---------------------------------------------------------------------------------


class SessionStarted(Message, kw_only=True, tag_field="type", tag="session_started"):
    """The session is open; metering began."""

    session_id: str
    balance: WireAmount
    price_per_second: WireAmount
    resume_token: str | None = None
    max_session_duration: int | None = None
    resumed: bool = False


class HttpAccessGranted(Message, kw_only=True, tag_field="type", tag="http_access_granted"):
    """Where and with what token the HTTP resource is to be had while the session lives."""

    http_token: str
    resource_url: str


class UsageUpdate(Message, kw_only=True, tag_field="type", tag="usage_update", omit_defaults=False):
    """Sent every update interval. Mutable, and reused by the ticker: one object for all sessions."""

    session_id: str
    elapsed_seconds: int
    consumed_amount: WireAmount
    remaining_balance: WireAmount
    bytes_transferred: int
    message_count: int


class BalanceLow(Message, kw_only=True, tag_field="type", tag="balance_low"):
    """The balance lasts for `remaining_seconds` more."""

    session_id: str
    remaining_balance: WireAmount
    remaining_seconds: int


class BalanceUpdated(Message, kw_only=True, tag_field="type", tag="balance_updated"):
    """A top-up was credited: `added` is new, `remaining_balance` what is left now."""

    session_id: str
    added: WireAmount
    remaining_balance: WireAmount


class BalanceExhausted(Message, kw_only=True, tag_field="type", tag="balance_exhausted"):
    """All that was paid is used; close 1000 follows."""

    message: str


class MaxDurationReached(Message, kw_only=True, tag_field="type", tag="max_duration_reached"):
    """The session is as long as one may be; close 1000 follows."""

    message: str


class PaymentRejected(Message, kw_only=True, tag_field="type", tag="payment_rejected"):
    """The proof was refused; close 1008 follows (in a live session, a refused top-up, nothing follows)."""

    reason: str
    code: str | None = None


class Draining(Message, kw_only=True, tag_field="type", tag="draining"):
    """This server goes away at `deadline` (ms epoch): reconnect after `reconnect_after_ms` and resume."""

    deadline: int
    reconnect_after_ms: int


class SessionEnded(Message, kw_only=True, tag_field="type", tag="session_ended"):
    """The settlement, sent before the socket closes."""

    session_id: str
    reason: EndReason
    paid_amount: WireAmount
    consumed_amount: WireAmount
    refund_amount: WireAmount
    refund_id: str | None = None


class ErrorMessage(Message, kw_only=True, tag_field="type", tag="error"):
    """Something the client sent could not be served; the session goes on unless a close follows."""

    code: str
    message: str


ServerMessage = (
    SessionStarted
    | HttpAccessGranted
    | UsageUpdate
    | BalanceLow
    | BalanceUpdated
    | BalanceExhausted
    | MaxDurationReached
    | PaymentRejected
    | Draining
    | SessionEnded
    | ErrorMessage
)


# --- WS402 server HTTP -----------------------------------------------------------------------------------------------


class Pricing(Message, kw_only=True):
    """A price list entry: `total_price` is what `estimated_duration` seconds cost."""

    price_per_second: WireAmount
    currency: str
    estimated_duration: int
    total_price: WireAmount


class ResourceInfo(Message, kw_only=True):
    """A resource as people see it. `estimated_time` is a suggested duration in seconds."""

    name: str
    type: str
    estimated_time: int


class SchemaResponse(Message, kw_only=True):
    """GET /ws402/schema/{resourceId}: everything that a client needs to pay and connect."""

    protocol: str
    version: str
    resource_id: str
    websocket_endpoint: str
    pricing: Pricing
    payment_details: PaymentDetails
    max_session_duration: int
    resource_info: ResourceInfo | None = None


class ResourceListing(Message, kw_only=True):
    """One entry of GET /api/resources."""

    id: str
    name: str
    type: str
    pricing: Pricing


class SessionStatus(Message, kw_only=True):
    """One live session in GET /status."""

    session_id: str
    user_id: str
    elapsed_seconds: int
    remaining_balance: WireAmount


class StatusResponse(Message, kw_only=True):
    """GET /status: names users, so it is not public by default."""

    provider: str
    gateway_url: str | None
    active_sessions: int
    sessions: list[SessionStatus]


def payer_message(*, reference: str, network: str, tx: str, recipient: str) -> str:
    """The text that a payer signs (EIP-191 personal_sign, ed25519) to tie a transfer to an invoice.

    `recipient` is the realm: a signature given to one merchant is worth nothing to another.
    """
    return f"WS402 payment\nrecipient: {recipient}\nnetwork: {network}\ntransaction: {tx}\nreference: {reference}"


def encode(message: Any) -> bytes:
    """Any message as JSON."""
    return msgspec.json.encode(message)
