"""An ed25519 key that never leaves Vault: the transit engine signs."""

from __future__ import annotations

import asyncio
import base64
import binascii
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ws402.keys.base import SignerUnavailableError
from ws402.keys.snapshot import Counters, SecretsUnavailableError
from ws402.keys.vault.client import VaultClient
from ws402.keys.vault.command import TRANSIT
from ws402.settings import VaultSettings


class TransitClient:
    """The one connection over which all transit keys sign, one signature at a time, off the event loop."""

    def __init__(self, settings: VaultSettings, counters: Counters) -> None:
        self.mount = settings.transit_mount
        self.counters = counters
        self._client = VaultClient(settings, counters)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vault-transit")

    async def sign(self, name: str, version: int, message: bytes) -> str:
        """Vault's signature, as it writes it. Raises SecretsUnavailableError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._sign, name, version, message)

    async def close(self) -> None:
        """Give up the login."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._client.close)
        self._thread.shutdown(wait=False)

    def _sign(self, name: str, version: int, message: bytes) -> str:
        # The message itself: ed25519 hashes by its own rule (RFC 8032), so neither algorithm nor prehashed is given.
        answer: Any = self._client.call(
            f"a signature by transit key {name}",
            lambda client: client.secrets.transit.sign_data(  # type: ignore[no-untyped-call]
                name, base64.b64encode(message).decode(), key_version=version, mount_point=self.mount
            ),
            name=f"{TRANSIT}{name}",
        )
        self.counters.signatures += 1
        return str(answer["data"]["signature"])


class TransitSigner:
    """One version of a transit key. See `ws402.keys.base.Signer`."""

    __slots__ = ("_client", "_name", "_verifier", "algorithm", "key_id", "public_key", "version")

    def __init__(self, client: TransitClient, name: str, version: int, public_key: bytes) -> None:
        self._client = client
        self._name = name
        self._verifier = Ed25519PublicKey.from_public_bytes(public_key)
        self.algorithm: Literal["secp256k1", "ed25519"] = "ed25519"
        self.version = version
        self.public_key = public_key
        self.key_id = f"{client.mount}/{name}:v{version}"

    async def sign(self, payload: bytes) -> bytes:
        """Sign a message (RFC 8032) to 64 bytes, which are checked against the public key.

        Raises SignerUnavailableError. A repeated call is harmless: the same message has the same signature.
        """
        try:
            written = await self._client.sign(self._name, self.version, payload)
        except SecretsUnavailableError as error:
            self._client.counters.failures[error.reason] += 1
            raise SignerUnavailableError(
                f"{self.key_id} does not sign: {error.message}", remedy=error.remedy, code=error.code
            ) from None
        head, _, encoded = written.rpartition(":")
        try:
            signature = base64.b64decode(encoded, validate=True)
            self._verifier.verify(signature, payload)
        except (binascii.Error, ValueError, InvalidSignature):
            signature = b""
        if head != f"vault:v{self.version}" or len(signature) != 64:
            raise SignerUnavailableError(f"Vault's signature by {self.key_id} is not of that key and version.")
        return signature

    def __repr__(self) -> str:
        return f"TransitSigner(key_id={self.key_id!r})"
