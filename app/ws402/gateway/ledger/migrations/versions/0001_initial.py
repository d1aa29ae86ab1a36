"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ws402.gateway.ledger.types import Amount

revision = "0001"
down_revision = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _check(name: str, postgresql: str, sqlite: str) -> list[sa.CheckConstraint]:
    """A check spelled for each database: amounts are text in SQLite."""
    return [
        sa.CheckConstraint(text, name=name).ddl_if(dialect=dialect)
        for dialect, text in (("postgresql", postgresql), ("sqlite", sqlite))
    ]


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("revoked_at", BIG, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_table(
        "blocks",
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("block", BIG, nullable=False),
        sa.Column("block_hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("network", "block", name=op.f("pk_blocks")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("signer", sa.Text(), nullable=False),
        sa.Column("nonce", BIG, nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", Amount(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tx", sa.Text(), nullable=True),
        sa.Column("block", BIG, nullable=True),
        sa.Column("fee", Amount(), nullable=True),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("updated_at", BIG, nullable=False),
        sa.CheckConstraint("kind IN ('refund', 'cancel')", name=op.f("ck_deliveries_kind")),
        sa.CheckConstraint(
            "state IN ('signed', 'included', 'reverted', 'final', 'failed')", name=op.f("ck_deliveries_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("network", "signer", "nonce", name=op.f("uq_deliveries_network_signer_nonce")),
    )
    op.create_index(
        op.f("ix_deliveries_network_signer_created_at"), "deliveries", ["network", "signer", "created_at"], unique=False
    )
    op.create_index(
        op.f("ix_deliveries_network_signer_state"), "deliveries", ["network", "signer", "state"], unique=False
    )
    op.create_table(
        "entries",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("debit", sa.Text(), nullable=False),
        sa.Column("credit", sa.Text(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", Amount(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.CheckConstraint(
            "credit IN ('chain', 'unclaimed', 'session_escrow', 'revenue', 'payer_due', 'credit', 'refund_in_flight', 'gas', 'capital')",
            name=op.f("ck_entries_credit"),
        ),
        sa.CheckConstraint(
            "debit IN ('chain', 'unclaimed', 'session_escrow', 'revenue', 'payer_due', 'credit', 'refund_in_flight', 'gas', 'capital')",
            name=op.f("ck_entries_debit"),
        ),
        sa.CheckConstraint("debit <> credit", name=op.f("ck_entries_moves")),
        *_check("amount_positive", "amount > 0", "decimal_cmp(amount, '0') > 0"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entries")),
        sa.UniqueConstraint(
            "kind",
            "subject",
            "debit",
            "credit",
            "network",
            "asset",
            name=op.f("uq_entries_kind_subject_debit_credit_network_asset"),
        ),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "invoices",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("claim_hash", sa.Text(), nullable=True),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("amount", Amount(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("price_per_second", Amount(), nullable=True),
        sa.Column("estimated_duration", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("expires_at", BIG, nullable=False),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_invoices_expires_later")),
        *_check("amount_positive", "amount > 0", "decimal_cmp(amount, '0') > 0"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoices")),
        sa.UniqueConstraint("tag", name=op.f("uq_invoices_tag")),
    )
    op.create_index(op.f("ix_invoices_network_expires_at"), "invoices", ["network", "expires_at"], unique=False)
    op.create_table(
        "networks",
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("first_block", BIG, nullable=False),
        sa.Column("block", BIG, nullable=False),
        sa.PrimaryKeyConstraint("network", name=op.f("pk_networks")),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("payer", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("price_per_second", Amount(), nullable=True),
        sa.Column("paid", Amount(), nullable=False),
        sa.Column("consumed", Amount(), nullable=False),
        sa.Column("refunded", Amount(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("metered", sa.Boolean(), nullable=False),
        sa.Column("server_id", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("resume_hash", sa.Text(), nullable=True),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.Column("source_block", BIG, nullable=False),
        sa.Column("opened_at", BIG, nullable=False),
        sa.Column("ended_at", BIG, nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state IN ('ended', 'reversed')) = (ended_at IS NOT NULL)", name=op.f("ck_sessions_ended_at")
        ),
        sa.CheckConstraint("state IN ('live', 'released', 'ended', 'reversed')", name=op.f("ck_sessions_state")),
        *_check(
            "consumed_and_refunded_within_paid",
            "consumed >= 0 AND refunded >= 0 AND consumed + refunded <= paid",
            "decimal_cmp(consumed, '0') >= 0 AND decimal_cmp(refunded, '0') >= 0 AND decimal_cmp(decimal_add(consumed, refunded), paid) <= 0",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("resume_hash", name=op.f("uq_sessions_resume_hash")),
    )
    op.create_index(op.f("ix_sessions_state_opened_at"), "sessions", ["state", "opened_at"], unique=False)
    op.create_table(
        "signers",
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("next_nonce", BIG, nullable=True),
        sa.Column("lease_holder", sa.Text(), nullable=True),
        sa.Column("lease_epoch", BIG, nullable=False),
        sa.Column("lease_until", BIG, nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("network", "address", name=op.f("pk_signers")),
    )
    op.create_table(
        "transfers",
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("tx", sa.Text(), nullable=False),
        sa.Column("idx", sa.Integer(), nullable=False),
        sa.Column("block", BIG, nullable=False),
        sa.Column("block_hash", sa.Text(), nullable=False),
        sa.Column("block_time", BIG, nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", Amount(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("seen_at", BIG, nullable=False),
        sa.Column("refund_at", BIG, nullable=True),
        sa.CheckConstraint("state IN ('seen', 'owed', 'orphaned')", name=op.f("ck_transfers_state")),
        *_check("amount_positive", "amount > 0", "decimal_cmp(amount, '0') > 0"),
        sa.PrimaryKeyConstraint("network", "tx", "idx", name=op.f("pk_transfers")),
    )
    op.create_index(op.f("ix_transfers_network_block"), "transfers", ["network", "block"], unique=False)
    op.create_index(op.f("ix_transfers_refund_at"), "transfers", ["refund_at"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tx", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("valid_until", BIG, nullable=True),
        sa.Column("max_fee", Amount(), nullable=False),
        sa.Column("fee_params", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("sent_at", BIG, nullable=True),
        sa.CheckConstraint("kind IN ('refund', 'cancel')", name=op.f("ck_attempts_kind")),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_attempts_delivery_id")),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_attempts")),
        sa.UniqueConstraint("tx", name=op.f("uq_attempts_tx")),
    )
    op.create_table(
        "checkpoints",
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("elapsed_ms", BIG, nullable=False),
        sa.Column("bytes_transferred", BIG, nullable=False),
        sa.Column("message_count", BIG, nullable=False),
        sa.Column("reported_at", BIG, nullable=False),
        sa.CheckConstraint("elapsed_ms >= 0", name=op.f("ck_checkpoints_elapsed")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_checkpoints_session_id")),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_checkpoints")),
    )
    op.create_index(op.f("ix_checkpoints_reported_at"), "checkpoints", ["reported_at"], unique=False)
    op.create_table(
        "payments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("tx", sa.Text(), nullable=False),
        sa.Column("idx", sa.Integer(), nullable=False),
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("payer", sa.Text(), nullable=False),
        sa.Column("amount", Amount(), nullable=False),
        sa.Column("binding", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.CheckConstraint(
            "binding IN ('tag', 'signature', 'claim_token', 'legacy')", name=op.f("ck_payments_binding")
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_payments_invoice_id")),
        sa.ForeignKeyConstraint(
            ["network", "tx", "idx"],
            ["transfers.network", "transfers.tx", "transfers.idx"],
            name=op.f("fk_payments_network_tx_idx"),
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_payments_session_id"), initially="DEFERRED", deferrable=True
        ),
        *_check("amount_positive", "amount > 0", "decimal_cmp(amount, '0') > 0"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payments")),
        sa.UniqueConstraint("invoice_id", name=op.f("uq_payments_invoice_id")),
        sa.UniqueConstraint("network", "tx", "idx", name=op.f("uq_payments_network_tx_idx")),
    )
    op.create_index(op.f("ix_payments_session_id"), "payments", ["session_id"], unique=False)
    op.create_table(
        "refunds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("tx", sa.Text(), nullable=True),
        sa.Column("idx", sa.Integer(), nullable=True),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("amount", Amount(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("source_block", BIG, nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("cleared", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("updated_at", BIG, nullable=False),
        sa.CheckConstraint(
            "(state IN ('in_flight', 'confirmed', 'final')) = (delivery_id IS NOT NULL)",
            name=op.f("ck_refunds_delivery"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'due', 'credit', 'in_flight', 'confirmed', 'final', 'held', 'void', 'resolved')",
            name=op.f("ck_refunds_state"),
        ),
        sa.CheckConstraint("(session_id IS NULL) <> (tx IS NULL)", name=op.f("ck_refunds_one_source")),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_refunds_delivery_id")),
        sa.ForeignKeyConstraint(
            ["network", "tx", "idx"],
            ["transfers.network", "transfers.tx", "transfers.idx"],
            name=op.f("fk_refunds_network_tx_idx"),
        ),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_refunds_session_id")),
        *_check("amount_positive", "amount > 0", "decimal_cmp(amount, '0') > 0"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refunds")),
        sa.UniqueConstraint("network", "tx", "idx", name=op.f("uq_refunds_network_tx_idx")),
        sa.UniqueConstraint("session_id", name=op.f("uq_refunds_session_id")),
    )
    op.create_index(op.f("ix_refunds_delivery_id"), "refunds", ["delivery_id"], unique=False)
    op.create_index(
        op.f("ix_refunds_network_state_source_block"), "refunds", ["network", "state", "source_block"], unique=False
    )
    op.create_index(op.f("ix_refunds_recipient_asset_state"), "refunds", ["recipient", "asset", "state"], unique=False)
