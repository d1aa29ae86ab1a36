"""Prices in full, beside their whole units a second, and use in other units than time.

Revision ID: 0008
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add them; what was sold before has none."""
    op.add_column("invoices", sa.Column("price", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("price", sa.Text(), nullable=True))
    op.add_column("checkpoints", sa.Column("units", sa.Text(), nullable=True))
