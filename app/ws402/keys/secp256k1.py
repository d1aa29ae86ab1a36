"""ECDSA on secp256k1, by libsecp256k1: the one library with wheels for every Python that we support, and the fastest.

Nothing falls back to arithmetic in Python, which takes 60 to 130 times the CPU and is not constant in time: without the
library, what needs keys does not start. CPU by `process_time_ns`, least of five runs, Python 3.11, µs: sign 30, recover
45, public key 21. On the same machine, minutes before, coincurve 21 took 55, 82 and 53 (behind eth-keys 92 and 82),
libwally 1.5 47 and 77, eth-keys alone 2059 and 6122.
"""

from __future__ import annotations

from btclib_secp256k1 import keys, recovery


def public_key(secret: bytes) -> bytes:
    """The public key of a secret of 32 bytes: x‖y, 64 bytes. Raises ValueError, which does not quote the secret."""
    return keys.pubkey_from_prvkey(secret, compressed=False)[1:]


def sign(secret: bytes, digest: bytes) -> bytes:
    """Sign a digest of 32 bytes, deterministically (RFC 6979): r‖s‖recovery id, 65 bytes, low s. Raises ValueError.

    Whoever sends it recovers the key from it first, as `ws402.chains.evm.transactions` does: a fault of the machine in
    a signature that others see could betray the secret.
    """
    compact, recovery_id = recovery.sign(digest, secret, verify=False)
    return compact + bytes([recovery_id])


def recover(digest: bytes, signature: bytes) -> bytes:
    """The public key (x‖y, 64 bytes) whose secret signed a digest of 32 bytes. Raises ValueError for no signature.

    `signature`: r‖s‖recovery id (0 to 3), 65 bytes. A high s is taken, as Ethereum's ecrecover takes it.
    """
    if len(signature) != 65:
        raise ValueError("a signature has 65 bytes")
    return recovery.recover(digest, signature[:64], signature[64], compressed=False)[1:]
