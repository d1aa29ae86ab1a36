"""Blocks, transactions, receipts and logs as nodes' JSON shows them (execution-apis)."""

from __future__ import annotations

from typing import Any

from eth_utils.crypto import keccak

from ws402.devchain.evm.blocks import Block, Call, Mined
from ws402.devchain.evm.pool import Pooled

ZERO_BLOOM = "0x" + "00" * 256


def quantity(value: int) -> str:
    """An integer as nodes spell it."""
    return hex(value)


def data(value: bytes) -> str:
    """Bytes as nodes spell them."""
    return "0x" + bytes(value).hex()


def word(value: int) -> str:
    """A 32-byte word."""
    return f"0x{value:064x}"


def created_address(sender: bytes, nonce: int) -> bytes:
    """Where a transaction that creates a contract puts it."""
    encoded = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    item = encoded if len(encoded) == 1 and encoded[0] < 0x80 else bytes([0x80 + len(encoded)]) + encoded
    payload = b"\x94" + sender + item
    return bytes(keccak(bytes([0xC0 + len(payload)]) + payload)[12:])


def block_body(block: Block, *, full: bool) -> dict[str, Any]:
    """A block; `full`: with whole transactions instead of their hashes."""
    header = block.header
    transactions = [
        transaction_body(each, block, index) if full else data(each.hash) for index, each in enumerate(block.mined)
    ]
    return {
        "number": quantity(block.number),
        "hash": data(block.hash),
        "parentHash": data(header.parent_hash),
        "nonce": data(header.nonce),
        "mixHash": data(header.mix_hash),
        "sha3Uncles": data(header.uncles_hash),
        "logsBloom": f"0x{header.bloom:0512x}",
        "transactionsRoot": data(header.transaction_root),
        "receiptsRoot": data(header.receipt_root),
        "stateRoot": data(header.state_root),
        "miner": data(header.coinbase),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "extraData": data(header.extra_data),
        "size": quantity(block.size),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "baseFeePerGas": quantity(header.base_fee_per_gas),
        "withdrawals": [],
        "withdrawalsRoot": data(header.withdrawals_root),
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": data(header.parent_beacon_block_root),
        "uncles": [],
        "transactions": transactions,
    }


def pending_body(head: Block, base_fee: int, waiting: list[Pooled], *, full: bool) -> dict[str, Any]:
    """The block that is not made yet: what is known of it."""
    body = block_body(Block(head.header, head.hash, 0), full=False)
    body.update(
        number=quantity(head.number + 1),
        hash=None,
        parentHash=data(head.hash),
        nonce=None,
        miner=None,
        logsBloom=ZERO_BLOOM,
        gasUsed="0x0",
        baseFeePerGas=quantity(base_fee),
        transactions=[transaction_body(each) if full else data(each.hash) for each in waiting],
    )
    return body


def transaction_body(item: Mined | Pooled, block: Block | None = None, index: int | None = None) -> dict[str, Any]:
    """A transaction, in a block or waiting for one."""
    transaction = item.transaction
    kind = _kind(transaction)
    body: dict[str, Any] = {
        "type": quantity(kind),
        "hash": data(item.hash),
        "nonce": quantity(transaction.nonce),
        "blockHash": data(block.hash) if block else None,
        "blockNumber": quantity(block.number) if block else None,
        "transactionIndex": quantity(index) if index is not None else None,
        "from": data(item.sender),
        "to": data(transaction.to) if transaction.to else None,
        "value": quantity(transaction.value),
        "gas": quantity(transaction.gas),
        "input": data(transaction.data),
        "chainId": quantity(transaction.chain_id),
        "gasPrice": quantity(effective_price(transaction, block) if block else transaction.max_fee_per_gas),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
    }
    if kind == 0:
        body["v"] = quantity(transaction.v)
        return body
    body["v"] = body["yParity"] = quantity(transaction.y_parity)
    body["accessList"] = [
        {"address": data(address), "storageKeys": [word(key) for key in keys]}
        for address, keys in transaction.access_list
    ]
    if kind >= 2:
        body["maxFeePerGas"] = quantity(transaction.max_fee_per_gas)
        body["maxPriorityFeePerGas"] = quantity(transaction.max_priority_fee_per_gas)
    if kind == 4:
        body["authorizationList"] = [
            {
                "chainId": quantity(each.chain_id),
                "address": data(each.address),
                "nonce": quantity(each.nonce),
                "yParity": quantity(each.y_parity),
                "r": quantity(each.r),
                "s": quantity(each.s),
            }
            for each in transaction.authorization_list
        ]
    return body


def receipt_body(block: Block, index: int) -> dict[str, Any]:
    """The receipt of a block's transaction."""
    mined = block.mined[index]
    transaction = mined.transaction
    return {
        "type": quantity(_kind(transaction)),
        "transactionHash": data(mined.hash),
        "transactionIndex": quantity(index),
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "from": data(mined.sender),
        "to": data(transaction.to) if transaction.to else None,
        "contractAddress": None if transaction.to else data(created_address(mined.sender, transaction.nonce)),
        "cumulativeGasUsed": quantity(mined.receipt.gas_used),
        "gasUsed": quantity(mined.gas_used),
        "effectiveGasPrice": quantity(effective_price(transaction, block)),
        "logs": log_bodies(block, index),
        "logsBloom": f"0x{mined.receipt.bloom:0512x}",
        "status": "0x1" if mined.receipt.state_root == b"\x01" else "0x0",
    }


def log_bodies(block: Block, index: int) -> list[dict[str, Any]]:
    """The logs of a block's transaction, numbered within the block."""
    mined = block.mined[index]
    return [
        {
            "address": data(log.address),
            "topics": [word(topic) for topic in log.topics],
            "data": data(log.data),
            "blockHash": data(block.hash),
            "blockNumber": quantity(block.number),
            "blockTimestamp": quantity(block.header.timestamp),
            "transactionHash": data(mined.hash),
            "transactionIndex": quantity(index),
            "logIndex": quantity(mined.first_log + position),
            "removed": False,
        }
        for position, log in enumerate(mined.receipt.logs)
    ]


def trace_body(call: Call) -> dict[str, Any]:
    """A call tree, as the callTracer shows it."""
    body: dict[str, Any] = {
        "type": "CALL",
        "from": data(call.sender),
        "to": data(call.to),
        "value": quantity(call.value),
        "input": data(call.data),
    }
    if call.failed:
        body["error"] = "execution reverted"
    if call.calls:
        body["calls"] = [trace_body(each) for each in call.calls]
    return body


def effective_price(transaction: Any, block: Block) -> int:
    """What was paid per gas (EIP-1559)."""
    base_fee = block.header.base_fee_per_gas
    price: int = min(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas + base_fee)
    return price


def _kind(transaction: Any) -> int:
    kind = getattr(transaction, "type_id", None)
    return kind if isinstance(kind, int) else 0
