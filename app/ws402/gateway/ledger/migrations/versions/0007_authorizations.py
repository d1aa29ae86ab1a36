"""Transfers that payers signed and we collect, and the deliveries that do so.

Revision ID: 0007
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ws402.gateway.ledger.types import Amount

revision = "0007"
down_revision = "0006"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

OLD_KINDS, NEW_KINDS = "kind IN ('refund', 'cancel')", "kind IN ('refund', 'cancel', 'collect')"
WIDENED = ("deliveries", "attempts")

MOVES = {"authorizations": "accepted>sent accepted>landed accepted>expired sent>landed sent>expired"}
"""As `ledger.states` says it."""


def _widen_kinds(dialect: str) -> None:
    """Let deliveries and attempts be of the kind 'collect'.

    SQLite changes no constraint in place; its manual (ALTER TABLE, section 7) has this way for those that the stored
    rows cannot hurt. To copy the tables would cost their triggers and what refers to them.
    """
    if dialect == "postgresql":
        for table in WIDENED:
            op.drop_constraint(op.f(f"ck_{table}_kind"), table, type_="check")
            op.create_check_constraint(op.f(f"ck_{table}_kind"), table, NEW_KINDS)
        return
    connection = op.get_bind()
    version = connection.execute(sa.text("PRAGMA schema_version")).scalar_one()
    op.execute("PRAGMA writable_schema = ON")
    for table in WIDENED:
        change = sa.text(
            "UPDATE sqlite_master SET sql = replace(sql, :old, :new) WHERE type = 'table' AND name = :name"
        )
        connection.execute(change, {"old": OLD_KINDS, "new": NEW_KINDS, "name": table})
    op.execute(f"PRAGMA schema_version = {version + 1}")
    op.execute("PRAGMA writable_schema = OFF")


def upgrade() -> None:
    """Add them."""
    dialect = op.get_bind().dialect.name
    _widen_kinds(dialect)
    positive = "amount > 0" if dialect == "postgresql" else "decimal_cmp(amount, '0') > 0"
    op.create_table(
        "authorizations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("payer", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("amount", Amount(), nullable=False),
        sa.Column("valid_after", BIG, nullable=False),
        sa.Column("valid_before", BIG, nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("payload_hash", sa.Text(), nullable=False),
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=True),
        sa.Column("tx", sa.Text(), nullable=True),
        sa.Column("since_block", BIG, nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("updated_at", BIG, nullable=False),
        sa.CheckConstraint("state IN ('accepted', 'sent', 'landed', 'expired')", name=op.f("ck_authorizations_state")),
        sa.CheckConstraint("state <> 'sent' OR delivery_id IS NOT NULL", name=op.f("ck_authorizations_delivery")),
        sa.CheckConstraint(positive, name=op.f("ck_authorizations_amount_positive")),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_authorizations_delivery_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authorizations")),
        sa.UniqueConstraint("invoice_id", name=op.f("uq_authorizations_invoice_id")),
        sa.UniqueConstraint("delivery_id", name=op.f("uq_authorizations_delivery_id")),
        sa.UniqueConstraint(
            "network", "asset", "payer", "nonce", name=op.f("uq_authorizations_network_asset_payer_nonce")
        ),
    )
    op.create_index(
        op.f("ix_authorizations_network_state_created_at"),
        "authorizations",
        ["network", "state", "created_at"],
        unique=False,
    )
    allowed = ", ".join(f"'{each}'" for each in MOVES["authorizations"].split())
    refused = f"OLD.state <> NEW.state AND OLD.state || '>' || NEW.state NOT IN ({allowed})"
    if dialect == "sqlite":
        op.execute(
            f"CREATE TRIGGER authorizations_moves BEFORE UPDATE OF state ON authorizations WHEN {refused} "
            "BEGIN SELECT RAISE(ABORT, 'authorizations do not move so'); END"
        )
    else:
        op.execute(
            "CREATE TRIGGER authorizations_moves BEFORE UPDATE OF state ON authorizations FOR EACH ROW "
            f"WHEN ({refused}) EXECUTE FUNCTION ws402_no_move()"
        )
