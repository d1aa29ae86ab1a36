"""Binding: what ties a transfer to the invoice that a proof names. The safest that is offered counts.

- `tag`: the transfer carries the hash of the invoice's secret reference.
- `claim_token`: the reference is public (Solana), the caller shows the invoice's secret token, and the transfer the
  reference.
- `signature`: the payer signed the reference, the network and the transaction.
- `legacy`: nothing but the sender's name, the exact amount and the time: what stock clients offer. Somebody who sees
  such a transfer first, and holds an open invoice of the same amount, can use it; a refund still goes to the payer.
  Not where the amount names an invoice: then it pays for that one only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from ws402.gateway.watch.named import EARLY_MS
from ws402.protocol import RejectCode


class Binding(StrEnum):
    """How a transfer is tied to its invoice."""

    TAG = "tag"
    CLAIM_TOKEN = "claim_token"  # noqa: S105 - a name, no secret
    SIGNATURE = "signature"
    LEGACY = "legacy"


@dataclass(slots=True)
class Terms:
    """What an invoice asks for, and what the proof offers."""

    invoice_id: str
    kinds: Sequence[str]
    tag: str
    public: bool
    """Whether everybody can read the reference that the tag is the hash of (`Chain.reference_is_public`)."""
    amount: int
    created_at: int
    expires_at: int
    claimed: bool
    sender: str | None
    signer: str | None


@dataclass(slots=True, frozen=True)
class Refusal:
    """Why a transfer does not pay an invoice. `bound`: it is certainly meant for it; `stray`: it probably is."""

    code: RejectCode
    reason: str
    bound: bool = False
    stray: bool = False


def bind(terms: Terms, transfer: Row[Any]) -> Binding | Refusal:
    """Decide whether, and how, a recorded transfer pays for an invoice."""
    if terms.sender is not None and terms.sender != transfer.sender:
        return Refusal(RejectCode.SENDER_MISMATCH, "The transfer was sent by another account.")
    tags = transfer.tags.split()
    binding = _binding(terms, transfer, tags)
    if isinstance(binding, Refusal):
        return binding
    exact = binding is Binding.LEGACY
    bound = not exact
    if transfer.block_time < terms.created_at - EARLY_MS and not (bound and terms.tag in tags):
        return Refusal(RejectCode.TRANSFER_TOO_OLD, "The transfer is older than the invoice.")
    if transfer.block_time > terms.expires_at + EARLY_MS:
        return Refusal(
            RejectCode.TRANSFER_TOO_LATE, "The invoice had expired; the payment will be refunded.", bound, stray=True
        )
    if transfer.amount < terms.amount:
        reason = f"{transfer.amount} was paid, {terms.amount} is due; the payment will be refunded."
        return Refusal(RejectCode.AMOUNT_SHORT, reason, bound, stray=True)
    if exact and transfer.amount != terms.amount:
        reason = "The amount is not the invoice's, and nothing else ties them; the payment will be refunded."
        return Refusal(RejectCode.AMOUNT_MISMATCH, reason, stray=True)
    return binding


def _binding(terms: Terms, transfer: Row[Any], tags: list[str]) -> Binding | Refusal:
    if terms.tag in tags:
        # Where the reference is public, the claim token is the secret.
        if "tag" in terms.kinds and not terms.public:
            return Binding.TAG
        if "claim_token" in terms.kinds and terms.claimed:
            return Binding.CLAIM_TOKEN
    if "signature" in terms.kinds and terms.signer == transfer.sender:
        return Binding.SIGNATURE  # the payer's own word, whatever the calldata means
    if tags and terms.tag not in tags:
        return Refusal(RejectCode.BINDING_INVALID, "The transfer names another invoice.")
    if "legacy" not in terms.kinds:
        return Refusal(
            RejectCode.BINDING_REQUIRED,
            "The transfer does not name the invoice: send the details' `data`, or sign the proof.",
        )
    if transfer.invoice_id not in (None, terms.invoice_id):
        return Refusal(RejectCode.BINDING_INVALID, "The transfer's amount names another invoice.")
    if terms.sender is None:
        return Refusal(RejectCode.MALFORMED_PROOF, "The proof names no sender.")
    return Binding.LEGACY
