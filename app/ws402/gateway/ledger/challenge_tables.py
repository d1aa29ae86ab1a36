"""The table of the secrets by which servers know the challenges that they made. They open nothing."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from ws402.gateway.ledger.tables import BIG, metadata

challenge_secrets = Table(
    "challenge_secrets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret", Text, nullable=False),
    Column("created_at", BIG, nullable=False),
)
