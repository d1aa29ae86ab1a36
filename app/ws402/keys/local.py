"""A key in this process's memory. For development, and where a keeper of keys has no secp256k1."""

from __future__ import annotations

from typing import Literal, Self

from eth_keys.datatypes import PrivateKey
from eth_utils.exceptions import ValidationError
from pydantic import SecretStr

from ws402.errors import ConfigurationError

REMEDY = "Give 32 bytes in hex (64 digits, with or without 0x), such as: openssl rand -hex 32"


class LocalSigner:
    """Signs with a secp256k1 key held in memory; neither repr, pickle nor an error shows the key."""

    __slots__ = ("_key", "algorithm", "key_id", "public_key")

    def __init__(self, secret: bytes, *, key_id: str | None = None) -> None:
        """`secret`: the 32 bytes. `key_id`: a name for logs, else from the public key. Raises ConfigurationError."""
        try:
            self._key = PrivateKey(secret)
            self.public_key: bytes = self._key.public_key.to_bytes()
        except (ValueError, TypeError, ValidationError):
            # The cause may quote the key.
            raise ConfigurationError("The private key is not a secp256k1 key.", remedy=REMEDY) from None
        self.algorithm: Literal["secp256k1", "ed25519"] = "secp256k1"
        self.key_id = key_id or f"local-{self.public_key[:4].hex()}"

    @classmethod
    def from_hex(cls, secret: str | SecretStr, *, key_id: str | None = None) -> Self:
        """From 64 hex digits, with or without 0x. Raises ConfigurationError, which does not quote them."""
        text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        try:
            decoded = bytes.fromhex(text.strip().removeprefix("0x"))
        except ValueError:
            decoded = b""
        return cls(decoded, key_id=key_id)

    async def sign(self, payload: bytes) -> bytes:
        """Sign a 32-byte digest, deterministically (RFC 6979), to r‖s‖y_parity: 65 bytes, low s. Raises ValueError."""
        if len(payload) != 32:
            msg = f"a digest has 32 bytes, not {len(payload)}"
            raise ValueError(msg)
        return self._key.sign_msg_hash(payload).to_bytes()

    def __repr__(self) -> str:
        return f"LocalSigner(key_id={self.key_id!r})"

    def __reduce__(self) -> str | tuple[object, ...]:
        msg = "a signer is not to be pickled or copied: it holds a key"
        raise TypeError(msg)
