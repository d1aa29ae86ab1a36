"""Where a resource is sold: read from any address that a person may have at hand."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from ws402.client.errors import PolicyError
from ws402.errors import InvalidRequestError

SCHEMA_PATH: Final = "/ws402/schema/"
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class TopUp:
    """A live session and its current resume token, which shows that it is ours."""

    session_id: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """A server's base address (`https://host[:port][/prefix]`) and, when the address named one, the resource."""

    base: str
    resource_id: str | None = None

    def schema_url(self, resource_id: str, duration: int, top_up: TopUp | None = None) -> str:
        """Address of an offer for `duration` seconds."""
        query: dict[str, str | int] = {"duration": duration}
        if top_up:
            query |= {"sessionId": top_up.session_id, "token": top_up.token}
        return f"{self.base}{SCHEMA_PATH}{quote(resource_id, safe='')}?{urlencode(query)}"

    def refund_url(self, refund_id: str) -> str:
        """Address of a refund's state."""
        return f"{self.base}/ws402/refund/{quote(refund_id, safe='')}"

    @property
    def resources_url(self) -> str:
        """Address of the list of resources."""
        return f"{self.base}/api/resources"

    @property
    def socket_url(self) -> str:
        """The socket's address when no offer names one."""
        return "ws" + self.base.removeprefix("http")


def parse_target(url: str, resource: str | None = None) -> Target:
    """Read `https://host`, `https://host/ws402/schema/ID`, `wss://host/?resourceId=ID` or `https://host/#ID`.

    Raises InvalidRequestError for anything else, and for an address that names another resource than `resource`.
    """
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise InvalidRequestError(
            f"'{url}' is not the address of a WS402 server.", remedy="Give one such as https://host/#resource."
        )
    if parts.username or parts.password:
        raise InvalidRequestError("The address must not hold a user name or password.")
    prefix, _, named = parts.path.partition(SCHEMA_PATH)
    found = (
        unquote(named.strip("/"))
        or next(iter(parse_qs(parts.query).get("resourceId", [])), "")
        or unquote(parts.fragment)
    )
    if resource and found and resource != found:
        raise InvalidRequestError(f"The address names the resource '{found}', not '{resource}'.")
    return Target(f"{_SCHEMES[parts.scheme]}://{parts.netloc}{prefix.rstrip('/')}", resource or found or None)


def socket_address(endpoint: str, *, user_id: str, resource_id: str) -> str:
    """The socket's address with the query that stock servers read."""
    parts = urlsplit(endpoint)
    known = parse_qs(parts.query, keep_blank_values=True)
    query = {name: values[0] for name, values in known.items()} | {"userId": user_id, "resourceId": resource_id}
    return parts._replace(path=parts.path or "/", query=urlencode(query), fragment="").geturl()


def refuse_plaintext(url: str, *, allowed: bool) -> None:
    """A proof is worth money to whoever reads it, so plain HTTP is for this machine only.

    Raises PolicyError for an unencrypted address of another machine, unless `allowed`.
    """
    parts = urlsplit(url)
    if allowed or parts.scheme in ("https", "wss") or _is_loopback(parts.hostname or ""):
        return
    raise PolicyError(
        f"{parts.scheme}://{parts.netloc} is not encrypted: others could read the payment proof.",
        remedy="Use https, or allow it for a network that you trust (allow_plaintext).",
        code="plaintext_refused",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
