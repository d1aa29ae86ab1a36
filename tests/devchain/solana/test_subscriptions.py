"""WebSocket subscriptions, on the port that clients derive and on the chain's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from solana.rpc.commitment import Confirmed
from solana.rpc.websocket_api import SolanaWsClient
from solders.keypair import Keypair
from solders.rpc.config import RpcTransactionLogsFilterMentions
from solders.rpc.responses import LogsNotification, SignatureNotification
from tests.fixtures.solana import SOL, Solana, pay

from ws402.devchain.solana import SolanaDevChain


class Line:
    """A WebSocket with answers and notifications."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def ask(self, method: str, *params: Any) -> Any:
        await self._socket.send(json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
        return await self.next()

    async def next(self) -> Any:
        return json.loads(await asyncio.wait_for(self._socket.recv(), 10))


@asynccontextmanager
async def line(url: str) -> AsyncIterator[Line]:
    async with websockets.connect(url) as socket:
        yield Line(socket)


@pytest.fixture
def payer(solana_devchain: SolanaDevChain) -> Keypair:
    return Keypair.from_base58_string(solana_devchain.accounts[0].key)


async def test_a_signature_is_told_once_when_it_reaches_its_commitment(
    solana_devchain: SolanaDevChain, devchain_solana: Solana, payer: Keypair
) -> None:
    chain = solana_devchain
    transaction = devchain_solana.sign([pay(payer, Keypair().pubkey(), SOL)], payer)
    name = str(transaction.signatures[0])
    async with line(chain.ws_url) as early, line(f"ws://{chain.host}:{chain.port}") as final:
        number = (await early.ask("signatureSubscribe", name, {"commitment": "confirmed"}))["result"]
        other = (await final.ask("signatureSubscribe", name, {"enableReceivedNotification": True}))["result"]
        devchain_solana.submit(transaction)
        received = (await final.next())["params"]
        assert (received["subscription"], received["result"]["value"]) == (other, "receivedSignature")
        chain.advance()
        told = await early.next()
        assert told["method"] == "signatureNotification"
        assert (told["params"]["subscription"], told["params"]["result"]["value"]) == (number, {"err": None})
        chain.advance(3)
        assert (await final.next())["params"]["result"]["value"] == {"err": None}
        # It has ended itself.
        assert "error" in await early.ask("signatureUnsubscribe", number)


async def test_a_signature_that_landed_before_is_told_at_once(
    solana_devchain: SolanaDevChain, devchain_solana: Solana, payer: Keypair
) -> None:
    transaction = devchain_solana.sign([pay(payer, Keypair().pubkey(), 2 * 10**7 * SOL)], payer)
    name = devchain_solana.submit(transaction, skipPreflight=True)
    devchain_solana.wait(name)
    async with line(solana_devchain.ws_url) as socket:
        await socket.ask("signatureSubscribe", name, {"commitment": "confirmed"})
        error = {"InstructionError": [0, {"Custom": 1}]}
        assert (await socket.next())["params"]["result"]["value"] == {"err": error}


async def test_slots_roots_accounts_and_logs_are_told_until_unsubscribed(
    solana_devchain: SolanaDevChain, devchain_solana: Solana, payer: Keypair
) -> None:
    chain, payee, reference = solana_devchain, Keypair().pubkey(), Keypair().pubkey()
    async with line(chain.ws_url) as slots, line(chain.ws_url) as accounts, line(chain.ws_url) as logs:
        slot = chain.rpc("getSlot", {"commitment": "processed"})
        number = (await slots.ask("slotSubscribe"))["result"]
        await accounts.ask("accountSubscribe", str(payee), {"commitment": "confirmed", "encoding": "base64"})
        mentions = {"mentions": [str(reference)]}
        await logs.ask("logsSubscribe", mentions, {"commitment": "processed"})
        devchain_solana.submit(devchain_solana.sign([pay(payer, payee, SOL)], payer))
        paid = devchain_solana.submit(devchain_solana.sign([pay(payer, payee, SOL, reference)], payer))
        chain.advance()
        assert (await logs.next())["params"]["result"]["value"]["signature"] == paid
        assert (await accounts.next())["params"]["result"]["value"]["lamports"] == 2 * SOL
        assert (await slots.next())["params"]["result"] == {"slot": slot + 1, "parent": slot, "root": slot - 3}
        assert (await slots.ask("slotUnsubscribe", number))["result"] is True
        await slots.ask("rootSubscribe")
        chain.advance()
        told = await slots.next()
        assert (told["method"], told["params"]["result"]) == ("rootNotification", slot - 2)


async def test_wrong_requests_are_answered_with_errors(solana_devchain: SolanaDevChain) -> None:
    async with line(solana_devchain.ws_url) as socket:
        assert (await socket.ask("getSlot"))["error"] == {"code": -32601, "message": "Method not found"}
        assert (await socket.ask("signatureSubscribe", "x"))["error"]["code"] == -32602
        assert (await socket.ask("signatureSubscribe"))["error"]["code"] == -32602
        assert (await socket.ask("slotUnsubscribe", 99))["error"]["code"] == -32602
        await socket._socket.send("{")
        assert (await socket.next())["error"]["code"] == -32700


async def test_the_solana_client_subscribes(
    solana_devchain: SolanaDevChain, devchain_solana: Solana, payer: Keypair
) -> None:
    chain, payee = solana_devchain, Keypair().pubkey()
    transaction = devchain_solana.sign([pay(payer, payee, SOL)], payer)
    async with SolanaWsClient(chain.ws_url) as client:
        await client.signature_subscribe(signature=transaction.signatures[0], commitment=Confirmed)
        logs = await client.logs_subscribe(filter_=RpcTransactionLogsFilterMentions(payee), commitment=Confirmed)
        devchain_solana.submit(transaction)
        chain.advance()
        told = {type(await asyncio.wait_for(client.recv(), 10)) for _ in range(2)}
        assert told == {SignatureNotification, LogsNotification}
        await client.unsubscribe(logs)
