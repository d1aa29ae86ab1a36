"""The signature of an event (Standard Webhooks 1.0): HMAC-SHA256 over its id, the time of the attempt, and its body."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from hashlib import sha256


def headers(keys: Sequence[bytes], event_id: str, at_seconds: int, body: bytes) -> dict[str, str]:
    """The headers that a receiver verifies by: a signature for each key, so that secrets can be rotated.

    `at_seconds`: of this attempt, since the epoch; receivers refuse what is minutes old, so each attempt has its own.
    """
    signed = b"%s.%d.%s" % (event_id.encode(), at_seconds, body)
    signatures = (base64.b64encode(hmac.new(key, signed, sha256).digest()).decode() for key in keys)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at_seconds),
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }
