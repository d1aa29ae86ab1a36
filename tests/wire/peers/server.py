"""The stock server: serves the schema and the socket on one port, meters on its own, refunds by amount at the end."""

from __future__ import annotations

import asyncio
import http
import itertools
import json
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.wire.peers.provider import ProviderError, StockProvider
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


class StockServer:
    """Sells every resource name at one price a second.

    `ends_twice` copies a flaw of the JavaScript server: an error and a close each end the session, so two refunds are
    asked for.
    """

    def __init__(
        self,
        provider: StockProvider,
        *,
        price_per_second: int,
        update_interval: float = 3.0,
        max_session_duration: int = 3600,
        ends_twice: bool = False,
    ) -> None:
        self.provider = provider
        self.price_per_second = price_per_second
        self.update_interval = update_interval
        self.max_session_duration = max_session_duration
        self.ends_twice = ends_twice
        self.refunds: list[dict[str, Any]] = []
        self.refund_errors: list[ProviderError] = []
        self.rejected: list[str] = []
        self._ids = itertools.count(1)
        self._server: Server | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await serve(self._socket, "127.0.0.1", 0, process_request=self._request, ping_interval=None)
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Plain HTTP: the schema. None lets the handshake of a socket go on."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return None
        url = urlsplit(request.path)
        prefix = "/ws402/schema/"
        if not url.path.startswith(prefix):
            return _json(http.HTTPStatus.NOT_FOUND, {"error": "Not Found"})
        resource_id = url.path.removeprefix(prefix)
        duration = int(parse_qs(url.query).get("duration", ["300"])[0])
        try:
            details = await self.provider.generate_payment_details(
                self.price_per_second * duration, resource_id, duration
            )
        except ProviderError as error:
            return _json(
                http.HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "Internal Server Error", "message": str(error)}
            )
        schema = {
            "protocol": "ws402",
            "version": "0.1.0",
            "resourceId": resource_id,
            "websocketEndpoint": self.url.replace("http", "ws", 1),
            "pricing": {
                "pricePerSecond": self.price_per_second,
                "currency": details["currency"],
                "estimatedDuration": duration,
                "totalPrice": self.price_per_second * duration,
            },
            "paymentDetails": details,
            "maxSessionDuration": self.max_session_duration,
        }
        return _json(http.HTTPStatus.OK, schema)

    async def _socket(self, socket: ServerConnection) -> None:
        try:
            async with asyncio.timeout(30):
                proof = await self._proof(socket)
            answer = await self.provider.verify_payment(proof)
        except (TimeoutError, ConnectionClosed):
            await socket.close(1008, "no payment proof")
            return
        except ProviderError:
            await socket.close(1011, "payment verification failed")
            return
        if not answer["valid"]:
            self.rejected.append(answer["reason"])
            await _send(socket, {"type": "payment_rejected", "reason": answer["reason"]})
            await socket.close(1008, "payment rejected")
            return
        await self._session(socket, proof, int(answer["amount"]))

    async def _proof(self, socket: ServerConnection) -> dict[str, Any]:
        while True:
            message = json.loads(await socket.recv())
            if message.get("type") == "payment_proof":
                proof = message["proof"]
                assert isinstance(proof, dict)
                return proof

    async def _session(self, socket: ServerConnection, proof: dict[str, Any], paid: int) -> None:
        began = time.monotonic()
        session_id = f"stock-{next(self._ids)}"
        started = {"sessionId": session_id, "balance": paid, "pricePerSecond": self.price_per_second}
        await _send(socket, {"type": "session_started", **started})
        traffic = {"bytesTransferred": 0, "messageCount": 0}
        ticker = asyncio.create_task(self._ticker(socket, session_id, began, paid, traffic))
        with suppress(ConnectionClosed):
            async for message in socket:
                traffic["bytesTransferred"] += len(message)
                traffic["messageCount"] += 1
        ticker.cancel()
        consumed = min(paid, int((time.monotonic() - began) * self.price_per_second))
        for _ in range(2 if self.ends_twice else 1):
            await self._refund(proof, paid - consumed)

    async def _ticker(
        self, socket: ServerConnection, session_id: str, began: float, paid: int, traffic: dict[str, int]
    ) -> None:
        while True:
            await asyncio.sleep(self.update_interval)
            elapsed = time.monotonic() - began
            consumed = min(paid, int(elapsed * self.price_per_second))
            usage = {"consumedAmount": consumed, "remainingBalance": paid - consumed, **traffic}
            update = {"type": "usage_update", "sessionId": session_id, "elapsedSeconds": int(elapsed), **usage}
            await _send(socket, update)
            if consumed >= paid:
                await _send(socket, {"type": "balance_exhausted", "message": "Balance exhausted"})
                await socket.close(1000)
                return
            if elapsed >= self.max_session_duration:
                await _send(socket, {"type": "max_duration_reached", "message": "Maximum duration reached"})
                await socket.close(1000)
                return

    async def _refund(self, proof: dict[str, Any], amount: int) -> None:
        if amount <= 0:
            return
        try:
            self.refunds.append(await self.provider.issue_refund(proof, amount))
        except ProviderError as error:
            self.refund_errors.append(error)


async def _send(socket: ServerConnection, message: dict[str, Any]) -> None:
    with suppress(ConnectionClosed):
        await socket.send(json.dumps(message))


def _json(status: http.HTTPStatus, body: dict[str, Any]) -> Response:
    content = json.dumps(body).encode()
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close"})
    return Response(status.value, status.phrase, headers, content)
