"""Traces of sessions, when refunds became due, and the audit log.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

TABLES = ("entries", "audit_log")
"""What is only ever added to; whoever would change a row must first take the triggers away."""


def _triggers(dialect: str) -> list[str]:
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for table in TABLES
            for event in ("UPDATE", "DELETE")
        ]
    return [
        """CREATE FUNCTION ws402_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$""",
        *(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION ws402_append_only()"
            for table in TABLES
        ),
    ]


def upgrade() -> None:
    """Add them."""
    op.create_table(
        "traces",
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_traces")),
    )
    op.create_index(op.f("ix_traces_created_at"), "traces", ["created_at"], unique=False)
    op.create_table(
        "audit_log",
        sa.Column("number", BIG, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("last_entry", BIG, nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.CheckConstraint("kind IN ('entries', 'operator')", name=op.f("ck_audit_log_kind")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_log")),
    )
    op.add_column("refunds", sa.Column("due_at", BIG, nullable=True))
    for statement in _triggers(op.get_bind().dialect.name):
        op.execute(statement)
