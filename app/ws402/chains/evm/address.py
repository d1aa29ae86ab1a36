"""Addresses and transaction ids: one spelling each."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from ws402.errors import InvalidRequestError
from ws402.keys.base import Signer

_ADDRESS: Final = re.compile(r"0[xX][0-9a-fA-F]{40}")
_TX: Final = re.compile(r"0[xX][0-9a-fA-F]{64}")


@lru_cache(maxsize=65536)
def normalize_address(address: str) -> str:
    """EIP-55's spelling. Raises InvalidRequestError for what is no address, or whose checksum is wrong."""
    if not _ADDRESS.fullmatch(address):
        raise InvalidRequestError("That is not an EVM address.", remedy="Send 0x and 40 hexadecimal digits.")
    digits = address[2:]
    normal = str(to_checksum_address("0x" + digits.lower()))
    if digits not in (digits.lower(), digits.upper()) and digits != normal[2:]:
        raise InvalidRequestError(
            f"The address {address} has a wrong checksum (EIP-55).", remedy="Copy it anew, or send it in lower case."
        )
    return normal


def normalize_tx(tx: str) -> str:
    """Lower case with 0x. Raises InvalidRequestError for what is no transaction hash."""
    if not _TX.fullmatch(tx):
        raise InvalidRequestError("That is not an EVM transaction hash.", remedy="Send 0x and 64 hexadecimal digits.")
    return tx.lower()


def address_of(signer: Signer) -> str:
    """The account that a secp256k1 signer controls, in EIP-55's spelling. Raises ValueError for other algorithms."""
    if signer.algorithm != "secp256k1" or len(signer.public_key) != 64:
        msg = f"{signer.key_id} is not a secp256k1 key"
        raise ValueError(msg)
    return str(to_checksum_address(keccak(signer.public_key)[12:]))


def raw(address: str) -> bytes:
    """The address's 20 bytes."""
    return bytes.fromhex(address[2:])


def word(address: str) -> str:
    """The address as a 32-byte word (a log topic, an argument), lower case with 0x."""
    return "0x" + address[2:].lower().rjust(64, "0")
