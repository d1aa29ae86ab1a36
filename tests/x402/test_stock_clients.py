"""Unmodified x402 and MPP clients stream by the second over plain HTTP, leave early, and get the rest back to the unit.

`make test-x402` installs them, pinned and by hash, beside our own environment: those from PyPI into one that
WS402_X402_PYTHON names, those from npm into the folder of these tests.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.fixtures.evm import Evm
from tests.fixtures.processes import clean_environment
from tests.gateway.collect.world import AMOUNT, PRICE
from tests.gateway.collect.world import Shop as Chain
from tests.server.web.x402_site import selling

pytestmark = pytest.mark.x402

PIECE = b"x" * 1000

PYTHON = ("httpx", "requests", "pympp")
NODE = ("fetch", "fetch-v1", "mppx")
"""x402 of version 2, of version 1, and MPP."""


@pytest.fixture
def chain(evm: Evm, tmp_path: Path) -> Chain:
    return Chain(evm, f"sqlite:///{tmp_path / 'ledger.db'}")


@pytest.fixture(params=PYTHON + NODE)
def client(request: pytest.FixtureRequest) -> list[str]:
    """The command of each stock client. Skips where they are not installed."""
    kind: str = request.param
    python = os.environ.get("WS402_X402_PYTHON")
    if not python:
        pytest.skip("WS402_X402_PYTHON is not set: run make test-x402")
    here = Path(__file__).parent
    if kind in PYTHON:
        return [python, str(here / "stock.py"), kind]
    return ["node", str(here / "stock.mjs"), kind]


async def stock(client: list[str], url: str, payer: LocalAccount, most: int) -> dict[str, Any]:
    """What a stock client saw."""
    process = await asyncio.create_subprocess_exec(
        *client,
        url,
        "0x" + bytes(payer.key).hex(),
        str(most),
        env=clean_environment({}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    told: dict[str, Any] = json.loads(out)
    return told


@asynccontextmanager
async def endless() -> AsyncIterator[str]:
    """An upstream that never stops sending."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"3e8\r\n" + PIECE + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_stock_client_leaves_early_and_gets_the_rest_back(client: list[str], chain: Chain) -> None:
    payer = await asyncio.to_thread(chain.payer)
    async with (
        endless() as target,
        selling(chain, [{"id": "film", "kind": "http", "target": target, "price_per_second": PRICE}]) as site,
    ):
        told = await stock(client, f"{site.url}/api/resource/film", payer, 5 * len(PIECE))
        assert told["status"] == 200
        assert told["size"] >= 5 * len(PIECE)
        assert told["receipt"]["success"] is True
        session = await site.gateway.refunded(told["receipt"]["extensions"]["ws402"]["info"]["sessionId"])
        assert session.refund is not None
        consumed = int(session.consumed_amount or 0)
        assert 0 < consumed < AMOUNT
        assert consumed + int(session.refund.amount) == AMOUNT
        assert chain.held(payer.address) == 10 * AMOUNT - consumed
        assert await site.gateway.sent() == 1
        await site.gateway.check()


@pytest.mark.parametrize("evm", ["devchain"], indirect=True)
async def test_a_stock_client_gets_a_whole_file(client: list[str], chain: Chain, tmp_path: Path) -> None:
    film = tmp_path / "film.bin"
    film.write_bytes(PIECE * 100)
    payer = await asyncio.to_thread(chain.payer)
    resource = {"id": "film", "kind": "file", "target": str(film), "price_per_second": PRICE}
    async with selling(chain, [resource]) as site:
        told = await stock(client, f"{site.url}/api/resource/film", payer, 0)
        assert (told["status"], told["size"]) == (200, 100 * len(PIECE))
        session = await site.gateway.refunded(told["receipt"]["extensions"]["ws402"]["info"]["sessionId"])
        assert chain.held(payer.address) == 10 * AMOUNT - int(session.consumed_amount or 0)
        await site.gateway.check()
