"""The tables of events: what somebody outside is told of the ledger, and how far the telling has come.

Rows here move no money. An event is written in the transaction of what it tells, once, and its body never changes.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from ws402.gateway.ledger.states import one_of
from ws402.gateway.ledger.tables import BIG, metadata


class EventState(StrEnum):
    """Of one event at one receiver. `failed`: given up after the last try; an operator can send it again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


events = Table(
    "events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),  # id of the session or refund, or 'network/tx/idx' of the transfer
    Column("tenant", Text),
    Column("body", Text, nullable=False),  # JSON; what is sent, byte for byte
    Column("created_at", BIG, nullable=False, index=True),
    Column("planned", Boolean, nullable=False),  # its rows of `event_deliveries` are there
    UniqueConstraint("type", "subject"),  # told once
    Index(None, "planned", "id"),
)

event_deliveries = Table(
    "event_deliveries",
    metadata,
    Column("event_id", ForeignKey("events.id"), primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", BIG, nullable=False),  # not before; of a pending one
    Column("status", Integer),  # HTTP's, of the last attempt; unset: there was no answer
    Column("error", Text),  # why the last attempt failed
    Column("created_at", BIG, nullable=False, index=True),  # the event's
    Column("updated_at", BIG, nullable=False),
    CheckConstraint(f"state IN ({one_of(EventState)})", name="state"),
    Index(None, "endpoint", "state", "next_at"),
)

event_endpoints = Table(
    "event_endpoints",
    metadata,
    Column("name", Text, primary_key=True),
    Column("url_hash", Text, nullable=False),  # another one in the settings ends a `disabled_at`; it may be a secret
    Column("disabled_at", BIG),  # the receiver answered 410 (Gone)
)

event_leases = Table(
    "event_leases",  # one row: the gateway that delivers now
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", BIG, nullable=False),
)
