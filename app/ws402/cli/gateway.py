"""`ws402 gateway`: run the payment gateway until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ws402.loading import loading
from ws402.observability import setup, tracing
from ws402.settings import GatewaySettings, ServerSettings, load
from ws402.settings.spelling import misspelt

if TYPE_CHECKING:
    from ws402.gateway.run.gateway import Gateway

logger = logging.getLogger("ws402.gateway")


@click.command("gateway")
@click.option("--host", help="Address to listen on; GATEWAY_HOST or 127.0.0.1 by default.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port; GATEWAY_PORT or 4029 by default, 0 for any free one."
)
def command(host: str | None, port: int | None) -> None:
    """Verify payments, keep the ledger and send refunds, for WS402 servers that call it.

    Everything is set by environment variables or the TOML file that WS402_CONFIG names; options come first. SIGTERM
    answers what was asked, then ends; a second one ends at once.
    """
    given: dict[str, Any] = {"gateway_host": host, "gateway_port": port}
    settings = load(GatewaySettings, **{name: value for name, value in given.items() if value is not None})
    setup.start(settings, "gateway")
    for line in misspelt(os.environ, (ServerSettings, GatewaySettings)):
        logger.warning(line)
    with loading():
        from ws402.gateway.run.gateway import build  # noqa: PLC0415 - only once the settings are right
    gc.freeze()  # what was loaded stays, so later searches for garbage leave it out
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, build))
    tracing.shut_down()


async def _serve(settings: GatewaySettings, build: Callable[[GatewaySettings], Gateway]) -> None:
    gateway = await asyncio.to_thread(build, settings)  # a source of secrets is asked there
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)  # the second one ends at once

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, end)
    starting = asyncio.ensure_future(gateway.start())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    stopping.cancel() if starting.exception() else None
    starting.result()
    networks = ", ".join(f"{name} paid to {chain.recipient}" for name, chain in gateway.chains.items())
    setup.announce(settings, f"ws402 gateway: {gateway.url} ({networks})")
    await stopping
    await gateway.close()


def _loop_factory() -> Any:
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        return None
    return uvloop.new_event_loop
