"""What a server or a node answers is bounded in bytes, in time and in kind: a payer's machine is not theirs to fill."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from tests.client.conftest import MakeWallet
from tests.client.raw import Parts, RawServer, endless, trickling, whole
from tests.client.scripted import RECIPIENT, ScriptedServer

from ws402.client import NodeUnavailableError, OfferError, SolanaWallet, WalletError, ask_offer
from ws402.client import rpc as rpc_module
from ws402.client.offers import fetch
from ws402.errors import UnavailableError

KEY = "0x" + "11" * 32
DEEP = b"[" * 200 + b"]" * 200
DEEP_OBJECT = b'{"a":' * 100 + b"1" + b"}" * 100
BOMB = gzip.compress(b" " * (64 * 1024 * 1024))
MIB = 1024 * 1024


@pytest.mark.parametrize(("parts", "head"), [(endless, ()), (whole(BOMB), ("Content-Encoding: gzip",))])
async def test_a47_a_schema_without_end_is_not_read_to_its_end(parts: Parts, head: tuple[str, ...]) -> None:
    async with RawServer(parts, *head) as server:
        with pytest.raises(OfferError, match="larger than 1024 KiB"):
            await ask_offer(f"{server.url}/#ticker")
        assert server.sent < 16 * MIB, "what the network holds, not what the server has"


async def test_a47_a_schema_that_trickles_in_has_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "CALL_SECONDS", 0.3)
    async with RawServer(trickling) as server:
        with pytest.raises(UnavailableError, match="not answered in full within"):
            await ask_offer(f"{server.url}/#ticker")


async def test_a_compressed_schema_is_read() -> None:
    async with ScriptedServer() as scripted:
        body = gzip.compress(json.dumps(scripted.schema(300)).encode())
    async with RawServer(whole(body), "Content-Encoding: gzip") as server:
        assert (await ask_offer(f"{server.url}/#ticker")).recipient == RECIPIENT


@pytest.mark.parametrize(
    "body", [DEEP, b'{"a":' * 100 + b"1" + b"}" * 100, b"[1, 2]", b'"ws402"', b"9" * 5000, b"\xff", b""]
)
@pytest.mark.parametrize("path", ["/#ticker", "/"])
async def test_a47_json_that_no_reader_should_follow_is_refused(body: bytes, path: str) -> None:
    """The schema of a resource, and the list of resources."""
    async with RawServer(whole(body)) as server:
        with pytest.raises(OfferError, match=r"cannot be read|does not list"):
            await ask_offer(server.url + path)


@pytest.mark.parametrize(
    "change",
    [
        {"expiresAt": 2**70},
        {"expiresAt": -1},
        {"amountETH": "1" * 5000},
        {"amount": "9" * 5000},
        {"amount": 10**77 * 9},
        {"chainId": "84532"},
    ],
)
async def test_a47_numbers_that_nothing_can_count_are_refused(scripted: ScriptedServer, change: dict[str, Any]) -> None:
    scripted.change = lambda schema: schema["paymentDetails"].update(change)
    with pytest.raises(OfferError):
        await ask_offer(f"{scripted.url}/#ticker")


@pytest.mark.parametrize(("parts", "head"), [(endless, ()), (whole(BOMB), ("Content-Encoding: gzip",))])
async def test_a_nodes_answer_without_end_is_not_read_to_its_end(
    make_wallet: MakeWallet, parts: Parts, head: tuple[str, ...]
) -> None:
    async with RawServer(parts, *head) as server:
        with pytest.raises(NodeUnavailableError, match="larger than 1024 KiB"):
            await make_wallet(server.url, KEY).chain()
        assert server.sent < 4 * 16 * MIB


async def test_a_node_that_trickles_has_one_deadline_for_all_tries(
    make_wallet: MakeWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_module, "CALL_SECONDS", 0.4)
    async with RawServer(trickling) as server:
        with pytest.raises(NodeUnavailableError, match="no whole answer"):
            await make_wallet(server.url, KEY, timeout=0.3).chain()


@pytest.mark.parametrize("body", [DEEP, b'{"result":' + DEEP + b"}", b"[]", b'{"error": 7}', b""])
async def test_a_node_that_speaks_no_json_rpc_is_told(make_wallet: MakeWallet, body: bytes) -> None:
    async with RawServer(whole(body)) as server:
        with pytest.raises(NodeUnavailableError, match="no JSON-RPC"):
            await make_wallet(server.url, KEY).chain()


@pytest.mark.parametrize("result", [None, 7, "", "0x", "0x" + "f" * 65, "-0x1", [], {}, {"status": 1}, "one"])
async def test_a_nodes_answer_of_another_kind_is_told_and_never_trusted(make_wallet: MakeWallet, result: Any) -> None:
    async with RawServer(whole(json.dumps({"id": 1, "result": result}).encode())) as server:
        wallet = make_wallet(server.url, KEY)
        with pytest.raises(WalletError, match=r"no number|cannot be read"):
            await wallet.balance()
        solana = SolanaWallet(server.url, bytes([7] * 32))
        try:
            with pytest.raises(WalletError, match="cannot be read"):
                await solana.balance()
        finally:
            await solana.close()
        if result is None:
            assert await wallet.received("0x" + "ab" * 32, wallet.address, 1, None) is False
        else:
            with pytest.raises(WalletError, match=r"no number|cannot be read"):
                await wallet.received("0x" + "ab" * 32, wallet.address, 1, None)
