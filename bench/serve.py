"""The measured process: a WS402 server, the same sessions behind an ASGI WebSocket (the baseline), or bare sockets.

Prints its port; on SIGUSR1 prints `{"tasks": …, "live": …}`: all asyncio tasks and live sessions.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import signal
import sys
from pathlib import Path

import uvloop

from bench.asgi import AsgiServer
from bench.bare import BareServer
from ws402.provider.base import PaymentProvider
from ws402.provider.mock.provider import MockPaymentProvider
from ws402.provider.proxy import ProxyPaymentProvider
from ws402.server import WS402Server, create_server
from ws402.settings import ResourceSettings, ServerSettings


def settings(arguments: argparse.Namespace) -> ServerSettings:
    return ServerSettings(
        port=0,
        gateway_url=arguments.gateway or "http://127.0.0.1:1",
        # A file sends nothing by itself, so that an update is an update and not the resource's traffic.
        resources=[ResourceSettings(id="quiet", kind="file", target=str(Path(__file__)), price_per_second=1000)],
        update_interval=arguments.update_interval,
        checkpoint_seconds=arguments.checkpoint_seconds,
        max_session_duration=86_400,
        max_unpaid_per_address=1_000_000,
        max_connections_per_address=1_000_000,
        max_sessions=100_000,
        drain_seconds=0,
        log_level="warning",
    )


def provider(arguments: argparse.Namespace) -> PaymentProvider:
    if arguments.gateway is None:
        return MockPaymentProvider()
    return ProxyPaymentProvider(arguments.gateway, arguments.key)


async def run(arguments: argparse.Namespace) -> None:
    chosen = settings(arguments)
    server: WS402Server | AsgiServer | BareServer
    if arguments.kind == "bare":
        server = BareServer(arguments.update_interval)
    elif arguments.kind == "asgi":
        server = AsgiServer(chosen, provider(arguments))
    else:
        server = create_server(chosen, provider(arguments))

    def report() -> None:
        print(json.dumps({"tasks": len(asyncio.all_tasks()), "live": server.live}), flush=True)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, report)

    def started() -> None:
        gc.collect()
        gc.freeze()
        print(json.dumps({"port": server.port}), flush=True)

    await server.serve(started=started)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=["ws402", "bare", "asgi"], default="ws402")
    parser.add_argument("--gateway", help="a gateway's address; none: the mock provider in this process")
    parser.add_argument("--key", default="")
    parser.add_argument("--update-interval", type=int, default=3000)
    parser.add_argument("--checkpoint-seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    uvloop.run(run(arguments))


if __name__ == "__main__":
    main()
