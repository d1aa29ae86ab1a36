from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.server.peer import Shop

from ws402.provider.mock.provider import MockPaymentProvider
from ws402.server import WS402Server, create_server
from ws402.settings import ResourceSettings, ServerSettings

OpenShop = Callable[..., Awaitable[Shop]]

PRICE = 1_000_000
"""Smallest units a second: a thousand a millisecond."""

TICKER: dict[str, Any] = {"id": "ticker", "name": "Ticker", "kind": "ticker", "price_per_second": PRICE}


def settings(resources: list[dict[str, Any]] | None = None, **more: Any) -> ServerSettings:
    """A server's settings for tests: short intervals."""
    return ServerSettings(
        port=0,
        provider="mock",
        resources=[] if "resources_file" in more else [ResourceSettings(**each) for each in resources or [TICKER]],
        **{"update_interval": 100, "checkpoint_seconds": 60, "drain_seconds": 0, **more},
    )


@pytest.fixture
async def open_shop() -> AsyncIterator[OpenShop]:
    """Starts servers with these resources and settings, each on a port of its own, and drains them at the end."""
    running: list[tuple[Shop, WS402Server, asyncio.Task[None]]] = []

    async def start(
        resources: list[dict[str, Any]] | None = None,
        *,
        provider: MockPaymentProvider | None = None,
        callbacks: dict[str, Any] | None = None,
        **more: Any,
    ) -> Shop:
        provider = provider or MockPaymentProvider()
        server = create_server(settings(resources, **more), provider, **(callbacks or {}))
        started = asyncio.Event()
        task = asyncio.create_task(server.serve(started=started.set))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not started.is_set():
            waiting.cancel()
            await task
        shop = Shop(server, provider)
        running.append((shop, server, task))
        return shop

    yield start
    for shop, server, task in running:
        shop.provider.faults.clear()
        await shop.close()
        await server.stop()
        await task
        assert shop.provider.audit() == 0
        assert not shop.server.sessions.live


@pytest.fixture
async def shop(open_shop: OpenShop) -> Shop:
    """A server that sells the ticker."""
    return await open_shop()
