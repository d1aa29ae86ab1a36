"""Accounts as the RPC API writes them, token accounts and mints also parsed."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from solders.account import Account
from solders.pubkey import Pubkey

from ws402.devchain.jsonrpc import INVALID_REQUEST, RpcError, invalid
from ws402.devchain.solana import base58, parameters
from ws402.devchain.solana.accounts import RENT_EPOCH
from ws402.devchain.solana.parsed_accounts import parse_account

MAX_BASE58 = 128


def account_body(account: Account, settings: dict[str, Any], decimals: Callable[[Pubkey], int]) -> dict[str, Any]:
    """An account in the `encoding` of a call's settings, cut to its `dataSlice`. Raises RpcError."""
    encoding = parameters.word(settings, "encoding") or "binary"
    check_encoding(encoding)
    parsed = parse_account(account, decimals) if encoding == "jsonParsed" else None
    return {
        "lamports": account.lamports,
        "owner": str(account.owner),
        "data": parsed or _encode(_cut(account.data, settings.get("dataSlice")), encoding),
        "executable": account.executable,
        # Accounts that hold their rent never pay it; the machine leaves the field as it was.
        "rentEpoch": RENT_EPOCH,
        "space": len(account.data),
    }


def check_encoding(encoding: str) -> None:
    """Refuse what we cannot write."""
    if encoding not in {"binary", "base58", "base64", "jsonParsed"}:
        raise invalid(
            f"Invalid params: unknown variant `{encoding}`, expected one of `binary`, `base58`, `base64`, "
            "`jsonParsed`, `base64+zstd`."
        )


def _cut(data: bytes, piece: Any) -> bytes:
    if piece is None:
        return data
    fields = parameters.config(piece)
    offset, length = parameters.integer(fields.get("offset")), parameters.integer(fields.get("length"))
    return data[offset : offset + length]


def _encode(data: bytes, encoding: str) -> Any:
    if encoding in {"binary", "base58"}:
        if len(data) > MAX_BASE58:
            raise RpcError(
                "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding.",
                INVALID_REQUEST,
            )
        text = base58.encode(data)
        return text if encoding == "binary" else [text, "base58"]
    return [base64.b64encode(data).decode(), "base64"]
