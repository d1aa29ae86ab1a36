"""The load driver, a process of its own: many sockets by raw asyncio, told what to do line by line on its input.

    prepare N   get N invoices
    open        open a session for each, answer when all have started
    stay S      read for S seconds, answer the number of usage updates that came
    close       close all sockets, answer when all are closed

Each answer is one JSON line. Invoices come straight from the gateway, before the measurement.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from functools import partial
from typing import cast

import httpx

from bench.frames import CLOSE, PING, PONG, TEXT, frame, take

AT_ONCE = 64


class Client(asyncio.Protocol):
    def __init__(self, driver: Driver, proof: bytes) -> None:
        self.driver = driver
        self.proof = proof
        self.started = asyncio.get_running_loop().create_future()
        self.gone = asyncio.get_running_loop().create_future()
        self.upgraded = False
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET /?userId=bench&resourceId=quiet HTTP/1.1\r\nHost: 127.0.0.1:{self.driver.port}\r\n"
            "User-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nCache-Control: no-cache\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if not self.upgraded:
            assert data.startswith(b"HTTP/1.1 101"), data
            self.upgraded = True
            self.transport.write(frame(TEXT, self.proof))
            data = data.partition(b"\r\n\r\n")[2]
        frames, self.rest = take(self.rest + data)
        for opcode, payload in frames:
            if opcode == PING:
                self.transport.write(frame(PONG, payload))
            elif b'"usage_update"' in payload:
                self.driver.updates += 1
            elif not self.started.done():
                self._begin(payload)

    def _begin(self, payload: bytes) -> None:
        if b"session_started" in payload:
            self.started.set_result(None)
        elif b"payment_rejected" in payload:
            self.started.set_exception(RuntimeError(payload.decode(errors="replace")))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.started.done():
            self.started.set_exception(ConnectionError("the server closed before the session started"))
        if not self.gone.done():
            self.gone.set_result(None)


class Driver:
    def __init__(self, port: int, gateway: str, key: str) -> None:
        self.port = port
        self.gateway = gateway
        self.key = key
        self.clients: list[Client] = []
        self.updates = 0

    async def proofs(self, count: int) -> list[bytes]:
        """Invoices from the gateway by batches; a mock gateway takes any transaction as their payment."""
        made: list[bytes] = []
        body = {"amount": 86_400_000, "resourceId": "quiet", "estimatedDuration": 86_400, "pricePerSecond": 1000}
        async with httpx.AsyncClient(timeout=60) as http:
            while len(made) < count:
                ops = [{"op": "generate", "body": body}] * min(200, count - len(made))
                answer = await http.post(
                    f"{self.gateway}/api/ops", json={"ops": ops}, headers={"Authorization": f"Bearer {self.key}"}
                )
                for result in answer.raise_for_status().json()["results"]:
                    proof = {
                        "txHash": "0x" + os.urandom(32).hex(),
                        "reference": result["ok"]["reference"],
                        "senderAddress": "0x" + os.urandom(20).hex(),
                    }
                    made.append(json.dumps({"type": "payment_proof", "proof": proof}).encode())
        return made

    async def open(self, proofs: list[bytes]) -> None:
        loop = asyncio.get_running_loop()
        waiting = iter(proofs)

        async def worker() -> None:
            for proof in waiting:
                _, client = await loop.create_connection(partial(Client, self, proof), "127.0.0.1", self.port)
                await client.started
                self.clients.append(client)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    async def close(self) -> None:
        waiting = iter(self.clients)

        async def worker() -> None:
            for client in waiting:
                client.transport.write(frame(CLOSE, b"\x03\xe8"))
                await client.gone

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        self.clients.clear()


async def main() -> None:
    driver = Driver(int(sys.argv[1]), sys.argv[2], sys.argv[3])
    loop = asyncio.get_running_loop()
    proofs: list[bytes] = []
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command, *rest = line.split()
        answer: dict[str, int] = {}
        if command == "prepare":
            proofs = await driver.proofs(int(rest[0]))
        elif command == "open":
            await driver.open(proofs)
        elif command == "stay":
            driver.updates = 0
            await asyncio.sleep(float(rest[0]))
            answer["updates"] = driver.updates
        elif command == "close":
            await driver.close()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
