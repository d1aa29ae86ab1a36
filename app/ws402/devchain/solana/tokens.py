"""Reading the state of the token programs: SPL Token and Token-2022, whose base layouts are one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from solders.account import Account
from solders.pubkey import Pubkey
from solders.token.state import Mint, TokenAccount

from ws402.devchain.solana.programs import TOKEN_2022, TOKEN_PROGRAMS

MINT_SIZE: Final = 82
ACCOUNT_SIZE: Final = 165
IS_MINT, IS_ACCOUNT = 1, 2
"""Token-2022's account types, in the byte after a token account's base layout."""


class TokenBalance(msgspec.Struct, frozen=True):
    """What an account of a transaction held of a token."""

    index: int
    mint: Pubkey
    owner: Pubkey
    program: Pubkey
    amount: int
    decimals: int


def read_account(account: Account | None) -> TokenAccount | None:
    """A token account's state; None for what is none, or is not initialised."""
    if account is None or not _is(account, ACCOUNT_SIZE, IS_ACCOUNT) or account.data[108] == 0:
        return None
    return TokenAccount.from_bytes(account.data[:ACCOUNT_SIZE])


def read_mint(account: Account | None) -> Mint | None:
    """A mint's state; None for what is none."""
    if account is None or not _is(account, MINT_SIZE, IS_MINT) or account.data[45] == 0:
        return None
    return Mint.from_bytes(account.data[:MINT_SIZE])


def _is(account: Account, size: int, kind: int) -> bool:
    if account.owner not in TOKEN_PROGRAMS:
        return False
    length = len(account.data)
    return length == size or (account.owner == TOKEN_2022 and length > ACCOUNT_SIZE and account.data[165] == kind)


def token_balances(
    keys: Sequence[Pubkey], accounts: Mapping[Pubkey, Account | None], read: Callable[[Pubkey], Account | None]
) -> list[TokenBalance]:
    """The token balances of a transaction's accounts; `read` gives mints that it does not name."""
    balances: list[TokenBalance] = []
    for index, key in enumerate(keys):
        account = accounts[key]
        state = read_account(account)
        if account is None or state is None:
            continue
        mint = read_mint(accounts[state.mint] if state.mint in accounts else read(state.mint))
        if mint is not None:
            balances.append(TokenBalance(index, state.mint, state.owner, account.owner, state.amount, mint.decimals))
    return balances


def ui_amount(amount: int, decimals: int) -> dict[str, Any]:
    """The RPC API's UiTokenAmount."""
    whole, part = divmod(amount, 10**decimals)
    fraction = f"{part:0{decimals}d}".rstrip("0") if decimals else ""
    text = f"{whole}.{fraction}" if fraction else str(whole)
    return {"uiAmount": float(text), "decimals": decimals, "amount": str(amount), "uiAmountString": text}
