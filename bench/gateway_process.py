"""The measured process of `bench.gateway`: a whole gateway over HTTP, or the baseline. Commands come on stdin.

`seed N FILE` writes N proofs whose transfers stand in the ledger as the watcher records them, so that verification is
measured without a chain that would have to mine them. `mode off|metrics|traced` turns metrics and traces on and off;
`scrape` and `seal` read the metrics and bring the audit log up to date, and tell what that took; `cpu`: all so far.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from litestar import Litestar, post
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from pydantic import SecretStr

from ws402.chains.base import Transfer
from ws402.gateway.ledger.database import now_ms
from ws402.gateway.run.gateway import Gateway, build
from ws402.observability import tracing
from ws402.observability.exporter import Exporter
from ws402.observability.instruments import Counter, Series
from ws402.observability.sql import instrument
from ws402.protocol import GenerateRequest, Proof
from ws402.serving import HttpServer
from ws402.settings import EvmNetworkSettings, GatewaySettings

AMOUNT = 3 * 10**14


@post("/api/payment/generate", sync_to_thread=False)
def echo(data: GenerateRequest) -> GenerateRequest:
    """The least that a Litestar handler can do with a typed JSON body."""
    return data


def settings(database_url: str, rpc: str, key: str) -> GatewaySettings:
    network = EvmNetworkSettings(
        network="base-sepolia",
        chain_id=84532,
        rpc=[SecretStr(rpc)],
        merchant_private_key=SecretStr("0x" + secrets.token_hex(32)),
        poll_seconds=3600,
    )
    return GatewaySettings(
        gateway_port=0,
        database_url=SecretStr(database_url),
        gateway_api_key=[SecretStr(key)],
        evm_networks=[network],
        rate_limit_per_second=1_000_000,
        refund_interval_seconds=3600,
    )


async def seed(gateway: Gateway, count: int, path: str) -> None:
    """Invoices, and transfers that pay them in the newest block."""
    (chain,) = gateway.chains.values()
    head = await chain.head()
    sender = chain.normalize_address("0x" + secrets.token_hex(20))
    proofs, transfers = [], []
    request = GenerateRequest(amount=AMOUNT, resource_id="film", estimated_duration=300)
    for _ in range(count // 100):
        for details in await asyncio.gather(*(gateway.service.of("default").generate(request) for _ in range(100))):
            tx = "0x" + secrets.token_hex(32)
            proofs.append(Proof(reference=details.reference, tx_hash=tx, sender_address=sender))
            transfers.append(
                Transfer(
                    network=chain.network,
                    tx=tx,
                    index=-1,
                    block=head.block,
                    block_hash=head.block_hash,
                    block_time=now_ms(),
                    sender=sender,
                    recipient=chain.recipient,
                    asset="ETH",
                    amount=AMOUNT,
                    tags=(sha256(details.reference.encode()).hexdigest(),),
                )
            )
        await gateway.service.watcher.record(transfers[-100:])
    await asyncio.to_thread(Path(path).write_bytes, msgspec.json.encode(proofs))


async def serve(kind: str, database_url: str, rpc: str, key: str) -> None:
    gateway: Gateway | None = None
    if kind == "gateway":
        gateway = build(settings(database_url, rpc, key))
        instrument(gateway.database.engine.sync_engine)  # so that what is left of traces that are off is measured too
        await gateway.start()
        url = gateway.url
    else:
        http = HttpServer("127.0.0.1", 0)
        await http.start(Litestar([echo], logging_config=None, openapi_config=None))
        url = http.url
    say({"url": url})
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, *arguments = line.split()
        assert gateway is not None
        began = time.process_time()
        match command:
            case "seed":
                await seed(gateway, int(arguments[0]), arguments[1])
                say({"seeded": int(arguments[0])})
            case "mode":
                set_mode(arguments[0])
                say({"mode": arguments[0]})
            case "cpu":
                say({"seconds": time.process_time()})  # finer than what another process can read
            case "scrape":
                content, _ = await Exporter(HttpServer("127.0.0.1", 0), "gateway").render("")
                say({"bytes": len(content), "seconds": time.process_time() - began})
            case "seal":
                count = await gateway.audit_log.seal()
                say({"entries": count, "seconds": time.process_time() - began})
    if gateway is not None:
        await gateway.close()


OBSERVE, INC = Series.observe, Counter.inc


def set_mode(mode: str) -> None:
    """`off`: nothing is counted, which no setting offers: it shows what counting costs."""
    nothing: Any = lambda *_, **__: None  # noqa: E731
    Series.observe = OBSERVE if mode != "off" else nothing  # type: ignore[method-assign]
    Counter.inc = INC if mode != "off" else nothing  # type: ignore[method-assign]
    tracing.shut_down()
    if mode == "traced":
        sampler = ParentBased(TraceIdRatioBased(0.01))
        tracing.configure("gateway", exporter=OTLPSpanExporter(os.environ["BENCH_OTLP"]), sampler=sampler)


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:5]))  # as `ws402 gateway` runs
