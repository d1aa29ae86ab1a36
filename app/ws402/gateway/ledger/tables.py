"""The ledger's tables. What must never happen is forbidden here, by constraints, not by callers.

Ids are text with a prefix (`inv_`, `pay_`, `ses_`, `ref_`, `del_`). Times are milliseconds since the epoch.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from ws402.gateway.ledger import states
from ws402.gateway.ledger.types import Amount, dialect_check

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BIG = BigInteger().with_variant(Integer(), "sqlite")

ACCOUNTS: Final = (
    "chain",  # what our addresses hold; every other account says whose it is
    "unclaimed",  # arrived, tied to no invoice yet
    "session_escrow",  # paid for a session that has not ended
    "revenue",  # consumed
    "payer_due",  # owed to payers
    "credit",  # owed, but too small to send yet
    "refund_in_flight",  # in a signed transaction
    "gas",  # spent on fees
    "capital",  # what the operator put in or took out
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("key_hash", Text, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_at", BIG, nullable=False),
    Column("revoked_at", BIG),
)

invoices = Table(
    "invoices",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("tag", Text, nullable=False, unique=True),  # hash of the secret reference; the reference is not kept
    Column("claim_hash", Text),  # hash of the claim token, where the reference is public on chain
    Column("network", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("amount", Amount, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("price_per_second", Amount),  # rounded up; unset by stock servers, which meter themselves
    Column("price", Text),  # in full, where that is not the same
    Column("estimated_duration", Integer, nullable=False),
    Column("session_id", Text),  # a top-up of this session
    Column("created_at", BIG, nullable=False),
    Column("expires_at", BIG, nullable=False),
    Column("returned", Integer, nullable=False, server_default="0"),  # payments that were owed back at once
    Column("unique_amount", Amount),  # the amount, where no other open invoice asks for it: it names the invoice
    CheckConstraint("expires_at > created_at", name="expires_later"),
    Index(None, "network", "expires_at"),
    Index(None, "network", "asset", "amount", "expires_at"),
    Index(None, "network", "asset", "unique_amount"),
)

networks = Table(
    "networks",  # how far the watcher has come
    metadata,
    Column("network", Text, primary_key=True),
    Column("first_block", BIG, nullable=False),  # the opening balance was read here; older transfers are not ours
    Column("block", BIG, nullable=False),
    # Since when this ledger is known to be an old copy: nothing is signed until it was reconciled with the chain.
    Column("restored_at", BIG),
    Column("restored_block", BIG),  # as far as the watch had come in the copy
)

blocks = Table(
    "blocks",  # the newest blocks that the watcher saw, to notice a reorg
    metadata,
    Column("network", Text, primary_key=True),
    Column("block", BIG, primary_key=True),
    Column("block_hash", Text, nullable=False),
)

transfers = Table(
    "transfers",
    metadata,
    Column("network", Text, primary_key=True),
    Column("tx", Text, primary_key=True),
    Column("idx", Integer, primary_key=True),
    Column("block", BIG, nullable=False),
    Column("block_hash", Text, nullable=False),
    Column("block_time", BIG, nullable=False),
    Column("sender", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount", Amount, nullable=False),
    Column("tags", Text, nullable=False),  # space-separated
    Column("state", Text, nullable=False),
    Column("seen_at", BIG, nullable=False),
    Column("refund_at", BIG),  # refund it if it still pays for no session then; unset: an operator decides
    Column("invoice_id", Text, index=True),  # the invoice that it names, by its tag or a unique amount
    CheckConstraint(f"state IN ({states.one_of(states.TransferState)})", name="state"),
    Index(None, "network", "block"),
    Index(None, "refund_at"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("network", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("payer", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("price_per_second", Amount),
    Column("price", Text),
    Column("paid", Amount, nullable=False),
    Column("consumed", Amount, nullable=False),
    Column("refunded", Amount, nullable=False),  # the debt that the settlement made
    Column("state", Text, nullable=False),
    Column("metered", Boolean, nullable=False),  # by our checkpoints; False: by a stock server, on its own
    Column("server_id", Text),
    Column("epoch", Integer, nullable=False),
    Column("resume_hash", Text, unique=True),
    Column("answered", Boolean, nullable=False),  # the answer that opened it reached the stock server
    Column("source_block", BIG, nullable=False),  # newest block that holds one of its payments
    Column("opened_at", BIG, nullable=False),
    Column("ended_at", BIG),
    Column("end_reason", Text),
    CheckConstraint(f"state IN ({states.one_of(states.SessionState)})", name="state"),
    CheckConstraint(f"(state IN ({states.one_of(states.OVER)})) = (ended_at IS NOT NULL)", name="ended_at"),
    Index(None, "state", "opened_at"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("session_id", ForeignKey("sessions.id"), primary_key=True),
    Column("elapsed_ms", BIG, nullable=False),
    Column("bytes_transferred", BIG, nullable=False),
    Column("message_count", BIG, nullable=False),
    Column("units", Text),  # by unit that has a price, as JSON; null where only time has one
    Column("reported_at", BIG, nullable=False),
    CheckConstraint("elapsed_ms >= 0", name="elapsed"),
    Index(None, "reported_at"),
)

payments = Table(
    "payments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("network", Text, nullable=False),
    Column("tx", Text, nullable=False),
    Column("idx", Integer, nullable=False),
    Column("invoice_id", ForeignKey("invoices.id"), nullable=False, unique=True),
    # Deferred: the payment row decides a race before its session is inserted.
    Column("session_id", ForeignKey("sessions.id", deferrable=True, initially="DEFERRED"), nullable=False, index=True),
    Column("payer", Text, nullable=False),
    Column("amount", Amount, nullable=False),
    Column("binding", Text, nullable=False),
    Column("created_at", BIG, nullable=False),
    UniqueConstraint("network", "tx", "idx"),  # a transfer pays once
    ForeignKeyConstraint(["network", "tx", "idx"], ["transfers.network", "transfers.tx", "transfers.idx"]),
    CheckConstraint("binding IN ('tag', 'signature', 'claim_token', 'legacy')", name="binding"),
)

refunds = Table(
    "refunds",  # the outbox: debts to payers
    metadata,
    Column("id", Text, primary_key=True),
    Column("session_id", ForeignKey("sessions.id"), unique=True),  # one refund a session
    Column("network", Text, nullable=False),
    Column("tx", Text),  # or: the transfer that pays no session (late, short, unreferenced)
    Column("idx", Integer),
    Column("asset", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("amount", Amount, nullable=False),
    Column("state", Text, nullable=False),
    Column("source_block", BIG, nullable=False),  # waits until this block is final
    Column("delivery_id", ForeignKey("deliveries.id"), index=True),
    Column("reason", Text),  # why it is held, for the operator
    # It passed the checks on size and recipient, or an operator released it: no credit and no hold a second time.
    Column("cleared", Boolean, nullable=False, default=False, server_default=false()),
    Column("due_at", BIG),  # when it could first be sent: its payment was final
    Column("created_at", BIG, nullable=False),
    Column("updated_at", BIG, nullable=False),
    UniqueConstraint("network", "tx", "idx"),  # one refund a transfer
    ForeignKeyConstraint(["network", "tx", "idx"], ["transfers.network", "transfers.tx", "transfers.idx"]),
    CheckConstraint("(session_id IS NULL) <> (tx IS NULL)", name="one_source"),
    CheckConstraint(f"state IN ({states.one_of(states.RefundState)})", name="state"),
    CheckConstraint(f"(state IN ({states.one_of(states.SENT)})) = (delivery_id IS NOT NULL)", name="delivery"),
    Index(None, "network", "state", "source_block"),
    Index(None, "recipient", "asset", "state"),
)

deliveries = Table(
    "deliveries",  # a transaction of ours and its fee bumps: one recipient's refunds, or an authorization ('collect')
    metadata,
    Column("id", Text, primary_key=True),
    Column("network", Text, nullable=False),
    Column("signer", Text, nullable=False),  # address
    Column("nonce", BIG),
    Column("kind", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount", Amount, nullable=False),
    Column("state", Text, nullable=False),
    Column("tx", Text),  # the attempt that is in a block
    Column("block", BIG),
    Column("fee", Amount),
    Column("created_at", BIG, nullable=False),
    Column("updated_at", BIG, nullable=False),
    UniqueConstraint("network", "signer", "nonce"),
    CheckConstraint("kind IN ('refund', 'cancel', 'collect')", name="kind"),
    CheckConstraint(f"state IN ({states.one_of(states.DeliveryState)})", name="state"),
    Index(None, "network", "signer", "state"),
    Index(None, "network", "signer", "created_at"),
)

attempts = Table(
    "attempts",  # signed bytes, stored before they are first sent
    metadata,
    Column("delivery_id", ForeignKey("deliveries.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", Text, nullable=False),  # a cancel attempt gives the nonce back instead of paying
    Column("tx", Text, nullable=False, unique=True),
    Column("raw", LargeBinary, nullable=False),
    Column("valid_until", BIG),
    Column("max_fee", Amount, nullable=False),
    Column("fee_params", Text, nullable=False),  # JSON
    Column("created_at", BIG, nullable=False),
    Column("sent_at", BIG),
    CheckConstraint("kind IN ('refund', 'cancel', 'collect')", name="kind"),
)

authorizations = Table(
    "authorizations",  # transfers that payers signed and we collect; the invoice with their tag comes with each
    metadata,
    Column("id", Text, primary_key=True),
    Column("network", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("payer", Text, nullable=False),
    Column("nonce", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("amount", Amount, nullable=False),
    Column("valid_after", BIG, nullable=False),  # seconds by the chain's clock, as `valid_before`
    Column("valid_before", BIG, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("payload_hash", Text, nullable=False),  # of all that was asked for with it, the offer's secret too
    Column("invoice_id", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("delivery_id", ForeignKey("deliveries.id"), unique=True),
    Column("tx", Text),  # what used it, once it pays for a session
    Column("since_block", BIG, nullable=False),  # the head when it was registered
    Column("created_at", BIG, nullable=False),
    Column("updated_at", BIG, nullable=False),
    UniqueConstraint("network", "asset", "payer", "nonce"),  # a token takes a nonce from a payer once
    CheckConstraint(f"state IN ({states.one_of(states.AuthorizationState)})", name="state"),
    CheckConstraint("state <> 'sent' OR delivery_id IS NOT NULL", name="delivery"),
    Index(None, "network", "state", "created_at"),
)

signers = Table(
    "signers",
    metadata,
    Column("network", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("next_nonce", BIG),
    Column("lease_holder", Text),
    Column("lease_epoch", BIG, nullable=False),
    Column("lease_until", BIG, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("pause_reason", Text),
)

found_sends = Table(
    "found_sends",  # what our keys had sent and the ledger did not know: a restored copy, or somebody else's doing
    metadata,
    Column("network", Text, primary_key=True),
    Column("tx", Text, primary_key=True),
    Column("idx", Integer, primary_key=True),  # which movement of the transaction, from 0
    Column("signer", Text, nullable=False),
    Column("nonce", BIG),
    Column("block", BIG, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount", Amount, nullable=False),  # 0: it moved nothing
    Column("fee", Amount, nullable=False),
    Column("delivery_id", ForeignKey("deliveries.id")),  # of the refunds that it paid; unset: of none that are known
    Column("found_at", BIG, nullable=False),
    Index(None, "network", "recipient"),
)

successions = Table(
    "successions",
    metadata,
    Column("network", Text, primary_key=True),
    Column("payee", Text, primary_key=True),
    Column("successor", Text, primary_key=True),
    Column("signature", Text, nullable=False),
    Column("created_at", BIG, nullable=False),
)
"""Payees that named the one after them, each with its signature."""

entries = Table(
    "entries",
    metadata,
    # A row moves one amount from one account to another, so the books balance by construction.
    Column("id", BIG, primary_key=True, autoincrement=True),
    Column("debit", Text, nullable=False),
    Column("credit", Text, nullable=False),
    Column("network", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount", Amount, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),  # id of the session, refund, delivery or 'tx/idx' of the transfer
    Column("created_at", BIG, nullable=False),
    UniqueConstraint("kind", "subject", "debit", "credit", "network", "asset"),
    CheckConstraint(f"debit IN {ACCOUNTS}", name="debit"),
    CheckConstraint(f"credit IN {ACCOUNTS}", name="credit"),
    CheckConstraint("debit <> credit", name="moves"),
)

audit_log = Table(
    "audit_log",  # a chain of hashes over all entries, and over what operators did; see audit_log.py
    metadata,
    Column("number", BIG, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("content", Text, nullable=False),  # JSON
    Column("last_entry", BIG, nullable=False),  # all entries up to this id are in this record or an earlier one
    Column("created_at", BIG, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
    CheckConstraint("kind IN ('entries', 'operator')", name="kind"),
)

traces = Table(
    "traces",  # sampled sessions only: where their trace goes on when they are settled and refunded
    metadata,
    Column("session_id", Text, primary_key=True),
    Column("traceparent", Text, nullable=False),
    Column("created_at", BIG, nullable=False, index=True),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_hash", Text, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("created_at", BIG, nullable=False, index=True),
)


def _amount_checks() -> None:
    """Bounds on amounts, spelled for each database."""
    for table in (invoices, transfers, payments, refunds, entries, authorizations):
        dialect_check(table, "amount_positive", "amount > 0", "decimal_cmp(amount, '0') > 0")
    dialect_check(
        sessions,
        "consumed_and_refunded_within_paid",
        "consumed >= 0 AND refunded >= 0 AND consumed + refunded <= paid",
        "decimal_cmp(consumed, '0') >= 0 AND decimal_cmp(refunded, '0') >= 0"
        " AND decimal_cmp(decimal_add(consumed, refunded), paid) <= 0",
    )


_amount_checks()
