"""The token programs' instructions as `jsonParsed` writes them (`TokenInstruction`: a byte, then its fields)."""

from __future__ import annotations

from typing import Any, Final

from ws402.devchain.solana.reader import Reader, UnparsedError
from ws402.devchain.solana.tokens import ui_amount

AUTHORITIES: Final = ("mintTokens", "freezeAccount", "accountOwner", "closeAccount")
EXTENSION_SIZES: Final = {7: "immutableOwner"}

_AMOUNTS: Final[dict[int, tuple[str, tuple[str, ...], str]]] = {
    3: ("transfer", ("source", "destination"), "authority"),
    4: ("approve", ("source", "delegate"), "owner"),
    7: ("mintTo", ("mint", "account"), "mintAuthority"),
    8: ("burn", ("account", "mint"), "authority"),
}
_CHECKED: Final[dict[int, tuple[str, tuple[str, ...], str]]] = {
    12: ("transferChecked", ("source", "mint", "destination"), "authority"),
    13: ("approveChecked", ("source", "mint", "delegate"), "owner"),
    14: ("mintToChecked", ("mint", "account"), "mintAuthority"),
    15: ("burnChecked", ("account", "mint"), "authority"),
}
_PLAIN: Final[dict[int, tuple[str, tuple[str, ...], str]]] = {
    5: ("revoke", ("source",), "owner"),
    9: ("closeAccount", ("account", "destination"), "owner"),
    10: ("freezeAccount", ("account", "mint"), "freezeAuthority"),
    11: ("thawAccount", ("account", "mint"), "freezeAuthority"),
}
_NAMED: Final[dict[int, tuple[str, tuple[str, ...]]]] = {
    1: ("initializeAccount", ("account", "mint", "owner", "rentSysvar")),
    17: ("syncNative", ("account",)),
    22: ("initializeImmutableOwner", ("account",)),
}
_OWNED: Final[dict[int, tuple[str, tuple[str, ...]]]] = {
    16: ("initializeAccount2", ("account", "mint", "rentSysvar")),
    18: ("initializeAccount3", ("account", "mint")),
}


def parse_token(data: Reader, accounts: list[str]) -> tuple[str, dict[str, Any]]:
    """One instruction's type and what it says. Raises UnparsedError."""
    kind = data.u8()
    if kind in _AMOUNTS:
        name, fields, owner = _AMOUNTS[kind]
        return name, _names(fields, accounts) | {"amount": str(data.u64())} | _signers(len(fields), accounts, owner)
    if kind in _CHECKED:
        name, fields, owner = _CHECKED[kind]
        amount = ui_amount(data.u64(), data.u8())
        return name, _names(fields, accounts) | {"tokenAmount": amount} | _signers(len(fields), accounts, owner)
    if kind in _PLAIN:
        name, fields, owner = _PLAIN[kind]
        return name, _names(fields, accounts) | _signers(len(fields), accounts, owner)
    if kind in _NAMED:
        name, fields = _NAMED[kind]
        return name, _names(fields, accounts)
    if kind in _OWNED:
        name, fields = _OWNED[kind]
        return name, _names(fields, accounts) | {"owner": data.key()}
    match kind:
        case 0:
            return "initializeMint", _names(("mint", "rentSysvar"), accounts) | _mint(data)
        case 20:
            return "initializeMint2", _names(("mint",), accounts) | _mint(data)
        case 6:
            return "setAuthority", _authority(data, accounts)
        case 21:
            info: dict[str, Any] = _names(("mint",), accounts)
            types = [data.u16() for _ in range(data.left // 2)]
            if types:
                info["extensionTypes"] = [EXTENSION_SIZES.get(each, str(each)) for each in types]
            return "getAccountDataSize", info
    raise UnparsedError


def _mint(data: Reader) -> dict[str, Any]:
    info: dict[str, Any] = {"decimals": data.u8(), "mintAuthority": data.key()}
    freeze = data.optional_key()
    return info | ({"freezeAuthority": freeze} if freeze else {})


def _authority(data: Reader, accounts: list[str]) -> dict[str, Any]:
    kind = data.u8()
    if kind >= len(AUTHORITIES):
        raise UnparsedError
    owned = "mint" if kind < 2 else "account"
    info: dict[str, Any] = _names((owned,), accounts)
    info |= {"authorityType": AUTHORITIES[kind], "newAuthority": data.optional_key()}
    return info | _signers(1, accounts, "authority")


def _names(fields: tuple[str, ...], accounts: list[str]) -> dict[str, Any]:
    if len(accounts) < len(fields):
        raise UnparsedError
    return dict(zip(fields, accounts, strict=False))


def _signers(index: int, accounts: list[str], owner: str) -> dict[str, Any]:
    """Who signs. Agave takes more accounts for a multisig's signers, even where they are reference keys."""
    if len(accounts) <= index:
        raise UnparsedError
    if len(accounts) == index + 1:
        return {owner: accounts[index]}
    return {f"multisig{owner[0].upper()}{owner[1:]}": accounts[index], "signers": accounts[index + 1 :]}
