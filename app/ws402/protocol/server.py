"""A WS402 server's HTTP API."""

from __future__ import annotations

from ws402.money import WireAmount
from ws402.protocol.base import Count, Message
from ws402.protocol.details import PaymentDetails
from ws402.protocol.prices import PriceTerms


class Pricing(Message, kw_only=True):
    """A price list entry: `total_price` is what `estimated_duration` seconds and `estimated_units` cost, rounded up.

    `price_per_second` is rounded up to a whole smallest unit; `price` is the price in full, which counts.
    """

    price_per_second: WireAmount
    currency: str
    estimated_duration: Count
    total_price: WireAmount
    price: PriceTerms | None = None
    estimated_units: dict[str, Count] | None = None


class ResourceInfo(Message, kw_only=True):
    """A resource as people see it. `estimated_time` is a suggested duration in seconds."""

    name: str
    type: str
    estimated_time: Count


class SchemaResponse(Message, kw_only=True):
    """GET /ws402/schema/{resourceId}: everything that a client needs to pay and connect."""

    protocol: str
    version: str
    resource_id: str
    websocket_endpoint: str
    pricing: Pricing
    payment_details: PaymentDetails
    max_session_duration: Count
    resource_info: ResourceInfo | None = None


class ResourceListing(Message, kw_only=True):
    """One entry of GET /api/resources."""

    id: str
    name: str
    type: str
    pricing: Pricing
    network: str | None = None
    """Where it is paid, and how many places its currency has; unset while the gateway is away."""
    decimals: Count | None = None


class SessionStatus(Message, kw_only=True):
    """One live session in GET /status."""

    session_id: str
    user_id: str
    elapsed_seconds: Count
    remaining_balance: WireAmount


class StatusResponse(Message, kw_only=True):
    """GET /status: names users, so it is not public by default."""

    provider: str
    gateway_url: str | None
    active_sessions: Count
    sessions: list[SessionStatus]
