"""Which tokens can be accepted: the mint must be what the settings say, and nobody may take, hide or tax its money."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from solders.pubkey import Pubkey

from ws402.chains.solana.address import token_account
from ws402.chains.solana.programs import TOKEN_2022, TOKEN_PROGRAMS
from ws402.errors import ConfigurationError
from ws402.money import Asset

MINT_LENGTH: Final = 82
ACCOUNT_LENGTH: Final = 165
"""A token account's base part; an account of Token-2022 may go on after a byte that tells its kind."""

MINT_KIND: Final = 1
ACCOUNT_KIND: Final = 2

HARMLESS: Final = frozenset(
    {
        0,  # none
        3,  # mint close authority: only for a mint without supply
        10,  # interest-bearing: only how wallets show amounts
        18,  # metadata pointer
        19,  # token metadata
        20,  # group pointer
        21,  # token group
        22,  # group member pointer
        23,  # token group member
        25,  # scaled UI amount: only how wallets show amounts
    }
)
"""Extensions (`ExtensionType` of SPL Token-2022) that change nothing about how much arrives. All others are refused."""

EXTENSIONS: Final = {
    1: "transfer fee",
    4: "confidential transfer",
    6: "default account state",
    9: "non-transferable",
    12: "permanent delegate",
    14: "transfer hook",
    16: "confidential transfer fee",
    24: "confidential mint and burn",
    26: "pausable",
}


@dataclass(frozen=True, slots=True)
class Mint:
    """An accepted token. `ours`: the token account of our address that invoices name."""

    asset: Asset
    address: str
    program: str
    ours: str


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """An account of a token program."""

    mint: str
    owner: str
    amount: int
    frozen: bool


def read_mint(asset: Asset, account: Any, owner: str) -> Mint:
    """From getAccountInfo in base64. Raises ConfigurationError with the reason why it cannot be accepted."""
    mint = asset.contract or ""
    name = f"{asset.symbol} on {asset.network}"
    program = account["owner"] if account else ""
    data = account_data(account) if account else b""
    kind = data[ACCOUNT_LENGTH : ACCOUNT_LENGTH + 1]
    if program not in TOKEN_PROGRAMS or not (
        len(data) == MINT_LENGTH or (program == TOKEN_2022 and kind == bytes([MINT_KIND]))
    ):
        raise ConfigurationError(
            f"{name}: there is no mint at {mint}.", remedy="Check the mint's address and the network."
        )
    if data[45] != 1:
        raise ConfigurationError(f"{name}: the mint {mint} is not initialised.")
    if data[44] != asset.decimals:
        raise ConfigurationError(
            f"{name} has {data[44]} decimals, not {asset.decimals} as configured.",
            remedy="Check the mint's address and its decimals.",
        )
    refused = [each for each in extensions(data) if each not in HARMLESS]
    if refused:
        told = ", ".join(EXTENSIONS.get(each, f"extension {each}") for each in refused)
        raise ConfigurationError(
            f"{name}: the mint {mint} has what WS402 does not accept: {told}. What is paid would not be what arrives.",
            remedy="Accept another token.",
        )
    return Mint(asset, mint, program, token_account(owner, mint, program))


def extensions(data: bytes) -> Sequence[int]:
    """Types of a Token-2022 mint's or account's extensions, in order (type-length-value from byte 166 on)."""
    found = []
    position = ACCOUNT_LENGTH + 1
    while position + 4 <= len(data):
        kind = int.from_bytes(data[position : position + 2], "little")
        if kind == 0:
            break
        found.append(kind)
        position += 4 + int.from_bytes(data[position + 2 : position + 4], "little")
    return found


def read_token_account(account: Any) -> TokenAccount | None:
    """From getAccountInfo in base64; None for what is no token account."""
    if not account or account["owner"] not in TOKEN_PROGRAMS:
        return None
    data = account_data(account)
    if len(data) < ACCOUNT_LENGTH or (len(data) > ACCOUNT_LENGTH and data[ACCOUNT_LENGTH] != ACCOUNT_KIND):
        return None
    if data[108] == 0:
        return None
    return TokenAccount(
        mint=str(Pubkey.from_bytes(data[:32])),
        owner=str(Pubkey.from_bytes(data[32:64])),
        amount=int.from_bytes(data[64:72], "little"),
        frozen=data[108] == 2,
    )


def account_data(account: Any) -> bytes:
    """An account's bytes."""
    return base64.b64decode(account["data"][0])
