"""Programs that we know, and the instructions of theirs that move money. Pure."""

from __future__ import annotations

from typing import Final

SYSTEM: Final = "11111111111111111111111111111111"
TOKEN: Final = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"  # noqa: S105 - an address
TOKEN_2022: Final = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"  # noqa: S105 - an address
ASSOCIATED_TOKEN: Final = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"  # noqa: S105 - an address
COMPUTE_BUDGET: Final = "ComputeBudget111111111111111111111111111111"
MEMO: Final = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
MEMO_V1: Final = "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"

TOKEN_PROGRAMS: Final = frozenset({TOKEN, TOKEN_2022})
MEMO_PROGRAMS: Final = frozenset({MEMO, MEMO_V1})

SYSTEM_TRANSFER: Final = 2
SYSTEM_TRANSFER_WITH_SEED: Final = 11
TOKEN_TRANSFER: Final = 3
TOKEN_TRANSFER_CHECKED: Final = 12
