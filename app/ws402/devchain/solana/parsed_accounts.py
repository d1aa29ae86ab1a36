"""Token accounts and mints as `jsonParsed` writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from solders.account import Account
from solders.pubkey import Pubkey
from solders.token.state import Mint, TokenAccount, TokenAccountState

from ws402.devchain.solana.programs import TOKEN_PROGRAMS
from ws402.devchain.solana.tokens import read_account, read_mint, ui_amount


def parse_account(account: Account, decimals: Callable[[Pubkey], int]) -> dict[str, Any] | None:
    """The parsed form of `data`; None for accounts that have none."""
    state, mint = read_account(account), read_mint(account)
    if state is not None:
        parsed = {"type": "account", "info": _token_account(state, decimals(state.mint))}
    elif mint is not None:
        parsed = {"type": "mint", "info": _mint(mint)}
    else:
        return None
    return {"program": TOKEN_PROGRAMS[account.owner], "parsed": parsed, "space": len(account.data)}


def _token_account(state: TokenAccount, decimals: int) -> dict[str, Any]:
    info: dict[str, Any] = {
        "mint": str(state.mint),
        "owner": str(state.owner),
        "tokenAmount": ui_amount(state.amount, decimals),
        "state": "frozen" if state.state == TokenAccountState.Frozen else "initialized",
        "isNative": state.is_native is not None,
    }
    if state.delegate is not None:
        info["delegate"] = str(state.delegate)
        info["delegatedAmount"] = ui_amount(state.delegated_amount, decimals)
    if state.is_native is not None:
        info["rentExemptReserve"] = ui_amount(state.is_native, decimals)
    if state.close_authority is not None:
        info["closeAuthority"] = str(state.close_authority)
    return info


def _mint(state: Mint) -> dict[str, Any]:
    return {
        "mintAuthority": str(state.mint_authority) if state.mint_authority else None,
        "supply": str(state.supply),
        "decimals": state.decimals,
        "isInitialized": state.is_initialized,
        "freezeAuthority": str(state.freeze_authority) if state.freeze_authority else None,
    }
