"""Settings of x402: what stock x402 clients are offered. The gateway and its servers read the same table."""

from __future__ import annotations

from pydantic import Field

from ws402.settings.base import StrictSettings


class X402Settings(StrictSettings):
    """What stock x402 clients are offered, where a token has a signing domain and the gateway a collector key."""

    enabled: bool = True
    """Offer it, and take it."""
    default_seconds: int = Field(default=60, ge=1)
    """Seconds that an offer is for when the request names no `duration`. What is not used goes back."""
    max_offer: dict[str, int] = {}
    """By asset: an offer without `duration` asks for at most this many smallest units. Unset: one whole token, above
    which stock clients do not pay by themselves."""
    min_amount: dict[str, int] = {}
    """By asset: an offer asks for at least this many smallest units, for more seconds if need be: collecting and
    refunding cost gas. Unset: a hundredth of a whole token."""
