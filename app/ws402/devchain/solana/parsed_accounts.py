"""Token accounts and mints as `jsonParsed` writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from solders.account import Account
from solders.pubkey import Pubkey
from solders.token.state import Mint, TokenAccount, TokenAccountState

from ws402.devchain.solana.programs import TOKEN_2022, TOKEN_PROGRAMS
from ws402.devchain.solana.reader import Reader, UnparsedError
from ws402.devchain.solana.tokens import ACCOUNT_SIZE, read_account, read_mint, ui_amount

EXTENSIONS: Final = (
    "uninitialized",
    "transferFeeConfig",
    "transferFeeAmount",
    "mintCloseAuthority",
    "confidentialTransferMint",
    "confidentialTransferAccount",
    "defaultAccountState",
    "immutableOwner",
    "memoTransfer",
    "nonTransferable",
    "interestBearingConfig",
    "cpiGuard",
    "permanentDelegate",
    "nonTransferableAccount",
    "transferHook",
    "transferHookAccount",
    "confidentialTransferFeeConfig",
    "confidentialTransferFeeAmount",
    "metadataPointer",
    "tokenMetadata",
    "groupPointer",
    "tokenGroup",
    "groupMemberPointer",
    "tokenGroupMember",
    "confidentialMintBurn",
    "scaledUiAmountConfig",
    "pausableConfig",
    "pausableAccount",
)
"""Token-2022's extensions by their type number (`ExtensionType`)."""


def parse_account(account: Account, decimals: Callable[[Pubkey], int]) -> dict[str, Any] | None:
    """The parsed form of `data`; None for accounts that have none."""
    state, mint = read_account(account), read_mint(account)
    info: dict[str, Any]
    if state is not None:
        kind, info = "account", _token_account(state, decimals(state.mint))
    elif mint is not None:
        kind, info = "mint", _mint(mint)
    else:
        return None
    extensions = _extensions(account.data[ACCOUNT_SIZE + 1 :]) if account.owner == TOKEN_2022 else []
    if extensions:
        info["extensions"] = extensions
    parsed = {"type": kind, "info": info}
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


def _extensions(data: bytes) -> list[dict[str, Any]]:
    """Token-2022's extensions: type, length and value, one after the other. Of rare ones only the name is told."""
    found: list[dict[str, Any]] = []
    reader = Reader(data)
    try:
        while reader.left >= 4 and (kind := reader.u16()):
            name = EXTENSIONS[kind] if kind < len(EXTENSIONS) else "unparseableExtension"
            state = _state(name, Reader(reader.take(reader.u16())))
            found.append({"extension": name} | ({} if state is None else {"state": state}))
    except UnparsedError:
        pass
    return found


def _state(name: str, value: Reader) -> dict[str, Any] | None:
    match name:
        case "transferFeeConfig":
            authorities = {"transferFeeConfigAuthority": _key(value), "withdrawWithheldAuthority": _key(value)}
            withheld = value.u64()
            return authorities | {
                "withheldAmount": withheld,
                "olderTransferFee": _fee(value),
                "newerTransferFee": _fee(value),
            }
        case "transferFeeAmount":
            return {"withheldAmount": value.u64()}
        case "mintCloseAuthority":
            return {"closeAuthority": _key(value)}
        case "permanentDelegate":
            return {"delegate": _key(value)}
        case "transferHook":
            return {"authority": _key(value), "programId": _key(value)}
        case "metadataPointer":
            return {"authority": _key(value), "metadataAddress": _key(value)}
        case "defaultAccountState":
            return {"accountState": ("uninitialized", "initialized", "frozen")[value.u8() % 3]}
        case "memoTransfer":
            return {"requireIncomingTransferMemos": bool(value.u8())}
        case "cpiGuard":
            return {"lockCpi": bool(value.u8())}
    return None


def _fee(value: Reader) -> dict[str, int]:
    return {"epoch": value.u64(), "maximumFee": value.u64(), "transferFeeBasisPoints": value.u16()}


def _key(value: Reader) -> str | None:
    """An address; none is written as zeros."""
    raw = value.take(32)
    return str(Pubkey.from_bytes(raw)) if any(raw) else None
