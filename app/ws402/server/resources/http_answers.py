"""What answers of HTTP resources have in common."""

from __future__ import annotations

import asyncio
from typing import Final

from ws402.server.resources.base import Scope

CONNECTION: Final = "ws402.connection"
"""Name of the ASGI extension that is the client's transport."""
FORWARDED: Final = "ws402.forwarded"
"""Name of the ASGI extension that tells the client's address, and the scheme and host by which it came here."""


def header(scope: Scope, name: bytes) -> str:
    """A request header, or an empty string."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


def safe_headers() -> list[tuple[bytes, bytes]]:
    """For content that is not ours: kept by nobody, sniffed by nobody, and, in a browser, of another origin than the
    checkout page that is served beside it.
    """
    return [
        (b"cache-control", b"private, no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"sandbox allow-scripts allow-forms allow-popups allow-downloads"),
        (b"referrer-policy", b"no-referrer"),
    ]


def is_gone(scope: Scope) -> bool:
    """Whether the client hung up."""
    transport = scope.get("extensions", {}).get(CONNECTION)
    return transport is not None and bool(transport.is_closing())


async def abort(scope: Scope) -> None:
    """Cut the connection: the only way to tell a client that a body that was begun is not whole."""
    transport = scope.get("extensions", {}).get(CONNECTION)
    if transport is not None:
        transport.abort()
        await asyncio.sleep(0.01)  # uvicorn learns of it in its next turns
