"""Ids and secrets of the gateway."""

from __future__ import annotations

import secrets
from hashlib import sha256


def new_id(prefix: str) -> str:
    """A fresh id such as `ses_3f…`: 96 random bits, so that no two gateways meet."""
    return f"{prefix}_{secrets.token_hex(12)}"


def new_token() -> str:
    """A secret of 256 random bits."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """SHA-256 in hex. Our secrets are random and long, so a slow hash would protect nothing."""
    return sha256(secret.encode()).hexdigest()
