"""`ws402 demo`: the whole path on a chain of this machine."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from pathlib import Path

import click

from ws402.errors import ConfigurationError, WS402Error


@click.command("demo")
@click.option("--port", default=4030, show_default=True, type=click.IntRange(0, 65533), help="First of three ports.")
@click.option("--gateway-port", default=4029, show_default=True, type=click.IntRange(0, 65535), help="The gateway's.")
@click.option("--rpc-port", default=8545, show_default=True, type=click.IntRange(0, 65535), help="The EVM chain's.")
@click.option(
    "--solana-port", default=8899, show_default=True, type=click.IntRange(0, 65534), help="Solana's, and the next."
)
@click.option("--keep", is_flag=True, help="Leave all running at the end, to pay on the page; Ctrl-C ends it.")
@click.option("--logs", type=click.Path(file_okay=False, path_type=Path), help="Folder for the ledger and the logs.")
def command(port: int, gateway_port: int, rpc_port: int, solana_port: int, *, keep: bool, logs: Path | None) -> None:
    """Pay, stream, leave early and get the rest back, on chains inside this process.

    Starts a real EVM, a real Solana machine, one gateway and three servers; some payers pay ETH, some SOL, some a token
    of either chain, some top up, one's server is restarted under its session. Ends with a table of all transactions and
    an audit of the ledger against both chains. No money moves: the chains are worth nothing. A port that is taken gives
    way to a free one. Exit status 1 when anything is not as it should be.
    """
    with tempfile.TemporaryDirectory(prefix="ws402-demo-") as folder:
        where = logs or Path(folder)
        try:
            where.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"The folder {where} cannot be made: {error.strerror}.", remedy="Give --logs another one."
            ) from error
        sys.exit(asyncio.run(_run(where.resolve(), port, gateway_port, rpc_port, solana_port, keep=keep)))


async def _run(folder: Path, port: int, gateway_port: int, rpc_port: int, solana_port: int, *, keep: bool) -> int:
    from ws402.demo.run import Demo  # noqa: PLC0415 - it needs every extra

    demo = Demo(folder, _say, port=port, gateway_port=gateway_port, rpc_port=rpc_port, solana_port=solana_port)
    stop = asyncio.Event()
    running = asyncio.create_task(demo.run())

    def interrupted() -> None:
        stop.set()
        running.cancel()

    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, interrupted)
    try:
        await running
        for problem in demo.problems:
            click.echo(f"PROBLEM: {problem}", err=True)
        _say("")
        _say("All accounts agree." if not demo.problems else "Something is off; see above.")
        if keep:
            _say(f"Pay on the page: {demo.parts.server_urls[0]}/  (logs: {folder}; Ctrl-C ends it all)")
            await stop.wait()
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        click.echo("Interrupted; ending what was started.", err=True)
        return 130
    except WS402Error as error:
        click.echo(f"ws402: {error}", err=True)
        return 1
    else:
        return 1 if demo.problems else 0
    finally:
        await demo.parts.stop()


def _say(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()
