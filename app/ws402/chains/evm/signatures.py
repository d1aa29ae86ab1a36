"""Whether an account signed a text: a key (EIP-191) or a contract wallet (EIP-1271)."""

from __future__ import annotations

from typing import Final

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from ws402.chains.evm import abi
from ws402.chains.evm.replies import ReplyError
from ws402.chains.rpc.pool import Pool
from ws402.keys import secp256k1

WALLET_GAS: Final = 1_000_000
"""What a wallet's check may burn at the endpoint: passkey wallets need some 400,000."""

MAX_SIGNATURE: Final = 4096
"""Bytes; a wallet with many owners needs 65 for each."""

DELEGATION: Final = "0xef0100"
"""Code of an account that is a key and runs a contract's code too (EIP-7702)."""

_VALID: Final = abi.IS_VALID_SIGNATURE_SELECTOR + "00" * 28


def text_digest(text: str) -> bytes:
    """The digest that personal_sign signs (EIP-191, version 0x45)."""
    message = text.encode()
    return bytes(keccak(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message))


def recover(digest: bytes, signature: bytes) -> str | None:
    """The address of the key that signed, checksummed; None for what is no signature. High s is refused (EIP-2)."""
    if len(signature) != 65:
        return None
    v = signature[64]
    parity = v - 27 if v >= 27 else v
    if parity not in (0, 1) or int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        return None
    try:
        key = secp256k1.recover(digest, signature[:64] + bytes([parity]))
    except ValueError:
        return None
    return str(to_checksum_address(keccak(key)[12:]))


async def signed_by(pool: Pool, payer: str, text: str, signature: str) -> bool:
    """Whether `payer` signed `text`. `signature` is hex. Raises ChainUnavailableError."""
    try:
        decoded = bytes.fromhex(signature.removeprefix("0x"))
    except ValueError:
        return False
    if not 0 < len(decoded) <= MAX_SIGNATURE:
        return False
    digest = text_digest(text)
    if recover(digest, decoded) == payer:
        return True
    if await pool.call("eth_getCode", payer, "latest") in ("0x", None):
        return False
    call = {"to": payer, "data": abi.signature_data(digest, decoded), "gas": hex(WALLET_GAS)}
    try:
        answer = await pool.call("eth_call", call, "latest")
    except ReplyError:
        return False
    return isinstance(answer, str) and answer.lower() == _VALID


def is_delegation(code: str) -> bool:
    """Whether code only says where the account's code is; the account is a key as before."""
    return len(code) == 2 + 2 * 23 and code.lower().startswith(DELEGATION)


_HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
