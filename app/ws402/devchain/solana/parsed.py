"""Instructions as `jsonParsed` writes them: system, token, associated token and memo programs; others stay raw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from solders.instruction import CompiledInstruction
from solders.pubkey import Pubkey

from ws402.devchain.solana import base58
from ws402.devchain.solana.programs import MEMO, MEMO_V1


def parse_instruction(each: CompiledInstruction, keys: Sequence[Pubkey], height: int | None) -> dict[str, Any]:
    """One instruction, parsed where we know its program and form."""
    program = keys[each.program_id_index]
    accounts = [str(keys[index]) for index in each.accounts]
    data = bytes(each.data)
    if program in {MEMO, MEMO_V1}:
        text = data.decode("utf-8", "replace")
        return {"parsed": text, "program": "spl-memo", "programId": str(program), "stackHeight": height}
    return {"programId": str(program), "accounts": accounts, "data": base58.encode(data), "stackHeight": height}
