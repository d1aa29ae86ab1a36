"""The frame of every message, and the codes that more than one message uses."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec

VERSION: Final = "0.1.0"
"""The version of the wire that the schema announces."""

HANDSHAKE_SECONDS: Final = 30
"""A client must have sent its payment proof this long after the socket opened."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Every integer on the wire but amounts of money, which `money.parse_amount` bounds: never negative, and within what
the databases' columns and JavaScript's numbers hold."""


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

LINK_REFUSALS: Final = frozenset({"client_certificate_required", "unauthorized", "forbidden"})
"""Codes by which a server passes on that its gateway does not take it: another server of the same address may do."""


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


def encode(message: Any) -> bytes:
    """Any message as JSON."""
    return msgspec.json.encode(message)
