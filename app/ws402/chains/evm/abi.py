"""The few contract calls and events that we use: ERC-20, EIP-3009, EIP-1271, and the gas oracle of OP-stack chains."""

from __future__ import annotations

from typing import Final

from eth_utils.crypto import keccak

from ws402.chains.evm.address import word

TRANSFER: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""Transfer(address indexed from, address indexed to, uint256 value), ERC-20."""

AUTHORIZATION_USED: Final = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5"
"""AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce), EIP-3009."""

TRANSFER_SELECTOR: Final = "0xa9059cbb"
"""transfer(address,uint256)."""

TRANSFER_LENGTH: Final = 4 + 32 + 32
"""Bytes of its calldata; what follows is ours."""

BALANCE_OF_SELECTOR: Final = "0x70a08231"
DECIMALS: Final = "0x313ce567"
NAME: Final = "0x06fdde03"
VERSION: Final = "0x54fd4d50"

DOMAIN_SEPARATOR: Final = "0x3644e515"
"""DOMAIN_SEPARATOR(), EIP-2612: the hash of the domain in which a token's holders sign (EIP-712)."""

TRANSFER_WITH_AUTHORIZATION_SELECTOR: Final = "0xe3ee160e"
"""transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32), EIP-3009."""

AUTHORIZATION_STATE_SELECTOR: Final = "0xe94a0102"
"""authorizationState(address,bytes32), EIP-3009."""

IS_VALID_SIGNATURE_SELECTOR: Final = "0x1626ba7e"
"""isValidSignature(bytes32,bytes), EIP-1271; also the value that it answers for a valid one."""

GAS_ORACLE: Final = "0x420000000000000000000000000000000000000F"
"""OP-stack chains charge for publishing on the parent chain; this contract says how much."""

L1_FEE_UPPER_BOUND: Final = "0xf1c7a58b"
"""getL1FeeUpperBound(uint256): the most that an unsigned transaction of so many bytes pays."""


def transfer_data(recipient: str, amount: int) -> str:
    """Calldata of transfer(recipient, amount)."""
    return f"{TRANSFER_SELECTOR}{word(recipient)[2:]}{amount:064x}"


def balance_data(owner: str) -> str:
    """Calldata of balanceOf(owner)."""
    return BALANCE_OF_SELECTOR + word(owner)[2:]


def signature_data(digest: bytes, signature: bytes) -> str:
    """Calldata of isValidSignature(digest, signature)."""
    padded = signature + bytes(-len(signature) % 32)
    return f"{IS_VALID_SIGNATURE_SELECTOR}{digest.hex()}{64:064x}{len(signature):064x}{padded.hex()}"


def l1_fee_data(size: int) -> str:
    """Calldata of getL1FeeUpperBound(size)."""
    return f"{L1_FEE_UPPER_BOUND}{size:064x}"


def authorization_tag(network: str, contract: str, payer: str, nonce: str) -> str:
    """What ties an EIP-3009 transfer to the invoice for which its payer signed: hex without 0x. `nonce` likewise.

    A nonce alone could be another payer's too, who would so block the invoice of the first. Not a SHA-256, as the tags
    of secret references are: nobody can show a reference for it.
    """
    name = network.encode()
    parts = bytes.fromhex(contract[2:] + payer[2:] + nonce)
    return bytes(keccak(b"WS402 authorization" + len(name).to_bytes(2, "big") + name + parts)).hex()


def bloom_has(bloom: str, *items: str) -> bool:
    """Whether a header's log bloom may hold all the items (addresses, topics); never wrongly False."""
    bits = int(bloom, 16)
    for item in items:
        digest = keccak(bytes.fromhex(item[2:]))
        for pair in (0, 2, 4):
            bit = int.from_bytes(digest[pair : pair + 2], "big") & 2047
            if not bits >> bit & 1:
                return False
    return True
