"""A client for tests of the server: pays at the mock's counter, speaks over a real socket."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ws402.protocol import Proof
from ws402.provider.mock.provider import MockPaymentProvider
from ws402.server import WS402Server


def wire_proof(proof: Proof) -> dict[str, Any]:
    """A proof as clients write it."""
    return {"txHash": proof.tx_hash, "reference": proof.reference, "senderAddress": proof.sender_address}


def any_proof(reference: str) -> dict[str, Any]:
    """A proof that the mock takes as paid by whoever it names."""
    return {"txHash": "0x" + secrets.token_hex(32), "reference": reference, "senderAddress": "0x" + "2b" * 20}


class Peer:
    """One socket. Protocol messages and what the resource sent are kept apart."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []
        self.data: list[str | bytes] = []
        self.started: dict[str, Any] = {}

    @property
    def id(self) -> str:
        return str(self.started["sessionId"])

    async def send(self, message: dict[str, Any] | str | bytes) -> None:
        await self.socket.send(json.dumps(message) if isinstance(message, dict) else message)

    async def prove(self, proof: dict[str, Any], **more: Any) -> None:
        await self.send({"type": "payment_proof", "proof": proof, **more})

    async def expect(self, *kinds: str, seconds: float = 5) -> dict[str, Any]:
        """The next protocol message of one of these types."""
        async with asyncio.timeout(seconds):
            while True:
                message = self._sort(await self.socket.recv())
                if message is not None and message["type"] in kinds:
                    return message

    async def payload(self, seconds: float = 5) -> str | bytes:
        """The next message of the resource."""
        async with asyncio.timeout(seconds):
            while not self.data:
                self._sort(await self.socket.recv())
        return self.data.pop(0)

    async def closed(self, seconds: float = 10) -> tuple[int, str]:
        """Read to the end; the close code and its reason."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self._sort(await self.socket.recv())
        except ConnectionClosed:
            return self.socket.close_code or 1006, self.socket.close_reason or ""

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.seen]

    async def close(self, code: int = 1000) -> None:
        await self.socket.close(code)

    def drop(self) -> None:
        """Vanish without a close frame."""
        self.socket.transport.abort()

    def _sort(self, message: str | bytes) -> dict[str, Any] | None:
        if isinstance(message, str) and message.startswith('{"type":"') and not message.startswith('{"type":"tick"'):
            decoded: dict[str, Any] = json.loads(message)
            self.seen.append(decoded)
            return decoded
        self.data.append(message)
        return None


class Shop:
    """A running server with its provider, seen from outside."""

    def __init__(self, server: WS402Server, provider: MockPaymentProvider) -> None:
        self.server = server
        self.provider = provider
        self.url = f"http://127.0.0.1:{server.port}"
        self.http = httpx.AsyncClient(base_url=self.url, timeout=10)
        self.peers: list[Peer] = []

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.http.get(path, **options)

    async def schema(self, resource: str = "ticker", **query: Any) -> dict[str, Any]:
        answer = await self.get(f"/ws402/schema/{resource}", params=query)
        answer.raise_for_status()
        schema: dict[str, Any] = answer.json()
        return schema

    async def invoice(self, resource: str = "ticker", seconds: int = 60, **query: Any) -> str:
        """The reference of a new invoice."""
        return str((await self.schema(resource, duration=seconds, **query))["paymentDetails"]["reference"])

    async def connect(
        self, resource: str | None = "ticker", *, query: str = "", path: str = "/", **options: Any
    ) -> Peer:
        """A socket that has not paid."""
        address = self.url.replace("http", "ws") + path + "?userId=ann"
        if resource is not None:
            address += f"&resourceId={resource}"
        options = {"ping_interval": None, "compression": None, "max_size": None, **options}
        peer = Peer(await connect(address + query, **options))
        self.peers.append(peer)
        return peer

    async def buy(self, resource: str = "ticker", seconds: int = 60, **options: Any) -> Peer:
        """A live session."""
        reference = await self.invoice(resource, seconds)
        peer = await self.connect(resource, **options)
        await peer.prove(any_proof(reference))
        peer.started = await peer.expect("session_started")
        return peer

    def book(self, peer: Peer) -> Any:
        """What the gateway knows of the session."""
        return self.provider.sessions[peer.id]

    async def ended(self, peer: Peer, seconds: float = 5) -> Any:
        """The session in the gateway's books once it has ended there."""
        return await self.until(
            lambda: self.book(peer) if self.book(peer).state in ("ended", "reversed") else None, seconds
        )

    async def until(self, condition: Any, seconds: float = 5) -> Any:
        """Wait until this is true; answers it."""
        async with asyncio.timeout(seconds):
            while not (found := condition()):
                await asyncio.sleep(0.01)
        return found

    async def close(self) -> None:
        for peer in self.peers:
            peer.drop()
            await peer.socket.wait_closed()
        await self.http.aclose()
