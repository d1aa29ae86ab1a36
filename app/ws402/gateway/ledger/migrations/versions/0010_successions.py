"""Payees that named the one after them, each with its signature.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """One table more."""
    op.create_table(
        "successions",
        sa.Column("network", sa.Text, nullable=False),
        sa.Column("payee", sa.Text, nullable=False),
        sa.Column("successor", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("network", "payee", "successor", name="pk_successions"),
    )
