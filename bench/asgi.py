"""The baseline: the same session over an ASGI WebSocket of plain uvicorn, as one would write it: tasks for each socket,
its own timer for updates and checkpoints, `receive` and `send` through the framework.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec
import uvicorn

from ws402.money import parse_amount, wire_amount
from ws402.prices import by_second
from ws402.protocol import (
    Checkpoint,
    EndReason,
    HttpAccessGranted,
    PaymentProofMessage,
    SessionStarted,
    SettleRequest,
    UsageUpdate,
    VerifyRequest,
    VerifyResponse,
    encode,
)
from ws402.provider.base import PaymentProvider
from ws402.server.clock import monotonic_ms
from ws402.server.sessions.meter import Meter
from ws402.settings import ServerSettings


class AsgiServer:
    """Opens, meters, checkpoints and settles; knows no limits, resumes, top-ups or resources."""

    def __init__(self, settings: ServerSettings, provider: PaymentProvider) -> None:
        self.settings = settings
        self.provider = provider
        self.live = 0
        self._server: uvicorn.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    async def serve(self, *, started: Callable[[], None]) -> None:
        await self.provider.start()
        config = uvicorn.Config(
            self, port=0, ws="websockets-sansio", ws_per_message_deflate=False, lifespan="off", log_config=None,
            access_log=False, backlog=4096, ws_ping_interval=self.settings.ping_seconds,
        )  # fmt: skip
        server = self._server = uvicorn.Server(config)

        async def tell() -> None:
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            started()

        telling = asyncio.create_task(tell())
        await server.serve()
        await telling
        await self.provider.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        query = parse_qs(scope["query_string"].decode())
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            if json.loads(message["text"]).get("type") == "payment_proof":
                break
        proof = msgspec.json.decode(message["text"], type=PaymentProofMessage)
        answer = await self.provider.verify(
            VerifyRequest(proof=proof.proof, resource_id=query["resourceId"][0], server_id="asgi")
        )
        if not answer.valid or answer.session_id is None:
            await send({"type": "websocket.close", "code": 1008})
            return
        meter = Meter(
            paid=parse_amount(answer.amount),
            price=by_second(parse_amount(answer.price_per_second)),
            now=monotonic_ms(),
            limit_ms=self.settings.max_session_duration * 1000,
        )
        session = _Session(answer, meter, send)
        self.live += 1
        await session.started(self.settings)
        updates = asyncio.create_task(session.update(self.settings.update_interval / 1000))
        checkpoints = asyncio.create_task(session.checkpoint(self.provider, self.settings.checkpoint_seconds))
        while (message := await receive())["type"] != "websocket.disconnect":
            session.count(message.get("text") or message.get("bytes"))
        for task in (updates, checkpoints):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.live -= 1
        await self.provider.settle(session.settlement())


class _Session:
    def __init__(self, answer: VerifyResponse, meter: Meter, send: Any) -> None:
        self.id = answer.session_id or ""
        self.epoch = answer.epoch or 0
        self.token = answer.resume_token
        self.meter = meter
        self.send = send
        self.bytes = 0
        self.messages = 0

    async def text(self, message: msgspec.Struct) -> None:
        await self.send({"type": "websocket.send", "text": encode(message).decode()})

    async def started(self, settings: ServerSettings) -> None:
        meter = self.meter
        await self.text(
            SessionStarted(
                session_id=self.id,
                balance=wire_amount(meter.paid),
                price_per_second=wire_amount(meter.price.per_second),
                resume_token=self.token,
                max_session_duration=settings.max_session_duration,
            )
        )
        await self.text(HttpAccessGranted(http_token="x" * 43, resource_url="http://127.0.0.1/api/resource/quiet"))

    def count(self, message: str | bytes) -> None:
        self.messages += 1
        self.bytes += len(message)

    async def update(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            now = monotonic_ms()
            await self.text(
                UsageUpdate(
                    session_id=self.id,
                    elapsed_seconds=self.meter.elapsed_ms(now) // 1000,
                    consumed_amount=wire_amount(self.meter.consumed(now)),
                    remaining_balance=wire_amount(self.meter.remaining(now)),
                    bytes_transferred=self.bytes,
                    message_count=self.messages,
                )
            )

    async def checkpoint(self, provider: PaymentProvider, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await provider.checkpoint(self._usage())

    def settlement(self) -> SettleRequest:
        usage = self._usage()
        return SettleRequest(
            session_id=usage.session_id,
            epoch=usage.epoch,
            elapsed_ms=self.meter.stop(monotonic_ms()),
            bytes_transferred=usage.bytes_transferred,
            message_count=usage.message_count,
            reason=EndReason.CLIENT_CLOSED,
        )

    def _usage(self) -> Checkpoint:
        return Checkpoint(
            session_id=self.id,
            epoch=self.epoch,
            elapsed_ms=self.meter.elapsed_ms(monotonic_ms()),
            bytes_transferred=self.bytes,
            message_count=self.messages,
        )
