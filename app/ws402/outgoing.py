"""Connections that this process opens: one rule for all of them.

Proxies of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) are not used, by no client: a variable that somebody set
for everybody must not lead keys, proofs and refunds through a stranger. Where RPC endpoints can be reached through a
proxy only, the network's `proxy` names it.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from typing import Any, Final

import httpx

log = logging.getLogger(__name__)

PROXY_VARIABLES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY")


def http_client(**options: Any) -> httpx.AsyncClient:
    """An HTTP client that takes no proxy and no login from the environment. `options` as `httpx.AsyncClient` has them.

    Certificates are checked by SSL_CERT_FILE or SSL_CERT_DIR where they are set, as httpx does by itself.
    """
    if "verify" not in options:
        options["verify"] = _certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    return httpx.AsyncClient(**options, trust_env=False)


def proxies_set() -> list[str]:
    """The variables of the environment that name a proxy, as they are spelled there."""
    return sorted(name for name, value in os.environ.items() if name.upper() in PROXY_VARIABLES and value.strip())


def tell_unused_proxies() -> None:
    """Warn when the environment names a proxy: whoever set it expects that it is used."""
    if names := proxies_set():
        log.warning(
            "%s set and not used: all connections are direct. "
            "If RPC endpoints are reached through a proxy only, set `proxy` of the network.",
            f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}",
        )


@lru_cache(maxsize=4)
def _certificates(file: str | None, folder: str | None) -> Any:  # noqa: ARG001 - what the answer depends on
    """The context is costly to make, and never changed."""
    return httpx.create_ssl_context()
