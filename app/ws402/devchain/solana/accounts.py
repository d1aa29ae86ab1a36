"""Funded accounts, the same in every run: their seeds are hashes of known words, so worth nothing elsewhere."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

import msgspec
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.token import ID as TOKEN_PROGRAM
from solders.token.state import Mint, TokenAccount, TokenAccountState

SYSTEM_PROGRAM: Final = Pubkey.default()
RENT_EPOCH: Final = 2**64 - 1
"""What rent-exempt accounts hold there."""


class DevAccount(msgspec.Struct, frozen=True):
    """An account of a development chain. Its key is public knowledge."""

    address: str
    """Base58."""
    key: str
    """The key pair, 64 bytes in base58, as wallets export it."""

    @property
    def keypair(self) -> Keypair:
        """For signing."""
        return Keypair.from_base58_string(self.key)


@cache
def derive(name: str) -> DevAccount:
    """The account whose seed is the SHA-256 of `ws402 devchain solana NAME`."""
    keypair = Keypair.from_seed(hashlib.sha256(f"ws402 devchain solana {name}".encode()).digest())
    return DevAccount(str(keypair.pubkey()), str(keypair))


def wallet(lamports: int) -> Account:
    """An account that holds nothing but lamports."""
    return Account(lamports, b"", SYSTEM_PROGRAM, rent_epoch=RENT_EPOCH)


def mint(authority: Pubkey, supply: int, decimals: int, lamports: int) -> Account:
    """A mint of the SPL Token program, without a freeze authority."""
    state = Mint(mint_authority=authority, supply=supply, decimals=decimals, is_initialized=True)
    return Account(lamports, bytes(state), TOKEN_PROGRAM, rent_epoch=RENT_EPOCH)


def token_account(mint_address: Pubkey, owner: Pubkey, amount: int, lamports: int) -> Account:
    """A token account of the SPL Token program that holds an amount."""
    state = TokenAccount(
        mint=mint_address,
        owner=owner,
        amount=amount,
        delegate=None,
        state=TokenAccountState.Initialized,
        is_native=None,
        delegated_amount=0,
        close_authority=None,
    )
    return Account(lamports, bytes(state), TOKEN_PROGRAM, rent_epoch=RENT_EPOCH)
