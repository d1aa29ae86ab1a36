"""Salted amounts are looked up by an index, and an invoice counts the payments that were owed back at once.

Revision ID: 0004
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0002"


def upgrade() -> None:
    """Add both."""
    op.add_column("invoices", sa.Column("returned", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        op.f("ix_invoices_network_asset_amount_expires_at"),
        "invoices",
        ["network", "asset", "amount", "expires_at"],
        unique=False,
    )
