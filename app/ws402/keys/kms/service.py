"""What is asked of a keeper of keys: a public key, and signatures. Blocking: `ws402.keys.kms.signer` has threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

Reason = Literal[
    "slow",
    "unreachable",
    "throttled",
    "denied",
    "login",
    "disabled",
    "missing",
    "wrong_key",
    "malformed",
    "failed",
]
"""Why a keeper does not sign, for metrics: few, and never a key's name."""

PASSING: Final = ("slow", "unreachable", "throttled", "failed")
"""Reasons that may be gone at the next try, and that say nothing about the key."""


class KeyServiceError(Exception):
    """A keeper does not sign. The message names the key, and quotes nothing else of what the keeper said."""

    def __init__(self, message: str, reason: Reason, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason: Reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a key."""

    algorithm: Literal["secp256k1", "ed25519"]
    key: bytes
    """secp256k1: x‖y, 64 bytes. ed25519: 32 bytes."""


class KeyService(Protocol):
    """One key at its keeper. Calls raise KeyServiceError, and end by themselves after `timeout_seconds`."""

    kind: str
    """Of the keeper, for metrics."""
    name: str
    """Of the key, for logs and errors."""

    def public_key(self) -> PublicKey:
        """The key's public half."""

    def sign(self, payload: bytes) -> bytes:
        """secp256k1: a digest of 32 bytes to r‖s (64 bytes, either s) or DER; ed25519: a message to 64 bytes."""

    def close(self) -> None:
        """Let go of connections."""


def public_key_of(name: str, spki: bytes, load: Callable[[bytes], PublicKeyTypes] = load_der_public_key) -> PublicKey:
    """The public key in a SubjectPublicKeyInfo (RFC 5280), in DER if `load` reads no other form.

    Raises KeyServiceError for a key of another kind.
    """
    try:
        found = load(spki)
    except (ValueError, UnsupportedAlgorithm):
        found = None
    match found:
        case EllipticCurvePublicKey() if isinstance(found.curve, SECP256K1):
            return PublicKey("secp256k1", found.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:])
        case Ed25519PublicKey():
            return PublicKey("ed25519", found.public_bytes_raw())
        case _:
            raise wrong_kind(name)


def wrong_kind(name: str) -> KeyServiceError:
    """The error for a key that no network of ours can use."""
    return KeyServiceError(
        f"The key {name} is neither of secp256k1 nor of ed25519.",
        "wrong_key",
        remedy="Make one for signing: secp256k1 for EVM networks, ed25519 for Solana's.",
    )
