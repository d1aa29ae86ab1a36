"""What a WS402 server sells. A new kind is one module here and one line in `KINDS` (and in `ResourceSettings.kind`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ws402.errors import ConfigurationError
from ws402.server.resources.base import Resource, ResourceUnavailableError, Stream
from ws402.server.resources.file import FileResource
from ws402.server.resources.http import HttpResource
from ws402.server.resources.python import AsyncStream, PythonResource
from ws402.server.resources.ticker import TickerResource
from ws402.server.resources.websocket import WebSocketResource
from ws402.settings import ResourceSettings

__all__ = ["KINDS", "AsyncStream", "Resource", "ResourceUnavailableError", "Stream", "load_resources"]

KINDS: Final[dict[str, type[Resource]]] = {
    "ticker": TickerResource,
    "python": PythonResource,
    "file": FileResource,
    "websocket": WebSocketResource,
    "http": HttpResource,
}
"""By `kind` of the settings."""


def load_resources(settings: Iterable[ResourceSettings]) -> dict[str, Resource]:
    """Make the resources by id and check their targets. Raises ConfigurationError."""
    resources: dict[str, Resource] = {}
    for each in settings:
        if each.id in resources:
            raise ConfigurationError(f"Two resources have the id '{each.id}'.", remedy="Give each an id of its own.")
        resource = KINDS[each.kind](each)
        resource.check()
        resources[each.id] = resource
    if not resources:
        raise ConfigurationError(
            "No resources are configured, so there is nothing to sell.",
            remedy='Set RESOURCES, e.g. [{"id": "ticker", "kind": "ticker", "price_per_second": 10000000000000}].',
        )
    return resources
