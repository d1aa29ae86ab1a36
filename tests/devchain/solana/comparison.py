"""Comparing two chains' answers: what must differ, and builds of programs that do, taken out of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

BUILDS: Final = {
    "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
    "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb",
    "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL",
    "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr",
}
"""Programs whose builds differ: their own log lines, their compute units, their balances."""
PROGRAMS: Final = BUILDS | {"AddressLookupTab1e1111111111111111111111111"}
"""Those and others that hold another balance."""
BASE58: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,88}")
NUMBERS: Final = {
    "slot", "blockTime", "blockHeight", "parentSlot", "lastValidBlockHeight", "confirmations", "contextSlot", "id",
    "absoluteSlot", "slotIndex", "transactionCount", "subscription",
}  # fmt: skip
TEXTS: Final = {"signature", "blockhash", "previousBlockhash", "recentBlockhash", "identity"}
UNITS: Final = {"computeUnitsConsumed", "costUnits", "unitsConsumed", "loadedAccountsDataSize"}


def form(answer: Any) -> Any:
    """An answer without what differs from chain to chain."""
    return _form(answer, foreign=bool(_names(answer) & BUILDS))


def _names(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {name for each in value.values() for name in _names(each)}
    if isinstance(value, list):
        return {name for each in value for name in _names(each)}
    return set(re.findall(r"[1-9A-HJ-NP-Za-km-z]{32,44}", value)) if isinstance(value, str) else set()


def _form(value: Any, *, foreign: bool, key: str = "") -> Any:
    if key in NUMBERS and isinstance(value, int):
        return "<number>"
    # One chain may be a little further than the other.
    if key == "confirmations" and value is None:
        return "<number>"
    if key == "confirmationStatus" and value in {"confirmed", "finalized"}:
        return "<sure>"
    if key in UNITS and foreign:
        return type(value).__name__
    if key in TEXTS and isinstance(value, str):
        return "<base58>" if BASE58.fullmatch(value) else value
    if key == "signatures":
        return ["<base58>" for each in value if BASE58.fullmatch(each)]
    if key in {"logMessages", "logs"} and value is not None:
        own = re.compile(r"Program (log:|data:|\w+ consumed|return:)")
        return [line for line in value if not own.match(line)] if foreign else value
    if isinstance(value, dict):
        shaped = {name: _form(each, foreign=foreign, key=name) for name, each in value.items()}
        return _without_programs(shaped, value)
    if isinstance(value, list):
        if key == "transaction":
            return ["<transaction>", value[1]]
        return [_form(each, foreign=foreign) for each in value]
    return value


def _without_programs(shaped: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Balances without those of programs, whose builds differ in size."""
    if "transaction" in value and isinstance(value["transaction"], dict):
        keys = value["transaction"]["message"]["accountKeys"]
        keys = [each if isinstance(each, str) else each["pubkey"] for each in keys]
        for name in ("preBalances", "postBalances"):
            balances = value["meta"][name]
            shaped["meta"][name] = [
                each for index, each in enumerate(balances) if index >= len(keys) or keys[index] not in PROGRAMS
            ]
    elif "transaction" in value:
        shaped["meta"].pop("preBalances")
        shaped["meta"].pop("postBalances")
    return shaped


def differences(mine: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two answers differ."""
    if isinstance(mine, dict) and isinstance(other, dict):
        for key in sorted(mine.keys() | other.keys()):
            if key not in mine or key not in other:
                yield f"{path}.{key} only {'here' if key in mine else 'on the validator'}: {(mine | other)[key]}"
            else:
                yield from differences(mine[key], other[key], f"{path}.{key}")
    elif isinstance(mine, list) and isinstance(other, list) and len(mine) == len(other):
        for index, (each, its) in enumerate(zip(mine, other, strict=True)):
            yield from differences(each, its, f"{path}[{index}]")
    elif mine != other or type(mine) is not type(other):
        yield f"{path}\n    here:      {mine!r}\n    validator: {other!r}"
