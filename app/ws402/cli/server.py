"""`ws402 server`: run a WS402 server until it is told to stop."""

from __future__ import annotations

import gc
import logging
import os
from typing import Any

import click

from ws402.errors import ConfigurationError
from ws402.loading import loading
from ws402.observability import setup, tracing
from ws402.provider.base import PaymentProvider
from ws402.settings import GatewaySettings, ServerSettings, load
from ws402.settings.sources import mounted
from ws402.settings.spelling import misspelt

logger = logging.getLogger("ws402.server")


@click.command("server")
@click.option("--host", help="Address to listen on; HOST or 127.0.0.1 by default.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; PORT or 4030 by default, 0 for any free one.")
@click.option("--provider", type=click.Choice(["proxy", "direct", "mock"]), help="How payments are made.")
@click.option("--gateway-url", help="The payment gateway, for the proxy provider.")
@click.option("--demo-ticker", is_flag=True, help="Sell the built-in ticker when no resources are configured.")
def command(
    host: str | None, port: int | None, provider: str | None, gateway_url: str | None, *, demo_ticker: bool
) -> None:
    """Sell metered WebSocket and HTTP resources.

    Everything is set by environment variables or the TOML file that WS402_CONFIG names; options come first. SIGTERM
    hands live sessions over to other servers before it ends; a second one ends at once.
    """
    given: dict[str, Any] = {"host": host, "port": port, "provider": provider, "gateway_url": gateway_url}
    settings = load(ServerSettings, **{name: value for name, value in given.items() if value is not None})
    if demo_ticker and not settings.resources and settings.resources_file is None:
        ticker = {"id": "ticker", "name": "Ticker", "kind": "ticker", "price_per_second": 10_000_000_000_000}
        settings = load(ServerSettings, **settings.model_dump(exclude={"resources"}), resources=[ticker])
    setup.start(settings, "server")
    for line in misspelt(os.environ, (ServerSettings, GatewaySettings)):
        logger.warning(line)
    with loading():
        from ws402.server import create_server  # noqa: PLC0415 - only once the settings are right

        payments = make_provider(settings)
    gc.freeze()  # what was loaded stays, so later searches for garbage leave it out
    server = create_server(settings, payments)

    def started() -> None:
        address = f"[{settings.host}]" if ":" in settings.host else settings.host
        sold = ", ".join(server.sessions.resources)
        setup.announce(settings, f"ws402 server: http://{address}:{server.port} sells {sold}")

    server.run(started=started)
    tracing.shut_down()


def make_provider(settings: ServerSettings) -> PaymentProvider:
    """The provider that the settings name. Raises ConfigurationError."""
    match settings.provider:
        case "proxy":
            return _proxy(settings)
        case "direct":
            return _direct()
        case "mock":
            from ws402.provider.mock.provider import MockPaymentProvider  # noqa: PLC0415

            logger.warning("provider mock: no money moves, every proof counts as paid; for tests only")
            return MockPaymentProvider()


def _direct() -> PaymentProvider:
    try:
        from ws402.provider.embedded import EmbeddedPaymentProvider  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"PROVIDER=direct runs a gateway in this process, which needs the package {error.name}.",
            remedy="Install it with: pip install 'ws402[gateway]'",
        ) from error
    return EmbeddedPaymentProvider()


def _proxy(settings: ServerSettings) -> PaymentProvider:
    from ws402.provider.credentials import LinkFiles  # noqa: PLC0415
    from ws402.provider.proxy import ProxyPaymentProvider  # noqa: PLC0415

    if settings.gateway_api_key is None and settings.gateway_token_file is None:
        raise ConfigurationError(
            "GATEWAY_API_KEY is not set, so the gateway would refuse this server.",
            remedy="Set it to one of the keys that the gateway has, or GATEWAY_TOKEN_FILE to a projected token.",
        )
    # A key in a mounted Secret is followed as a token is.
    file = mounted("gateway_api_key", settings.gateway_api_key)
    return ProxyPaymentProvider(
        settings.gateway_url,
        settings.gateway_api_key if file is None else None,
        token_file=file or settings.gateway_token_file,
        files=LinkFiles(settings.gateway_ca_file, settings.gateway_client_cert_file, settings.gateway_client_key_file),
        timeout=settings.timeout,
        retry_attempts=settings.retry_attempts,
    )
