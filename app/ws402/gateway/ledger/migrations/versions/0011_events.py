"""Events for webhooks, and how far their delivery has come.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Four tables more."""
    op.create_table(
        "events",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("planned", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.UniqueConstraint("type", "subject", name="uq_events_type_subject"),
    )
    op.create_index("ix_events_created_at", "events", ["created_at"])
    op.create_index("ix_events_planned_id", "events", ["planned", "id"])
    op.create_table(
        "event_deliveries",
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", BIG, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("updated_at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("event_id", "endpoint", name="pk_event_deliveries"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name="fk_event_deliveries_event_id"),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name=op.f("ck_event_deliveries_state")),
    )
    op.create_index("ix_event_deliveries_created_at", "event_deliveries", ["created_at"])
    op.create_index("ix_event_deliveries_endpoint_state_next_at", "event_deliveries", ["endpoint", "state", "next_at"])
    op.create_table(
        "event_endpoints",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("url_hash", sa.Text, nullable=False),
        sa.Column("disabled_at", BIG),
        sa.PrimaryKeyConstraint("name", name="pk_event_endpoints"),
    )
    op.create_table(
        "event_leases",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", BIG, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_event_leases"),
    )
