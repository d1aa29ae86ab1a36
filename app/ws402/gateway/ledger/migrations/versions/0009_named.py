"""A transfer knows the invoice that it names, and an invoice whether its amount names it.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ws402.gateway.ledger.types import Amount

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add both, and what they are looked up by. What arrived before stays for an operator to decide."""
    op.add_column("invoices", sa.Column("unique_amount", Amount(), nullable=True))
    op.create_index(
        op.f("ix_invoices_network_asset_unique_amount"), "invoices", ["network", "asset", "unique_amount"], unique=False
    )
    op.add_column("transfers", sa.Column("invoice_id", sa.Text(), nullable=True))
    op.create_index(op.f("ix_transfers_invoice_id"), "transfers", ["invoice_id"], unique=False)
