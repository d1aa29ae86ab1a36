"""eth_getLogs."""

from __future__ import annotations

from typing import Any

from ws402.devchain.evm.engine import Engine
from ws402.devchain.evm.parameters import address, block_number, hex_data
from ws402.devchain.evm.shapes import log_bodies
from ws402.devchain.jsonrpc import RpcError, invalid


def logs_between(engine: Engine, query: object) -> list[dict[str, Any]]:
    """The logs that a filter object asks for, in order. Raises RpcError."""
    if not isinstance(query, dict):
        raise invalid("missing filter object")
    addresses = _addresses(query.get("address"))
    topics = _topics(query.get("topics"))
    blocks = _range(engine, query)
    return [
        log
        for number in blocks
        for index, mined in enumerate(engine.blocks[number].mined)
        if mined.receipt.logs
        for log in log_bodies(engine.blocks[number], index)
        if (addresses is None or log["address"] in addresses) and _matches(log["topics"], topics)
    ]


def _range(engine: Engine, query: dict[str, Any]) -> range:
    if block_hash := query.get("blockHash"):
        block = engine.block_by_hash(hex_data(block_hash, size=32))
        if block is None:
            raise RpcError("unknown block")
        return range(block.number, block.number + 1)
    head = engine.head.number
    first = block_number(query.get("fromBlock", "latest"), head=head, final=engine.final)
    last = block_number(query.get("toBlock", "latest"), head=head, final=engine.final)
    if first > last:
        raise invalid("invalid block range params")
    return range(first, min(last, head) + 1)


def _addresses(value: object) -> set[str] | None:
    if value is None or value == []:
        return None
    return {"0x" + address(each).hex() for each in (value if isinstance(value, list) else [value])}


def _topics(value: object) -> list[set[str] | None]:
    """For each position the accepted words, or None for any."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > 4:
        raise invalid("topics must be a list of at most 4")
    accepted: list[set[str] | None] = []
    for each in value:
        words = each if isinstance(each, list) else [] if each is None else [each]
        accepted.append({"0x" + hex_data(word, size=32).hex() for word in words} or None)
    return accepted


def _matches(topics: list[str], accepted: list[set[str] | None]) -> bool:
    return len(topics) >= len(accepted) and all(
        words is None or topic in words for topic, words in zip(topics, accepted, strict=False)
    )
