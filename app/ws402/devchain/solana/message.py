"""What a message says about its accounts: which keys it names, which it may write, which it only calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from solders.address_lookup_table_account import AddressLookupTable
from solders.message import Message, MessageV0, MessageV1
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from ws402.devchain.solana.programs import RESERVED, UPGRADEABLE_LOADER

AnyMessage: TypeAlias = Message | MessageV0 | MessageV1
"""What solders decodes. No version 1 comes in: clusters do not take it yet."""
LOOKUP_TABLE_META: Final = 56
"""Bytes before a lookup table's addresses."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Keys that a version 0 message takes from lookup tables."""

    writable: tuple[Pubkey, ...] = ()
    readonly: tuple[Pubkey, ...] = ()


def loaded(message: AnyMessage, tables: Sequence[bytes | None]) -> Loaded:
    """Resolve a message's lookups in the data of their tables; what is not there is left out (the machine refuses)."""
    if not isinstance(message, MessageV0):
        return Loaded()
    writable: list[Pubkey] = []
    readonly: list[Pubkey] = []
    for lookup, data in zip(message.address_table_lookups, tables, strict=True):
        if data is None or len(data) < LOOKUP_TABLE_META:
            continue
        addresses = AddressLookupTable.deserialize(data).addresses
        writable += [addresses[index] for index in lookup.writable_indexes if index < len(addresses)]
        readonly += [addresses[index] for index in lookup.readonly_indexes if index < len(addresses)]
    return Loaded(tuple(writable), tuple(readonly))


def keys(message: AnyMessage, taken: Loaded) -> list[Pubkey]:
    """All keys in the order by which instructions count them."""
    return [*message.account_keys, *taken.writable, *taken.readonly]


def writable(message: AnyMessage, taken: Loaded) -> list[bool]:
    """For each of `keys`, whether the transaction may write it: reserved accounts and called programs it may not."""
    header = message.header
    count = len(message.account_keys)
    signed = header.num_required_signatures
    asked = [
        index < signed - header.num_readonly_signed_accounts
        if index < signed
        else index < count - header.num_readonly_unsigned_accounts
        for index in range(count)
    ]
    asked += [True] * len(taken.writable) + [False] * len(taken.readonly)
    names = keys(message, taken)
    called = {each.program_id_index for each in message.instructions}
    upgrading = UPGRADEABLE_LOADER in names
    return [
        want and names[index] not in RESERVED and (index not in called or upgrading) for index, want in enumerate(asked)
    ]


def version(transaction: VersionedTransaction) -> int | str:
    """As the RPC API names it: `legacy` or 0."""
    return 0 if isinstance(transaction.message, MessageV0) else "legacy"
