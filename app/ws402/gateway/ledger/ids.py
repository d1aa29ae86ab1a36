"""Ids and secrets of the gateway."""

from __future__ import annotations

import secrets
import time
from hashlib import sha256


def new_id(prefix: str) -> str:
    """A fresh id such as `ses_019d…`: milliseconds, then 80 random bits, so that no two gateways meet.

    Ordered by time (as UUIDv7, RFC 9562 §5.7), for new rows then go to the end of an index: a batch writes a few of its
    pages, not one for each row.
    """
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def first_id(prefix: str, at_ms: int) -> str:
    """What ids of this kind that were made before `at_ms` (milliseconds since the epoch) are less than."""
    return f"{prefix}_{at_ms:012x}"


def new_token() -> str:
    """A secret of 256 random bits."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """SHA-256 in hex. Our secrets are random and long, so a slow hash would protect nothing."""
    return sha256(secret.encode()).hexdigest()
