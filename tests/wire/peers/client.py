"""The stock client: fetches the schema, pays from a wallet, proves, streams, closes."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlencode, urlsplit

import httpx
from tests.wire.peers.wallet import Wallet
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Mode = Literal["legacy", "strict"]
"""`legacy`: a plain transfer, as a wallet sends it. `strict`: with the `data` of the payment details."""


class StockSession:
    """One socket. Messages that pass the expected one are kept in `seen`."""

    def __init__(self, socket: ClientConnection, resource_id: str, user_id: str) -> None:
        self._socket = socket
        self.resource_id = resource_id
        self.user_id = user_id
        self.seen: list[dict[str, Any]] = []
        self.data: list[str | bytes] = []
        self.balance = 0
        self.session_id = ""

    async def init(self) -> None:
        """Say what is wanted, as stock clients do first; a server may ignore it."""
        await self.send_json({"type": "ws402:init", "resourceId": self.resource_id, "userId": self.user_id})

    async def prove(self, proof: dict[str, Any], *, claim_token: str | None = None) -> None:
        """Show the payment; with the invoice's secret, where nothing in the payment is one."""
        secret = {} if claim_token is None else {"claimToken": claim_token}
        await self.send_json({"type": "payment_proof", "proof": proof, **secret})

    async def start(self, proof: dict[str, Any], *, claim_token: str | None = None) -> dict[str, Any]:
        """Init, proof, and the wait for the session; answers `session_started`."""
        await self.init()
        await self.prove(proof, claim_token=claim_token)
        started = await self.expect("session_started")
        self.balance = int(started["balance"])
        self.session_id = started["sessionId"]
        return started

    async def send_json(self, message: dict[str, Any]) -> None:
        """Send one message."""
        await self._socket.send(json.dumps(message))

    async def send(self, message: str | bytes) -> None:
        """Send something to the resource."""
        await self._socket.send(message)

    async def expect(self, *kinds: str, seconds: float = 30) -> dict[str, Any]:
        """The next message of one of these types; others, and the resource's own, are kept aside."""
        async with asyncio.timeout(seconds):
            while True:
                message = await self._socket.recv()
                decoded = self._decode(message)
                if decoded is None:
                    self.data.append(message)
                    continue
                self.seen.append(decoded)
                if decoded["type"] in kinds:
                    return decoded

    async def closed(self, seconds: float = 30) -> tuple[int, str]:
        """Read to the end; answers the close code and reason."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await self._socket.recv()
                    decoded = self._decode(message)
                    if decoded is None:
                        self.data.append(message)
                    else:
                        self.seen.append(decoded)
        except ConnectionClosed:
            return self._socket.close_code or 1006, self._socket.close_reason or ""

    async def close(self) -> None:
        """Leave; the refund follows on chain."""
        await self._socket.close()

    def drop(self) -> None:
        """Vanish without a closing handshake, as a lost network does."""
        self._socket.transport.abort()

    @staticmethod
    def _decode(message: str | bytes) -> dict[str, Any] | None:
        """A protocol message, or None for what the resource sent."""
        if isinstance(message, bytes):
            return None
        try:
            decoded = json.loads(message)
        except ValueError:
            return None
        return decoded if isinstance(decoded, dict) and isinstance(decoded.get("type"), str) else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._socket.close()


class StockClient:
    """Talks to one WS402 server."""

    def __init__(self, server_url: str, wallet: Wallet, *, mode: Mode = "legacy", user_id: str = "user-1") -> None:
        self.server_url = server_url.rstrip("/")
        self.wallet = wallet
        self.mode: Mode = mode
        self.user_id = user_id
        self._http = httpx.AsyncClient(base_url=self.server_url, timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def schema(self, resource_id: str, duration: int | None = None) -> dict[str, Any]:
        """What the resource costs and how to pay for it."""
        query = {"duration": duration} if duration is not None else {}
        answer = await self._http.get(f"/ws402/schema/{resource_id}", params=query)
        answer.raise_for_status()
        schema = answer.json()
        assert isinstance(schema, dict)
        return schema

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """Any other call of the server's HTTP side."""
        return await self._http.get(path, **options)

    async def pay(
        self, details: dict[str, Any], *, amount: int | None = None, mode: Mode | None = None
    ) -> dict[str, Any]:
        """Pay what the details ask for (or another amount) in the network's coin; answers the proof."""
        data = details["data"] if (mode or self.mode) == "strict" else None
        tx = await self.wallet.send(details["recipient"], int(amount or details["amountWei"]), data)
        await self.wallet.wait(tx)
        return self.proof(details, tx)

    def proof(self, details: dict[str, Any], tx: str) -> dict[str, Any]:
        """The proof of a payment that this wallet sent."""
        return {"txHash": tx, "reference": details["reference"], "senderAddress": self.wallet.address}

    async def open(self, resource_id: str, *, path: str = "/") -> StockSession:
        """Open the socket; nothing is proved yet."""
        scheme = "wss" if self.server_url.startswith("https") else "ws"
        query = urlencode({"userId": self.user_id, "resourceId": resource_id})
        url = f"{scheme}://{urlsplit(self.server_url).netloc}{path}?{query}"
        return StockSession(await connect(url, ping_interval=None), resource_id, self.user_id)

    async def buy(self, resource_id: str, duration: int | None = None) -> StockSession:
        """The whole way: schema, payment, socket, proof. The session is live when this returns."""
        schema = await self.schema(resource_id, duration)
        proof = await self.pay(schema["paymentDetails"])
        session = await self.open(resource_id)
        await session.start(proof)
        return session
