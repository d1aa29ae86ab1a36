"""Addresses of the programs and system accounts that every cluster has."""

from __future__ import annotations

from typing import Final

from solders.pubkey import Pubkey


def _key(text: str) -> Pubkey:
    return Pubkey.from_string(text)


SYSTEM: Final = Pubkey.default()
TOKEN: Final = _key("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022: Final = _key("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
TOKEN_PROGRAMS: Final = {TOKEN: "spl-token", TOKEN_2022: "spl-token-2022"}
ASSOCIATED_TOKEN: Final = _key("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
MEMO: Final = _key("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
MEMO_V1: Final = _key("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo")
COMPUTE_BUDGET: Final = _key("ComputeBudget111111111111111111111111111111")
LOOKUP_TABLES: Final = _key("AddressLookupTab1e1111111111111111111111111")
UPGRADEABLE_LOADER: Final = _key("BPFLoaderUpgradeab1e11111111111111111111111")
SYSVARS: Final = _key("Sysvar1111111111111111111111111111111111111")
STAKE: Final = _key("Stake11111111111111111111111111111111111111")
VOTE: Final = _key("Vote111111111111111111111111111111111111111")

RESERVED: Final = frozenset(
    {
        SYSTEM,
        COMPUTE_BUDGET,
        LOOKUP_TABLES,
        UPGRADEABLE_LOADER,
        STAKE,
        SYSVARS,
        VOTE,
        *map(
            _key,
            (
                "BPFLoader1111111111111111111111111111111111",
                "BPFLoader2111111111111111111111111111111111",
                "Config1111111111111111111111111111111111111",
                "Ed25519SigVerify111111111111111111111111111",
                "Feature111111111111111111111111111111111111",
                "KeccakSecp256k11111111111111111111111111111",
                "LoaderV411111111111111111111111111111111111",
                "NativeLoader1111111111111111111111111111111",
                "Secp256r1SigVerify1111111111111111111111111",
                "StakeConfig11111111111111111111111111111111",
                "SysvarC1ock11111111111111111111111111111111",
                "SysvarEpochRewards1111111111111111111111111",
                "SysvarEpochSchedu1e111111111111111111111111",
                "SysvarFees111111111111111111111111111111111",
                "Sysvar1nstructions1111111111111111111111111",
                "SysvarLastRestartS1ot1111111111111111111111",
                "SysvarRecentB1ockHashes11111111111111111111",
                "SysvarRent111111111111111111111111111111111",
                "SysvarRewards111111111111111111111111111111",
                "SysvarS1otHashes111111111111111111111111111",
                "SysvarS1otHistory11111111111111111111111111",
                "SysvarStakeHistory1111111111111111111111111",
                "ZkE1Gama1Proof11111111111111111111111111111",
                "ZkTokenProof1111111111111111111111111111111",
            ),
        ),
    }
)
"""Accounts that no transaction may write, whatever it asks for."""
