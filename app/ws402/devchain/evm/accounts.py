"""Funded accounts, the same in every run: derived from a mnemonic that everybody knows, so worth nothing elsewhere."""

from __future__ import annotations

from functools import cache
from typing import Final

import msgspec
from eth_account import Account
from eth_account.hdaccount import key_from_seed, seed_from_mnemonic

MNEMONIC: Final = "test test test test test test test test test test test junk"
"""The test phrase that development chains share."""


class DevAccount(msgspec.Struct, frozen=True):
    """An account of a development chain. Its key is public knowledge."""

    address: str
    """Checksummed (EIP-55)."""
    key: str
    """32 bytes in hex with 0x."""


@cache
def derive(count: int, mnemonic: str = MNEMONIC) -> tuple[DevAccount, ...]:
    """The first `count` accounts of the mnemonic at BIP-44's m/44'/60'/0'/0/i."""
    seed = seed_from_mnemonic(mnemonic, "")
    keys = [key_from_seed(seed, f"m/44'/60'/0'/0/{index}") for index in range(count)]
    return tuple(DevAccount(Account.from_key(key).address, "0x" + key.hex()) for key in keys)
