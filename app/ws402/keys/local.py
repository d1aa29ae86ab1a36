"""A key in this process's memory. For development, and where a keeper of keys has no secp256k1."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Self

import msgspec
from pydantic import SecretStr

from ws402.errors import ConfigurationError
from ws402.keys import secp256k1

REMEDY = "Give 32 bytes in hex (64 digits, with or without 0x), such as: openssl rand -hex 32"

ED25519_REMEDY: Final = (
    "Give what `solana-keygen new` writes (an array of 64 numbers, or the path of that file), the key in base58, or "
    "its seed, 32 bytes in hex."
)


class LocalSigner:
    """Signs with a secp256k1 key held in memory; neither repr, pickle nor an error shows the key."""

    __slots__ = ("_key", "algorithm", "key_id", "public_key")

    def __init__(self, secret: bytes, *, key_id: str | None = None) -> None:
        """`secret`: the 32 bytes. `key_id`: a name for logs, else from the public key. Raises ConfigurationError."""
        try:
            self.public_key: bytes = secp256k1.public_key(secret)
        except (ValueError, TypeError):
            # The cause may quote the key.
            raise ConfigurationError("The private key is not a secp256k1 key.", remedy=REMEDY) from None
        self._key = secret
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
        return secp256k1.sign(self._key, payload)

    def __repr__(self) -> str:
        return f"LocalSigner(key_id={self.key_id!r})"

    def __reduce__(self) -> str | tuple[object, ...]:
        msg = "a signer is not to be pickled or copied: it holds a key"
        raise TypeError(msg)


class LocalEd25519Signer:
    """Signs with an ed25519 key held in memory (Solana's kind); neither repr, pickle nor an error shows the key."""

    __slots__ = ("_key", "algorithm", "key_id", "public_key")

    def __init__(self, secret: bytes, *, key_id: str | None = None) -> None:
        """`secret`: the seed (32 bytes), or the seed and its public key (64). Raises ConfigurationError."""
        from solders.keypair import Keypair  # noqa: PLC0415 - a tenth of the memory of a gateway without Solana

        try:
            self._key = Keypair.from_seed(secret) if len(secret) == 32 else Keypair.from_bytes(secret)
        except ValueError:
            raise ConfigurationError("The private key is not an ed25519 key.", remedy=ED25519_REMEDY) from None
        self.public_key: bytes = bytes(self._key.pubkey())
        self.algorithm: Literal["secp256k1", "ed25519"] = "ed25519"
        self.key_id = key_id or f"local-{str(self._key.pubkey())[:8]}"

    @classmethod
    def from_text(cls, secret: str | SecretStr, *, key_id: str | None = None) -> Self:
        """From an array of 64 numbers, the path of a file that holds one, base58 of 64 or 32 bytes, or the seed in hex
        with or without 0x. Raises ConfigurationError, which does not quote it.
        """
        text = (secret.get_secret_value() if isinstance(secret, SecretStr) else secret).strip()
        return cls(_decoded(text) or _from_file(text), key_id=key_id)

    async def sign(self, payload: bytes) -> bytes:
        """Sign a message (RFC 8032) to 64 bytes."""
        return bytes(self._key.sign_message(payload))

    def __repr__(self) -> str:
        return f"LocalEd25519Signer(key_id={self.key_id!r})"

    def __reduce__(self) -> str | tuple[object, ...]:
        msg = "a signer is not to be pickled or copied: it holds a key"
        raise TypeError(msg)


def _decoded(text: str) -> bytes:
    """The key that a text is, or nothing."""
    from solders.keypair import Keypair  # noqa: PLC0415 - see LocalEd25519Signer
    from solders.pubkey import Pubkey  # noqa: PLC0415

    if text.startswith("["):
        try:
            return bytes(msgspec.json.decode(text, type=list[int]))
        except (msgspec.MsgspecError, ValueError):
            return b""
    digits = text.removeprefix("0x")
    if len(digits) == 64:
        try:
            return bytes.fromhex(digits)
        except ValueError:
            return b""
    for decode in (Keypair.from_base58_string, Pubkey.from_string):
        try:
            return bytes(decode(text))
        except ValueError:
            continue
    return b""


def _from_file(text: str) -> bytes:
    """The key in the file that a text names."""
    missing = ConfigurationError(
        "The private key is neither an ed25519 key nor a file with one.", remedy=ED25519_REMEDY
    )
    if not text or "\n" in text or len(text) > 1024 or text.startswith("["):
        raise missing
    try:
        found = _decoded(Path(text).expanduser().read_text().strip())
    except (OSError, ValueError, RuntimeError):
        raise missing from None
    if not found:
        # The path is no secret, but what looks like one may be a mistyped key.
        raise missing
    return found
