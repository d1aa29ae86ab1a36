"""Lets eth-keys compute by our library, for what stands on it: eth-account in the client, py-evm in devchains."""

from __future__ import annotations

import os
from typing import Final

from eth_keys.backends.native.main import NativeECCBackend
from eth_keys.datatypes import PrivateKey, PublicKey, Signature
from eth_keys.exceptions import BadSignature

from ws402.keys import secp256k1

_VARIABLE: Final = "ECC_BACKEND_CLASS"


class Backend(NativeECCBackend):
    """Signs and recovers in C; what is rarely asked (verifying without recovery, other forms of keys) as before."""

    def ecdsa_sign(self, msg_hash: bytes, private_key: PrivateKey) -> Signature:
        """A recoverable signature of a digest."""
        return Signature(secp256k1.sign(private_key.to_bytes(), msg_hash), backend=self)

    def ecdsa_recover(self, msg_hash: bytes, signature: Signature) -> PublicKey:
        """The key that signed. Raises BadSignature."""
        try:
            return PublicKey(secp256k1.recover(msg_hash, signature.to_bytes()), backend=self)
        except ValueError as error:
            raise BadSignature(str(error)) from error

    def private_key_to_public_key(self, private_key: PrivateKey) -> PublicKey:
        """The public half."""
        return PublicKey(secp256k1.public_key(private_key.to_bytes()), backend=self)


def speed_up() -> None:
    """Name the backend to eth-keys, which asks for it at each use; one that the environment names already stays."""
    os.environ.setdefault(_VARIABLE, f"{__name__}.{Backend.__name__}")
