"""`python -m ws402.testing`: a mock gateway until it is interrupted."""

from __future__ import annotations

import signal
import sys
import threading

import click

from ws402.errors import WS402Error
from ws402.testing.gateway import CONTROL_PATH, MockGateway


@click.command(help="Serve a mock gateway: pretended payments, honest books, faults on demand. For tests only.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=4029, show_default=True, type=click.IntRange(0, 65535))
@click.option("--api-key", envvar="GATEWAY_API_KEY", help="At least 32 characters; made up when not given.")
@click.option("--network", default="base-sepolia", show_default=True)
@click.option("--auto-pay/--no-auto-pay", default=True, show_default=True, help="Whether any proof counts as paid.")
def main(host: str, port: int, api_key: str | None, network: str, auto_pay: bool) -> None:
    """Serve until SIGINT or SIGTERM."""
    try:
        gateway = MockGateway(host=host, port=port, api_key=api_key, network=network, auto_pay=auto_pay)
    except WS402Error as error:
        click.echo(f"ws402.testing: {error}", err=True)
        sys.exit(2)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with gateway:
        click.echo(f"GATEWAY_URL={gateway.url}")
        if api_key is None:
            click.echo(f"GATEWAY_API_KEY={gateway.api_key}")
        click.echo(f"Control: POST {gateway.url}{CONTROL_PATH}")
        stop.wait()


if __name__ == "__main__":
    main()
