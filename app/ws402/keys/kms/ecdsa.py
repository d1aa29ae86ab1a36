"""From a keeper's ECDSA signature to one that Ethereum takes: low s (EIP-2), and the recovery id."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from ws402.keys import secp256k1

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1's group (SEC 2)."""


def recoverable(digest: bytes, signature: bytes, public_key: bytes) -> bytes:
    """r‖s‖recovery id (65 bytes, low s) of a signature in DER or as r‖s. Raises ValueError when it is not by that key.

    Keepers tell no recovery id, and every second s of theirs is high: n - s is the same signature, and low.
    """
    if len(signature) == 64:
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    else:
        r, s = decode_dss_signature(signature)
    if not (0 < r < ORDER and 0 < s < ORDER):
        raise ValueError("r and s are below the group's order")
    s = min(s, ORDER - s)
    compact = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    for recovery_id in range(4):
        candidate = compact + bytes([recovery_id])
        try:
            if secp256k1.recover(digest, candidate) == public_key:
                return candidate
        except ValueError:
            continue  # no point of the curve has this r
    raise ValueError("the signature is not by that key")
