"""Who calls: the client's address behind proxies that we trust, and limits by address."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import unquote_plus

from ws402.errors import ConfigurationError, RateLimitedError

_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")

Header = Callable[[str], str | None]
"""Looks up a request header."""

UNKNOWN: Final = "unknown"
"""The address of a peer without one (a Unix socket)."""

MAX_ADDRESSES: Final = 50_000
"""Addresses whose counters are kept; then those whose window has passed are dropped."""


class TrustedProxies:
    """Addresses or networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed; nobody's by default."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._networks = []
        for entry in entries:
            try:
                self._networks.append(ip_network(entry, strict=False))
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
            return peer
        for part in reversed((header("X-Forwarded-For") or "").split(",")):
            hop = _host(part.strip())
            if _parse(hop) is None:
                break
            peer = hop
            if not self.trusts(hop):
                break
        return peer

    def base_url(self, peer: str, header: Header, *, secure: bool) -> str:
        """How the client reaches this server, as far as it can be told: scheme and host, without a path."""
        scheme = "https" if secure else "http"
        host = header("Host") or ""
        if self.trusts(peer):
            forwarded = header("X-Forwarded-Proto")
            scheme = forwarded if forwarded in ("http", "https") else scheme
            host = header("X-Forwarded-Host") or host
        return _base_url(scheme, host)


@lru_cache(maxsize=256)
def _base_url(scheme: str, host: str) -> str:
    return f"{scheme}://{host if _HOST.fullmatch(host) else 'localhost'}"


def query_value(query: str, name: str) -> str:
    """The first value of this name in a query string, or an empty one."""
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == name:
            return unquote_plus(value)
    return ""


def group(address: str) -> str:
    """What limits count by: an IPv4 address, or the /64 that one IPv6 subscriber has (RFC 6177)."""
    parsed = _parse(address) if ":" in address else None
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((parsed, 64), strict=False))
    return address


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


class PerMinute:
    """At most `limit` calls of each address within a minute, in fixed windows."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}

    def take(self, key: str) -> None:
        """One more. Raises RateLimitedError that says when to come back."""
        now = self._clock()
        ends, count = self._windows.get(key, (0.0, 0))
        if now >= ends:
            if len(self._windows) >= MAX_ADDRESSES:
                self._drop_past(now)
            ends, count = now + 60, 0
        if count >= self._limit:
            raise RateLimitedError(
                f"More than {self._limit} requests in a minute came from your address.",
                retry_after=ends - now,
                remedy="Wait, and ask for a price only when you mean to pay.",
            )
        self._windows[key] = (ends, count + 1)

    def _drop_past(self, now: float) -> None:
        """Forget the windows that ended; when all are running, the oldest half."""
        self._windows = {key: value for key, value in self._windows.items() if value[0] > now}
        if len(self._windows) >= MAX_ADDRESSES:
            self._windows = dict(list(self._windows.items())[MAX_ADDRESSES // 2 :])


def _host(hop: str) -> str:
    """The address of a hop that may carry a port: `1.2.3.4:5678`, `[2001:db8::1]:5678`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address)
    except ValueError:
        return None
