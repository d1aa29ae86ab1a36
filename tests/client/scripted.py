"""A server by the text of the wire alone, that does what a test tells it: also what no honest server does."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from solders.keypair import Keypair
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from ws402.money import to_decimal

PRICE = 10**13
RECIPIENT = "0x" + "0a" * 20
SOLANA_RECIPIENT = str(Keypair.from_seed(bytes([7] * 32)).pubkey())
END_SESSION = '{"type":"end_session"}'
Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One socket, as a script sees it."""

    def __init__(self, server: ScriptedServer, socket: ServerConnection) -> None:
        self.server = server
        self.socket = socket
        self.hello: dict[str, Any] = {}

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def receive(self) -> dict[str, Any]:
        message = json.loads(await self.socket.recv())
        assert isinstance(message, dict)
        return message

    async def start(self, **more: Any) -> None:
        """Accept whatever the hello was."""
        await self.send("session_started", **self.server.started | more)

    async def usage(self, seconds: int, consumed: int | None = None) -> None:
        used = seconds * int(self.server.started["pricePerSecond"]) if consumed is None else consumed
        paid = self.server.started["balance"]
        await self.send(
            "usage_update",
            sessionId="s-1",
            elapsedSeconds=seconds,
            consumedAmount=used,
            remainingBalance=paid - used,
            bytesTransferred=0,
            messageCount=0,
        )

    async def stay(self) -> None:
        """Until the client leaves, or ends the session."""
        with suppress(ConnectionClosed):
            while True:
                self.server.heard.append(await self.socket.recv())
                if self.server.heard[-1] == END_SESSION:
                    await self.socket.close(1000)


async def honest(peer: Peer) -> None:
    """A stock server's session: started, and then nothing but a message of the resource."""
    await peer.start()
    await peer.socket.send("hello")
    await peer.stay()


class ScriptedServer:
    """`change` edits the schema, `script` plays the session, `http` answers other paths."""

    def __init__(self) -> None:
        self.script: Script = honest
        self.change: Callable[[dict[str, Any]], None] = lambda schema: None
        self.http: dict[str, list[tuple[int, Any]]] = {}
        self.refusals: list[int] = []
        """HTTP statuses for the next sockets; the last one stays until the list is emptied."""
        self.hello_seconds = 30.0
        """A socket that says nothing for so long is closed, as servers do."""
        self.alone = asyncio.Event()
        """Nobody is connected any more."""
        self.idle = asyncio.Event()
        """A socket was closed for that."""
        self.schemas = 0
        self.asked: list[str] = []
        self.hellos: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.heard: list[str | bytes] = []
        self.references: list[str] = []
        self.started: dict[str, Any] = {"sessionId": "s-1", "balance": 60 * PRICE, "pricePerSecond": PRICE}
        self.url = ""
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(self._session, "127.0.0.1", 0, process_request=self._request, ping_interval=None)
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def schema(self, duration: int) -> dict[str, Any]:
        """An honest schema of a stock server and gateway; nothing in it is marked (+)."""
        reference = f"reference-{self.schemas:026d}"
        self.references.append(reference)
        return {
            "protocol": "ws402",
            "version": "0.1.0",
            "resourceId": "ticker",
            "websocketEndpoint": self.url.replace("http", "ws", 1),
            "pricing": {
                "pricePerSecond": PRICE,
                "currency": "ETH",
                "estimatedDuration": duration,
                "totalPrice": PRICE * duration,
            },
            "paymentDetails": {
                "type": "base",
                "network": "base-sepolia",
                "chainId": 84532,
                "recipient": RECIPIENT,
                "amount": PRICE * duration,
                "amountWei": PRICE * duration,
                "amountETH": f"{PRICE * duration / 10**18:.6f}",
                "currency": "ETH",
                "reference": reference,
                "expiresAt": int(time.time() * 1000) + 900_000,
                "instructions": {"step1": "Pay."},
            },
            "maxSessionDuration": 3600,
        }

    def tagged(self, schema: dict[str, Any]) -> None:
        """Add what our gateway adds."""
        details = schema["paymentDetails"]
        tag = "0x" + sha256(details["reference"].encode()).hexdigest()
        details["data"] = tag
        details["eip681"] = f"ethereum:{RECIPIENT}@84532?value={details['amount']}&data={tag}"
        details["binding"] = ["tag", "signature", "legacy"]

    def solana(self, schema: dict[str, Any], recipient: str = SOLANA_RECIPIENT) -> None:
        """Ask for SOL instead, a lamport for each 10^6 wei; the reference is a fresh key."""
        lamports = schema["paymentDetails"]["amount"] // 10**6
        self.references[-1] = reference = str(Keypair().pubkey())
        coins = to_decimal(lamports, 9)
        schema["pricing"].update(pricePerSecond=PRICE // 10**6, currency="SOL", totalPrice=lamports)
        schema["paymentDetails"] = {
            "type": "solana",
            "network": "solana-localnet",
            "recipient": recipient,
            "amount": lamports,
            "amountSOL": coins,
            "currency": "SOL",
            "reference": reference,
            "solanaPayURL": f"solana:{recipient}?amount={coins}&reference={reference}&label=WS402&message=A%20ticker",
            "qrCode": "",
            "expiresAt": int(time.time() * 1000) + 900_000,
            "instructions": {"step1": "Pay."},
            "claimToken": "claim",
        }
        self.started.update(balance=lamports, pricePerSecond=PRICE // 10**6)

    async def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            if self.refusals:
                return _json(self.refusals.pop(0) if len(self.refusals) > 1 else self.refusals[0], {})
            return None
        self.asked.append(request.path)
        url = urlsplit(request.path)
        if answers := self.http.get(url.path):
            status, body = answers.pop(0) if len(answers) > 1 else answers[0]
            return _json(status, body)
        if not url.path.startswith("/ws402/schema/"):
            return _json(404, {"error": "Not Found", "message": "There is nothing at this path."})
        self.schemas += 1
        schema = self.schema(int(parse_qs(url.query).get("duration", ["300"])[0]))
        self.change(schema)
        return _json(200, copy.deepcopy(schema))

    async def _session(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.paths.append(socket.request.path)
        peer = Peer(self, socket)
        self.alone.clear()
        try:
            await self._speak(peer)
        finally:
            self.alone.set()

    async def _speak(self, peer: Peer) -> None:
        socket = peer.socket
        with suppress(ConnectionClosed):
            try:
                async with asyncio.timeout(self.hello_seconds):
                    while peer.hello.get("type") not in ("payment_proof", "resume"):
                        peer.hello = await peer.receive()
            except TimeoutError:
                await socket.close(1008, "no payment proof arrived in time")
                self.idle.set()
                return
            self.hellos.append(peer.hello)
            await self.script(peer)


def _json(status: int, body: Any) -> Response:
    content = json.dumps(body).encode()
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close"})
    return Response(status, HTTPStatus(status).phrase, headers, content)
