"""Subscriptions over WebSocket: signatures, slots, roots, accounts and logs, as Agave's PubSub has them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from ws402.devchain.jsonrpc import METHOD_NOT_FOUND, RpcError, invalid, refusal
from ws402.devchain.solana.rpc import Rpc
from ws402.devchain.solana.watches import WATCHES, Watch


class Connection:
    """One client's WebSocket and its subscriptions."""

    def __init__(self, rpc: Rpc, receive: Any, send: Any) -> None:
        self._rpc = rpc
        self._receive = receive
        self._send = send
        self._watches: dict[int, Watch] = {}
        self._made = 0
        self._changed = asyncio.Event()

    async def serve(self) -> None:
        """Until the client leaves."""
        if (await self._receive())["type"] != "websocket.connect":
            return
        await self._send({"type": "websocket.accept"})
        engine = self._rpc.engine
        engine.listeners.add(self._changed.set)
        telling = asyncio.create_task(self._tell())
        try:
            while (message := await self._receive())["type"] == "websocket.receive":
                await self._say(self._answer(message.get("text") or message.get("bytes") or ""))
        finally:
            engine.listeners.discard(self._changed.set)
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _say(self, body: Any) -> None:
        if body is not None:
            await self._send({"type": "websocket.send", "text": msgspec.json.encode(body).decode()})

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for number, watch in list(self._watches.items()):
                for result in watch.news():
                    params = {"result": result, "subscription": number}
                    await self._say({"jsonrpc": "2.0", "method": f"{watch.name}Notification", "params": params})
                if watch.over:
                    self._watches.pop(number, None)

    def _answer(self, text: str | bytes) -> Any:
        try:
            request = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return refusal(None, self._rpc.parse_error())
        if isinstance(request, list):
            return [self._one(each) for each in request] or None
        return self._one(request)

    def _one(self, request: Any) -> dict[str, Any]:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return refusal(None, self._rpc.malformed())
        identifier = request.get("id")
        try:
            self._rpc.check_version(request)
            result = self._call(request["method"], request.get("params") or [])
        except RpcError as error:
            return refusal(identifier, error)
        return {"jsonrpc": "2.0", "result": result, "id": identifier}

    def _call(self, method: str, params: Any) -> Any:
        name, _, ending = method.partition("Subscribe")
        if method.endswith("Unsubscribe"):
            given = params[0] if isinstance(params, list) and params else None
            if not isinstance(given, int) or self._watches.pop(given, None) is None:
                raise invalid("Invalid subscription id.")
            return True
        if ending or name not in WATCHES or not method.endswith("Subscribe"):
            raise RpcError("Method not found", METHOD_NOT_FOUND)
        if not isinstance(params, list):
            raise invalid("Invalid params: expected a sequence.")
        watch = WATCHES[name](name, self._rpc.engine, params)
        number = self._made
        self._made += 1
        self._watches[number] = watch
        # What is true already is told at once, after the answer to this request.
        self._changed.set()
        return number
