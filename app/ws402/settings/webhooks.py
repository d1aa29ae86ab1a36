"""Settings of webhooks: who is told what, and the secrets that sign it."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import secrets
import socket
from typing import Final

from pydantic import Field, SecretStr, field_validator, model_validator

from ws402.protocol.events import EventType
from ws402.settings.base import StrictSettings

PREFIX: Final = "whsec_"
"""What a secret of Standard Webhooks begins with."""

MOST_SECRETS: Final = 2
"""Of one webhook: the new one and the old one, while it is rotated."""

MAKE_SECRET: Final = "make one with: echo whsec_$(openssl rand -base64 24)"  # noqa: S105 - how to make one


class WebhookSettings(StrictSettings):
    """One receiver of events, which are signed by its secrets in WEBHOOK_SECRETS."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    """Its name in WEBHOOK_SECRETS, metrics and `ws402 ops events`: at most 32 lower-case letters, digits, hyphens."""
    url: str = Field(max_length=2000)
    """Where events are posted: `https://…`. `http://` is taken for this machine only, without `allow_http`."""
    allow_http: bool = False
    """UNSAFE: take `http://` from another machine. Whoever is between reads, and keeps back, what is told."""
    events: list[EventType] = []
    """Types of events that it is told (docs/webhooks.md); all by default."""
    tenants: list[str] = []
    """Tenants whose events it is told; all by default, and what is nobody's, too."""

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        scheme, host, plain = _read(value)
        if scheme not in {"http", "https"} or not host:
            msg = "is no address of a receiver; write https://host/path"
            raise ValueError(msg)
        if not plain:
            msg = "has a login or a fragment in it; leave them out: what is posted is signed instead"
            raise ValueError(msg)
        if _is_link_local(host):
            msg = "is a link-local address, where clouds keep their machines' credentials; name another host"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _encrypted(self) -> WebhookSettings:
        scheme, host, _ = _read(self.url)
        if scheme != "https" and not self.allow_http and not _is_loopback(host):
            msg = "url must be https://: what is posted would pass in the clear (a trial may set allow_http)"
            raise ValueError(msg)
        return self


def new_secret() -> str:
    """A secret of 24 random bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(24)).decode()


def signing_key(secret: SecretStr) -> bytes:
    """The bytes that a secret signs with. Raises ValueError, which does not quote it.

    Standard Webhooks asks for `whsec_` and base64 of 24 to 64 bytes. Receivers differ in what else they read: those in
    Go and Rust refuse base64 without its padding. What all of them read is taken here, and nothing else.
    """
    text = secret.get_secret_value()
    if not text.startswith(PREFIX):
        msg = f"does not begin with {PREFIX}; {MAKE_SECRET}"
        raise ValueError(msg)
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if base64.b64encode(key).decode() != text.removeprefix(PREFIX):
        msg = f"is not {PREFIX} and standard base64 with its padding, which every receiver reads; {MAKE_SECRET}"
        raise ValueError(msg)
    if not 24 <= len(key) <= 64:
        msg = f"has {len(key)} bytes, and 24 to 64 are asked for; {MAKE_SECRET}"
        raise ValueError(msg)
    return key


def check(webhooks: list[WebhookSettings], kept: dict[str, list[SecretStr]], *, complete: bool) -> None:
    """Names that are there once, and secrets that sign. Raises ValueError, which quotes no secret.

    `complete`: no other source has secrets, so that each webhook must have one here.
    """
    names = [each.name for each in webhooks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        msg = f"WEBHOOKS has two entries named '{twice[0]}'; each needs a name of its own"
        raise ValueError(msg)
    if unknown := sorted(kept.keys() - set(names)):
        msg = f"WEBHOOK_SECRETS names '{unknown[0]}', which is no webhook; write the `name` of an entry of WEBHOOKS"
        raise ValueError(msg)
    for name, each in kept.items():
        check_secrets(name, each)
    if complete and (without := [name for name in names if not kept.get(name)]):
        msg = f"WEBHOOK_SECRETS has no secret of '{without[0]}'; {MAKE_SECRET}"
        raise ValueError(msg)


def check_secrets(name: str, kept: list[SecretStr]) -> None:
    """One webhook's secrets. Raises ValueError, which quotes none."""
    if len(kept) > MOST_SECRETS:
        msg = f"WEBHOOK_SECRETS has {len(kept)} secrets of '{name}'; at most two, the new one and the old one"
        raise ValueError(msg)
    for each in kept:
        try:
            signing_key(each)
        except ValueError as error:
            msg = f"WEBHOOK_SECRETS: a secret of '{name}' {error}"
            raise ValueError(msg) from None


def _read(url: str) -> tuple[str, str, bool]:
    """Scheme and host as the client that posts reads them, and whether there is no login and no fragment in it."""
    import httpx  # noqa: PLC0415 - costly, and most settings name no webhook

    try:
        read = httpx.URL(url)
        known = (read.scheme, read.host, not read.userinfo and not read.fragment)
    except (httpx.InvalidURL, ValueError):
        return "", "", True
    port = 1 if read.port is None else read.port
    return known if 0 < port < 65_536 and all(c > " " for c in url) else ("", "", True)


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address that is spelled out, in any of the ways in which resolvers read one (2852039166, 0xa9.0xfe.1)."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _is_loopback(host: str) -> bool:
    literal = _literal(host)
    return host == "localhost" or (literal is not None and literal.is_loopback)


def _is_link_local(host: str) -> bool:
    literal = _literal(host)
    mapped = getattr(literal, "ipv4_mapped", None) or literal
    return mapped is not None and mapped.is_link_local
