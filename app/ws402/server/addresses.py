"""Who calls: the client's address behind proxies that we trust, and how many of something each address has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import unquote_plus

from ws402.errors import ConfigurationError

_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")

Header = Callable[[str], str | None]
"""Looks up a request header."""

UNKNOWN: Final = "unknown"
"""The address of a peer without one (a Unix socket)."""


class TrustedProxies:
    """Addresses or networks whose `X-Forwarded-For`, `-Proto` and `-Host` are believed; nobody's by default.

    IPv4 means the same whether it comes by a socket of its own or, mapped (RFC 4291 §2.5.5.2), by one of IPv6.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            try:
                self._networks.append(_unmapped(ip_network(entry, strict=False)))
            except ValueError:
                raise ConfigurationError(
                    f"TRUSTED_PROXIES: '{entry}' is neither an address nor a network.",
                    remedy="Write it as 10.0.0.1 or 10.0.0.0/8.",
                ) from None

    def trusts(self, address: str) -> bool:
        """Whether this peer is one of them."""
        if not self._networks:
            return False
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client(self, peer: str, header: Header) -> str:
        """The nearest address that is not a trusted proxy: what a client itself writes there counts for nothing."""
        if not self.trusts(peer):
            return _plain(peer)
        for part in reversed((header("X-Forwarded-For") or "").split(",")):
            hop = _host(part.strip())
            if _parse(hop) is None:
                break
            peer = hop
            if not self.trusts(hop):
                break
        return _plain(peer)

    def base_url(self, peer: str, header: Header, *, secure: bool) -> str:
        """How the client reaches this server, as far as it can be told: scheme and host, without a path."""
        scheme = "https" if secure else "http"
        host = header("Host") or ""
        if self.trusts(peer):
            # A list has what each proxy of a chain saw; the first of them saw the client.
            scheme = _SCHEMES.get(_first(header("X-Forwarded-Proto")).lower(), scheme)
            host = _first(header("X-Forwarded-Host")) or host
        return _base_url(scheme, host)


_SCHEMES: Final = {"http": "http", "ws": "http", "https": "https", "wss": "https"}


def _first(values: str | None) -> str:
    return (values or "").partition(",")[0].strip().strip('"')


@lru_cache(maxsize=256)
def _base_url(scheme: str, host: str) -> str:
    return f"{scheme}://{host if _HOST.fullmatch(host) else 'localhost'}"


def query_value(query: str, name: str) -> str:
    """The first value of this name in a query string, or an empty one."""
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == name or ("%" in key and unquote_plus(key) == name):
            return unquote_plus(value)
    return ""


def group(address: str) -> str:
    """What limits count by: an IPv4 address, or the /64 that one IPv6 subscriber has (RFC 6177)."""
    parsed = _parse(address) if ":" in address else None
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return address if parsed is None else str(parsed)


class Counts:
    """How many of something each address has now."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._counts: dict[str, int] = {}

    def take(self, key: str) -> bool:
        """One more, unless the limit is reached."""
        count = self._counts.get(key, 0)
        if count >= self.limit:
            return False
        self._counts[key] = count + 1
        return True

    def give(self, key: str) -> None:
        """One less."""
        count = self._counts.get(key, 0) - 1
        if count > 0:
            self._counts[key] = count
        else:
            self._counts.pop(key, None)


def _host(hop: str) -> str:
    """The address of a hop that may carry a port: `1.2.3.4:5678`, `[2001:db8::1]:5678`."""
    hop = hop.strip('"')
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed


def _plain(address: str) -> str:
    """An address in its usual spelling."""
    return str(_parse(address) or address) if ":" in address else address


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network
