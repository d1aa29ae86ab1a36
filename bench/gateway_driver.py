"""The load driver of `bench.gateway`: one connection a worker, kept alive; requests and answers as raw HTTP/1.1.

    python -m bench.gateway_driver URL KEY KIND COUNT IN_FLIGHT BATCH [PROOFS]

Runs COUNT operations of a kind, or whole sessions, in calls of BATCH (1: the stock endpoints), checks every answer, and
prints the wall time. `seed` makes invoices and writes PROOFS, a file of proofs to verify; `verify` in batches leaves
the sessions that it opened beside it, for `checkpoint` and `settle`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

TRACED = float(os.environ.get("BENCH_TRACED", "0"))
"""The share of a batch's operations that come with a sampled trace, as from servers that sample."""

AMOUNT = 3 * 10**14
GENERATE = {"amount": AMOUNT, "resourceId": "film", "estimatedDuration": 300}
OUR_GENERATE = GENERATE | {"pricePerSecond": 10**12}
CHECKPOINTS = 3
"""Of a whole session of ours: one every 5 s of 15."""

Call = Callable[[str, Any], Awaitable[Any]]
Unit = Callable[[Call], Awaitable[None]]


class Load:
    """What workers do, unit by unit."""

    def __init__(self, proofs: str) -> None:
        self.proofs = proofs
        self.sessions: list[dict[str, Any]] = []
        self.made: list[dict[str, Any]] = []

    def units(self, kind: str, count: int, batch: int) -> Iterator[Unit]:
        """The work of COUNT operations or sessions."""
        items: list[Any] = [None] * count
        if kind in ("checkpoint", "settle"):
            items = msgspec.json.decode(self._sessions.read_bytes())[:count]
        elif kind not in ("seed", "generate", "wait"):
            items = msgspec.json.decode(Path(self.proofs).read_bytes())[:count]
        assert len(items) == count, f"{len(items)} of {count} are there"
        work = getattr(self, kind.replace("-", "_"))
        for start in range(0, count, batch):
            yield lambda call, part=items[start : start + batch]: work(call, part)  # type: ignore[misc]

    @property
    def _sessions(self) -> Path:
        return Path(f"{self.proofs}.sessions")

    def keep(self) -> None:
        """Leave what was made for the next kind of operation."""
        if self.made:
            Path(self.proofs).write_bytes(msgspec.json.encode(self.made))
        if self.sessions:
            self._sessions.write_bytes(msgspec.json.encode(self.sessions))

    async def seed(self, call: Call, items: Sequence[Any]) -> None:
        """Invoices, and proofs of transfers that the bench then puts into the ledger."""
        for details in await operations(call, "generate", [OUR_GENERATE] * len(items)):
            proof = {"reference": details["reference"], "txHash": "0x" + secrets.token_hex(32)}
            self.made.append(proof | {"senderAddress": "0x" + secrets.token_hex(20)})

    async def generate(self, call: Call, items: Sequence[Any]) -> None:
        if len(items) == 1:
            answer = await call("/api/payment/generate", GENERATE)
            assert answer["resourceId"] == "film", answer  # the baseline echoes it
            return
        await operations(call, "generate", [GENERATE] * len(items))

    async def verify(self, call: Call, items: Sequence[Any]) -> None:
        if len(items) == 1:
            answer = await call("/api/payment/verify", {"proof": items[0]})
            assert answer["valid"], answer
            return
        bodies = [{"proof": each, "serverId": "bench"} for each in items]
        await self._open(await operations(call, "verify", bodies))

    async def _open(self, answers: Sequence[Any]) -> list[dict[str, Any]]:
        assert all(each["valid"] for each in answers), answers
        opened = [{"sessionId": each["sessionId"], "epoch": each["epoch"]} for each in answers]
        self.sessions += opened
        return opened

    async def refund(self, call: Call, items: Sequence[Any]) -> None:
        for proof in items:
            answer = await call("/api/payment/refund", {"proof": proof, "amount": AMOUNT // 2})
            assert answer["status"] == "success", answer

    async def checkpoint(self, call: Call, items: Sequence[Any], seconds: int = 1) -> None:
        answers = await operations(call, "checkpoint", [each | usage(seconds) for each in items])
        assert all(each["live"] for each in answers), answers

    async def settle(self, call: Call, items: Sequence[Any]) -> None:
        bodies = [each | usage(2) | {"reason": "client_closed"} for each in items]
        answers = await operations(call, "settle", bodies)
        assert all(each["refundId"] for each in answers), answers

    async def stock_session(self, call: Call, items: Sequence[Any]) -> None:
        """As existing servers drive it: three calls, one after the other."""
        for item in items:
            await self.generate(call, [item])
            await self.verify(call, [item])
            await self.refund(call, [item])

    async def our_session(self, call: Call, items: Sequence[Any]) -> None:
        """As our servers drive many: batches, verifications with idempotency keys."""
        await operations(call, "generate", [OUR_GENERATE] * len(items))
        bodies = [{"proof": each, "serverId": "bench"} for each in items]
        opened = await self._open(await operations(call, "verify", bodies, keyed=True))
        for second in range(CHECKPOINTS):
            await self.checkpoint(call, opened, second)
        await self.settle(call, opened)

    async def wait(self, call: Call, items: Sequence[Any]) -> None:
        """A proof whose transaction is on no chain: waited for, and refused at last."""
        for _ in items:
            invoice = await call("/api/payment/generate", GENERATE)
            proof = {"reference": invoice["reference"], "txHash": "0x" + secrets.token_hex(32)}
            proof["senderAddress"] = "0x" + secrets.token_hex(20)
            answer = await call("/api/payment/verify", {"proof": proof})
            assert not answer["valid"], answer


def usage(seconds: int) -> dict[str, int]:
    """What a server reports."""
    return {"elapsedMs": seconds * 1000, "bytesTransferred": 4096 * seconds, "messageCount": seconds}


async def operations(call: Call, kind: str, bodies: Sequence[Any], *, keyed: bool = False) -> list[Any]:
    """One batch; its answers."""
    ops: list[dict[str, Any]] = [{"op": kind, "body": each} for each in bodies]
    for op in ops:
        if keyed:
            op["key"] = secrets.token_hex(16)
        if random.random() < TRACED:
            op["traceparent"] = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    answers = []
    for each in (await call("/api/ops", {"ops": ops}))["results"]:
        assert "error" not in each, each
        answers.append(each["ok"])
    return answers


async def worker(host: str, port: int, key: str, work: Iterator[Unit]) -> None:
    reader, writer = await asyncio.open_connection(host, port)

    async def call(path: str, body: Any) -> Any:
        content = msgspec.json.encode(body)
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        content = await reader.readexactly(length)
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")), (answer, content)
        return msgspec.json.decode(content)

    for unit in work:
        await unit(call)
    writer.close()


async def main(url: str, key: str, kind: str, count: int, in_flight: int, batch: int, proofs: str) -> None:
    parts = urlsplit(url)
    load = Load(proofs)
    work = iter(list(load.units(kind, count, batch)))
    began = time.perf_counter()
    await asyncio.gather(*(worker(parts.hostname or "", parts.port or 80, key, work) for _ in range(in_flight)))
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
    load.keep()


if __name__ == "__main__":
    url, key, kind, count, in_flight, batch, *rest = sys.argv[1:]
    asyncio.run(main(url, key, kind, int(count), int(in_flight), int(batch), rest[0] if rest else ""))
