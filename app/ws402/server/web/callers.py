"""Who sent an ASGI request, and how it reached us."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from ws402.errors import UnauthorizedError
from ws402.server.addresses import UNKNOWN, TrustedProxies

Scope = Mapping[str, Any]


def client_address(proxies: TrustedProxies, scope: Scope) -> str:
    """The client's address, behind proxies that we trust."""
    return proxies.client(_peer(scope), _headers(scope).get)


def base_url(proxies: TrustedProxies, scope: Scope) -> str:
    """Scheme and host by which the client reached this server."""
    return proxies.base_url(_peer(scope), _headers(scope).get, secure=scope["scheme"] == "https")


def bearer(scope: Scope) -> str | None:
    """The token of an `Authorization: Bearer …` header."""
    kind, _, token = _headers(scope).get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and token.strip() else None


def require_key(scope: Scope, key: SecretStr | None) -> None:
    """Raises UnauthorizedError unless the request shows this key; every guess takes the same time."""
    if key is None:
        raise UnauthorizedError(
            "This path names users, so it wants a key, and none is configured.",
            remedy="Set STATUS_KEY and send it as Authorization: Bearer <key>.",
        )
    shown = bearer(scope) or ""
    if not hmac.compare_digest(shown.encode(), key.get_secret_value().encode()):
        raise UnauthorizedError(
            "The key is missing or wrong.", remedy="Send STATUS_KEY as Authorization: Bearer <key>."
        )


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else UNKNOWN


def _headers(scope: Scope) -> dict[str, str]:
    """The few headers that matter here, by their usual spelling; repeated ones joined, in order."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        title = _NAMES.get(name)
        if title is not None:
            text = str(value, "latin-1")
            found[title] = f"{found[title]},{text}" if title in found else text
    return found


_NAMES = {
    b"host": "Host",
    b"authorization": "Authorization",
    b"x-forwarded-for": "X-Forwarded-For",
    b"x-forwarded-proto": "X-Forwarded-Proto",
    b"x-forwarded-host": "X-Forwarded-Host",
}
