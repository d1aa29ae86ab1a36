"""The EVM's blocks and its database in a file. See `ws402.devchain.state`."""

from __future__ import annotations

from typing import Any

import rlp
from eth.db.backends.memory import MemoryDB
from rlp.sedes import big_endian_int

from ws402.devchain.evm.blocks import Block, Call, Mined
from ws402.devchain.state import State


class KeptStore(MemoryDB):
    """The machine's database: in memory, and what has changed since the last block."""

    def __init__(self, values: dict[bytes, bytes]) -> None:
        super().__init__(values)
        self.changed: set[bytes] = set()

    def __setitem__(self, key: bytes, value: bytes) -> None:
        super().__setitem__(key, value)
        self.changed.add(key)

    def __delitem__(self, key: bytes) -> None:
        super().__delitem__(key)
        self.changed.add(key)


def append(state: State, store: KeptStore, block: Block) -> None:
    """Put a block into the file, with all that making it has changed."""
    values = store.kv_store
    with state.change():
        state.write(
            ((key, values[key]) for key in store.changed if key in values),
            [key for key in store.changed if key not in values],
        )
        state.append(block.number, rlp.encode([block.hash, _number(block.size), [_body(each) for each in block.mined]]))
    store.changed.clear()


def read(body: bytes, chain: Any) -> Block:
    """A block as it was put there."""
    block_hash, size, mined = rlp.decode(body)
    header = chain.chaindb.get_block_header_by_hash(block_hash)
    vm = chain.get_vm(header)
    return Block(header, block_hash, _int(size), tuple(_mined(each, vm) for each in mined))


def _body(mined: Mined) -> list[Any]:
    receipt = mined.receipt.encode()
    numbers = [_number(mined.gas_used), _number(mined.first_log)]
    return [mined.raw, mined.hash, mined.sender, receipt, *numbers, _call_body(mined.trace)]


def _mined(body: list[Any], vm: Any) -> Mined:
    raw, tx, sender, receipt, gas_used, first_log, trace = body
    return Mined(
        transaction=vm.get_transaction_builder().decode(raw),
        sender=sender,
        hash=tx,
        raw=raw,
        receipt=vm.get_receipt_builder().decode(receipt),
        gas_used=_int(gas_used),
        first_log=_int(first_log),
        trace=_call(trace),
    )


def _call_body(call: Call) -> list[Any]:
    inner = [_call_body(each) for each in call.calls]
    return [call.sender, call.to, _number(call.value), call.data, _number(int(call.failed)), inner]


def _call(body: list[Any]) -> Call:
    sender, to, value, data, failed, calls = body
    return Call(sender, to, _int(value), data, bool(_int(failed)), tuple(_call(each) for each in calls))


def _number(value: int) -> bytes:
    encoded: bytes = big_endian_int.serialize(value)
    return encoded


def _int(value: bytes) -> int:
    return int.from_bytes(value, "big")
