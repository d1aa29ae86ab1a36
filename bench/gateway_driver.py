"""The load driver of `bench.gateway`: one connection a worker, kept alive; requests and answers as raw HTTP/1.1.

    python -m bench.gateway_driver URL KEY KIND COUNT IN_FLIGHT BATCH [PROOFS]

Sends COUNT operations in calls of BATCH (1: the stock endpoints), checks every answer, and prints the wall time.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

TRACED = float(os.environ.get("BENCH_TRACED", "0"))
"""The share of a batch's operations that come with a sampled trace, as from servers that sample."""

GENERATE = {"amount": 3 * 10**14, "resourceId": "film", "estimatedDuration": 300}


def bodies(kind: str, count: int, batch: int, proofs: str | None) -> Iterator[tuple[str, bytes]]:
    if kind == "verify":
        with open(proofs or "", "rb") as file:
            requests = [{"proof": proof} for proof in msgspec.json.decode(file.read())[:count]]
    else:
        requests = [GENERATE] * count
    assert len(requests) == count
    if batch == 1:
        for request in requests:
            yield f"/api/payment/{kind}", msgspec.json.encode(request)
        return
    for start in range(0, count, batch):
        part = requests[start : start + batch]
        if kind == "verify":
            part = [request | {"serverId": "bench"} for request in part]
        ops: list[dict[str, Any]] = [{"op": kind, "body": each} for each in part]
        for op in ops:
            if random.random() < TRACED:
                op["traceparent"] = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        yield "/api/ops", msgspec.json.encode({"ops": ops})


async def worker(host: str, port: int, key: str, work: Iterator[tuple[str, bytes]]) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    good = 0
    for path, body in work:
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        content = await reader.readexactly(length)
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")), (answer, content)
        good += content.count(b'"valid":true') or content.count(b'"reference":') or content.count(b'"resourceId":')
        assert b'"error":' not in content, content
    writer.close()
    return good


async def main(url: str, key: str, kind: str, count: int, in_flight: int, batch: int, proofs: str | None) -> None:
    parts = urlsplit(url)
    work = iter(list(bodies(kind, count, batch, proofs)))
    began = time.perf_counter()
    workers = [worker(parts.hostname or "", parts.port or 80, key, work) for _ in range(in_flight)]
    good = sum(await asyncio.gather(*workers))
    assert good == count, f"{good} of {count} operations succeeded"
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    url, key, kind, count, in_flight, batch, *rest = sys.argv[1:]
    asyncio.run(main(url, key, kind, int(count), int(in_flight), int(batch), rest[0] if rest else None))
