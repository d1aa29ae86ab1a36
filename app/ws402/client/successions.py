"""Following a payee that has changed: each names the one after it, and its signature is checked."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Sequence
from typing import Final

from ws402.protocol import Succession, succession_message

MOST: Final = 64
"""Successions that are looked at, whatever a server sends."""


def follows(network: str, chain: str, payees: Iterable[str], recipient: str, shown: Sequence[Succession]) -> bool:
    """Whether one of these payees has named the recipient as its successor, by itself or through others.

    `chain`: of CAIP-2, for the kind of key. Addresses are compared in the chain's one spelling.
    """
    spelled = str if chain.startswith("solana:") else str.lower
    reached = set(payees)
    left = list(shown[:MOST])
    while recipient not in reached:
        usable = [each for each in left if spelled(each.payee) in reached]
        left = [each for each in left if spelled(each.payee) not in reached]
        new = {spelled(each.successor) for each in usable if _signed(network, chain, each)} - reached
        if not new:
            return False
        reached |= new
    return True


def _signed(network: str, chain: str, succession: Succession) -> bool:
    """Whether the payee's own key signed it. A contract that signs (EIP-1271) is not asked."""
    text = succession_message(network, succession.payee, succession.successor)
    check = _by_solana if chain.startswith("solana:") else _by_evm
    return check(text, succession.payee, succession.signature)


def _by_evm(text: str, payee: str, signature: str) -> bool:
    # Libraries of the wallet that is to pay; loaded when a payee has changed, and not before.
    from eth_account import Account  # noqa: PLC0415
    from eth_account.messages import encode_defunct  # noqa: PLC0415
    from eth_keys.exceptions import BadSignature  # noqa: PLC0415
    from eth_utils.exceptions import ValidationError  # noqa: PLC0415

    try:
        raw = binascii.unhexlify(signature.removeprefix("0x"))
        if len(raw) != 65:
            return False
        signer = Account.recover_message(encode_defunct(text=text), signature=raw)
    except (ValueError, BadSignature, ValidationError):
        return False
    return str(signer).lower() == payee.lower()


def _by_solana(text: str, payee: str, signature: str) -> bool:
    from solders.pubkey import Pubkey  # noqa: PLC0415
    from solders.signature import Signature  # noqa: PLC0415

    try:
        return Signature.from_string(signature).verify(Pubkey.from_string(payee), text.encode())
    except ValueError:
        return False
