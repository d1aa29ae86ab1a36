"""GET /metrics on a port of its own: what is meant for Prometheus is never one mistake away from the public."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from ws402 import __version__
from ws402.errors import ConfigurationError
from ws402.observability import metrics
from ws402.observability.loop import LoopLag
from ws402.settings.observability import ObservedSettings

REGISTRIES: Final = {"gateway": metrics.GATEWAY, "server": metrics.SERVER}


class Listener(Protocol):
    """Serves an ASGI application on a port that is bound already."""

    @property
    def url(self) -> str:
        """Where it is."""

    async def start(self, app: Any, *, lifespan: bool) -> None:
        """Serve."""

    async def close(self) -> None:
        """End."""


class _Collected:
    """Families that were read already, as a registry."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class Exporter:
    """Serves the metrics of this process. `components`: 'gateway', 'server', or both (an embedded gateway).

    Numbers are read on the event loop, where they are made, within some milliseconds; the text is written in a thread.
    """

    def __init__(self, listener: Listener, *components: str) -> None:
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            raise ConfigurationError(
                "PROMETHEUS_MULTIPROC_DIR is set, which is for servers of several processes.",
                remedy="Unset it: a WS402 process is scraped by itself, and scaled by replicas.",
            )
        self._listener = listener
        self._registries: list[CollectorRegistry] = [metrics.PROCESS, *(REGISTRIES[name] for name in components)]
        self._components = components
        self._lag = LoopLag()

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return f"{self._listener.url}/metrics"

    async def start(self) -> None:
        """Serve."""
        for component in self._components:
            metrics.BUILD_INFO.set(1, component, __version__)
        metrics.DRAINING.set(0)
        metrics.SPANS_EXPORTED.ready()
        self._lag.start()
        await self._listener.start(self._app, lifespan=False)

    async def close(self) -> None:
        """End."""
        self._lag.close()
        await self._listener.close()

    async def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition and its content type: OpenMetrics with exemplars for who accepts it, else plain text."""
        encode, content_type = choose_encoder(accept)
        families = [family for registry in self._registries for family in registry.collect()]
        return await asyncio.to_thread(encode, _Collected(families)), content_type

    async def _app(self, scope: Any, _: Any, send: Any) -> None:
        status, content, content_type = 404, b"There is only GET /metrics here.\n", "text/plain; charset=utf-8"
        if scope["path"] == "/metrics" and scope["method"] in ("GET", "HEAD"):
            accept = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"), "")
            content, content_type = await self.render(accept)
            status = 200
        headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})


def exporter(settings: ObservedSettings, *components: str) -> Exporter | None:
    """The exporter that the settings ask for, its port bound. Raises ConfigurationError."""
    if settings.metrics_port is None:
        return None
    from ws402.serving import HttpServer  # noqa: PLC0415 - uvicorn, only where metrics are on

    return Exporter(HttpServer(settings.metrics_host, settings.metrics_port), *components)
