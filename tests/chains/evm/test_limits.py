"""RPC endpoints that take only so much at once, or give more than anybody can hold."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.fixtures.nodes import Node
from tests.fixtures.worlds import EvmWorld

from ws402.chains.base import ChainUnavailableError
from ws402.chains.rpc import http

MakeNode = Callable[[str], Node]
LIMIT = 3
TOO_MANY = {"code": -32005, "message": f"a batch may hold {LIMIT} calls"}
MIB = 1024 * 1024


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


def one_error(batch: list[dict[str, Any]], error: dict[str, Any]) -> bytes:
    return as_json({"jsonrpc": "2.0", "id": None, "error": error})


def each_error(batch: list[dict[str, Any]], error: dict[str, Any]) -> bytes:
    return as_json([{"jsonrpc": "2.0", "id": each["id"], "error": error} for each in batch])


REFUSALS: dict[str, Callable[[list[dict[str, Any]]], tuple[int, bytes]]] = {
    "413 without JSON": lambda batch: (413, b"<html>Request Entity Too Large</html>"),
    "400 without JSON": lambda batch: (400, b"Bad Request"),
    "403 without JSON": lambda batch: (403, b"<html>Forbidden</html>"),
    "500 in words": lambda batch: (500, b"the batch size exceeds the limit"),
    "429 about batches": lambda batch: (429, one_error(batch, {"code": 429, "message": "too many calls in a batch"})),
    "one error": lambda batch: (200, one_error(batch, TOO_MANY)),
    "one error of no words": lambda batch: (200, one_error(batch, {"code": -32600, "message": "invalid request"})),
    "one error and 400": lambda batch: (400, one_error(batch, TOO_MANY)),
    "an array of one error": lambda batch: (200, as_json([{"jsonrpc": "2.0", "id": None, "error": TOO_MANY}])),
    "an error for each": lambda batch: (200, each_error(batch, TOO_MANY)),
    "an empty array": lambda batch: (200, b"[]"),
}


def large(batch: list[dict[str, Any]]) -> bool:
    return len(batch) > LIMIT


@pytest.mark.parametrize("how", REFUSALS)
async def test_a_refused_batch_is_split_in_whatever_way_it_is_refused(
    fresh_world: EvmWorld, make_node: MakeNode, how: str
) -> None:
    node = make_node(fresh_world.evm.url)
    node.refuse = lambda batch: REFUSALS[how](batch) if large(batch) else None
    async with fresh_world.over(node.url) as chain:
        fresh_world.advance(20)
        head = await chain.head()
        assert len(await chain.blocks(head.block - 19, head.block)) == 20
        node.batches.clear()
        assert len(await chain.blocks(head.block - 19, head.block)) == 20
        assert max(node.batches) <= LIMIT, "the limit is known from now on"


@pytest.mark.parametrize("rest", ["an error", "nothing"])
async def test_the_answered_part_of_a_batch_counts_and_the_rest_is_asked_again(
    fresh_world: EvmWorld, make_node: MakeNode, rest: str
) -> None:
    node = make_node(fresh_world.evm.url)

    def some(batch: list[dict[str, Any]]) -> tuple[int, bytes] | None:
        if not large(batch):
            return None
        _, answered = node.respond(as_json(batch[:LIMIT]))
        error = {"code": -32003, "message": "response too large"}
        more = [{"jsonrpc": "2.0", "id": each["id"], "error": error} for each in batch[LIMIT:]]
        return 200, as_json(json.loads(answered) + (more if rest == "an error" else []))

    node.refuse = some
    async with fresh_world.over(node.url) as chain:
        fresh_world.advance(20)
        head = await chain.head()
        blocks = await chain.blocks(head.block - 19, head.block)
        assert [each.block for each in blocks] == list(range(head.block - 19, head.block + 1))


async def test_an_endpoint_that_is_asked_too_fast_is_not_asked_more_often_still(
    fresh_world: EvmWorld, make_node: MakeNode
) -> None:
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url) as chain:
        fresh_world.advance(20)
        head = await chain.head()
        node.refuse = lambda batch: (200, one_error(batch, {"code": -32005, "message": "rate limit exceeded"}))
        node.batches.clear()
        with pytest.raises(ChainUnavailableError, match="rate limit exceeded"):
            await chain.blocks(head.block - 19, head.block)
        assert len(node.batches) == 1


async def test_a_call_that_fails_by_itself_teaches_no_limit(fresh_world: EvmWorld, make_node: MakeNode) -> None:
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url) as chain:
        fresh_world.advance(20)
        head = await chain.head()
        node.errors["eth_getBlockByNumber"] = {"code": -32603, "message": "internal error"}
        with pytest.raises(ChainUnavailableError, match="internal error"):
            await chain.blocks(head.block - 19, head.block)
        node.errors.clear()
        node.batches.clear()
        await chain.blocks(head.block - 19, head.block)
        assert max(node.batches) == 10


async def test_a45_an_answer_without_end_is_not_read_to_its_end(
    fresh_world: EvmWorld, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", MIB)
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url) as chain:
        node.pack = lambda content: ({}, content + b" " * (2 * MIB))
        with pytest.raises(ChainUnavailableError, match="too large"):
            await chain.head()


@pytest.mark.parametrize(
    ("pack", "told"),
    [
        (lambda content: ({"content-encoding": "gzip"}, gzip.compress(content + b" " * (2 * MIB))), "too large"),
        (lambda content: ({"content-encoding": "gzip"}, b"no gzip"), "cannot be unpacked"),
        (lambda content: ({"content-encoding": "br"}, content), "cannot be unpacked"),
    ],
    ids=["2 MiB in 2 KiB", "not packed", "another way"],
)
async def test_a45_a_packed_answer_is_bounded_by_what_it_unpacks_to(
    fresh_world: EvmWorld, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch, pack: Any, told: str
) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", MIB)
    node = make_node(fresh_world.evm.url)
    node.pack = lambda content: ({"content-encoding": "gzip"}, gzip.compress(content))
    async with fresh_world.over(node.url) as chain:
        assert (await chain.head()).block > 0
        node.pack = pack
        with pytest.raises(ChainUnavailableError, match=told):
            await chain.head()


async def test_a_batch_whose_answers_are_too_large_is_asked_in_parts(
    fresh_world: EvmWorld, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 8 * 1024)
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url) as chain:
        fresh_world.advance(20)
        head = await chain.head()
        assert len(await chain.blocks(head.block - 19, head.block)) == 20


async def test_a46_an_access_key_that_an_endpoint_quotes_is_not_told_further(
    fresh_world: EvmWorld, make_node: MakeNode
) -> None:
    node = make_node(fresh_world.evm.url)
    node.errors["*"] = {"code": -32001, "message": "the key secret-access-key has run out"}
    with pytest.raises(ChainUnavailableError, match=r"the key \*\*\* has run out"):
        async with fresh_world.over(node.url):
            pass
