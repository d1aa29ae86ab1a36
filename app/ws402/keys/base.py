"""What the gateway asks of a key."""

from __future__ import annotations

from typing import Literal, Protocol

from ws402.errors import UnavailableError


class SignerUnavailableError(UnavailableError):
    """The keeper of a key does not answer, or not with a signature. Nothing was signed."""

    code = "signer_unavailable"


class Signer(Protocol):
    """Signs; never reveals the key, not in repr, logs or errors."""

    algorithm: Literal["secp256k1", "ed25519"]
    key_id: str
    """A name for logs and metrics."""
    public_key: bytes
    """secp256k1: 64 bytes, uncompressed without prefix. ed25519: 32 bytes."""

    async def sign(self, payload: bytes) -> bytes:
        """Sign; secp256k1: a 32-byte digest to r‖s‖y_parity (65 bytes, low s); ed25519: a message to 64 bytes.

        Raises SignerUnavailableError when the key's keeper does not answer.
        """
