"""Instructions as `jsonParsed` writes them: system, token, associated token and memo programs; others stay raw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from solders.instruction import CompiledInstruction
from solders.pubkey import Pubkey

from ws402.devchain.solana import base58
from ws402.devchain.solana.parsed_tokens import parse_token
from ws402.devchain.solana.programs import ASSOCIATED_TOKEN, MEMO, MEMO_V1, SYSTEM, TOKEN_PROGRAMS
from ws402.devchain.solana.reader import Reader, UnparsedError

Parsed: TypeAlias = tuple[str, dict[str, Any]]
"""An instruction's type and what it says."""


def parse_instruction(each: CompiledInstruction, keys: Sequence[Pubkey], height: int | None) -> dict[str, Any]:
    """One instruction, parsed where we know its program and form."""
    program = keys[each.program_id_index]
    accounts = [str(keys[index]) for index in each.accounts]
    data = bytes(each.data)
    base = {"programId": str(program), "stackHeight": height}
    try:
        if program in {MEMO, MEMO_V1}:
            return base | {"program": "spl-memo", "parsed": data.decode()}
        if program in PARSERS:
            name, parse = PARSERS[program]
            kind, info = parse(Reader(data), accounts)
            return base | {"program": name, "parsed": {"type": kind, "info": info}}
    except (UnparsedError, UnicodeDecodeError):
        pass
    return base | {"accounts": accounts, "data": base58.encode(data)}


def _system(data: Reader, accounts: list[str]) -> Parsed:
    """The system program's instructions (`SystemInstruction`, bincode): those that move or make something."""
    match data.u32():
        case 0:
            source, new = _some(accounts, 2)
            lamports, space = data.u64(), data.u64()
            made = {"source": source, "newAccount": new, "lamports": lamports, "space": space, "owner": data.key()}
            return "createAccount", made
        case 1:
            return "assign", {"account": _some(accounts, 1)[0], "owner": data.key()}
        case 2:
            source, destination = _some(accounts, 2)
            return "transfer", {"source": source, "destination": destination, "lamports": data.u64()}
        case 3:
            source, new = _some(accounts, 2)
            made = {"source": source, "newAccount": new, "base": data.key(), "seed": data.text()}
            return "createAccountWithSeed", made | {"lamports": data.u64(), "space": data.u64(), "owner": data.key()}
        case 8:
            return "allocate", {"account": _some(accounts, 1)[0], "space": data.u64()}
        case 11:
            source, base, destination = _some(accounts, 3)
            moved = {"source": source, "sourceBase": base, "destination": destination, "lamports": data.u64()}
            return "transferWithSeed", moved | {"sourceSeed": data.text(), "sourceOwner": data.key()}
    raise UnparsedError


def _associated(data: Reader, accounts: list[str]) -> Parsed:
    """The associated token program's; no data at all means `create`."""
    kind = data.u8() if data.left else 0
    if kind == 2:
        names = ["nestedSource", "nestedMint", "destination", "nestedOwner", "ownerMint", "wallet", "tokenProgram"]
    else:
        names = ["source", "account", "wallet", "mint", "systemProgram", "tokenProgram"]
    if kind > 2:
        raise UnparsedError
    info = dict(zip(names, _some(accounts, len(names)), strict=True))
    return ("create", "createIdempotent", "recoverNested")[kind], info


def _some(accounts: list[str], count: int) -> list[str]:
    if len(accounts) < count:
        raise UnparsedError
    return accounts[:count]


PARSERS: Final[dict[Pubkey, tuple[str, Callable[[Reader, list[str]], Parsed]]]] = {
    SYSTEM: ("system", _system),
    ASSOCIATED_TOKEN: ("spl-associated-token-account", _associated),
    # Agave names both so in transactions, though not in accounts.
    **dict.fromkeys(TOKEN_PROGRAMS, ("spl-token", parse_token)),
}
