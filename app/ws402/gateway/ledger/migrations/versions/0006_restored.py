"""A ledger that was restored from a copy says so, and what the chain shows of the time since is kept.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ws402.gateway.ledger.types import Amount

revision = "0006"
down_revision = "0005"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add what marks a network, and the table of transactions that the ledger had forgotten."""
    op.add_column("networks", sa.Column("restored_at", BIG))
    op.add_column("networks", sa.Column("restored_block", BIG))
    op.create_table(
        "found_sends",
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("tx", sa.Text(), nullable=False),
        sa.Column("idx", sa.Integer(), nullable=False),
        sa.Column("signer", sa.Text(), nullable=False),
        sa.Column("nonce", BIG),
        sa.Column("block", BIG, nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", Amount(), nullable=False),
        sa.Column("fee", Amount(), nullable=False),
        sa.Column("delivery_id", sa.Text()),
        sa.Column("found_at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("network", "tx", "idx", name=op.f("pk_found_sends")),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_found_sends_delivery_id")),
    )
    op.create_index(op.f("ix_found_sends_network_recipient"), "found_sends", ["network", "recipient"])
