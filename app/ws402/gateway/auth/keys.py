"""Who a request comes from, by API key or ServiceAccount token, and what it may do."""

from __future__ import annotations

import hmac
import logging
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from ws402.errors import ConfigurationError, ForbiddenError, RateLimitedError, UnauthorizedError, UnavailableError
from ws402.gateway.ledger.ids import digest
from ws402.limits import Buckets, TokenBucket
from ws402.settings import MIN_API_KEY_LENGTH, GatewaySettings

if TYPE_CHECKING:
    from ws402.gateway.auth.kubernetes import Identity

log = logging.getLogger(__name__)

DEFAULT_TENANT: Final = "default"
FAILURE_BURST: Final = 100
FAILURES_PER_SECOND: Final = 2.0
"""How often an address may show a wrong key."""
MAX_KNOWN_ADDRESSES: Final = 1024
"""Addresses remembered for each key."""

# RFC 6750 §2.1: b64token. The scheme's name is case-insensitive (RFC 9110 §11.1); exactly one space follows it here.
_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9._~+/-]{1,8192}={0,2})")
_KEY: Final = re.compile(r"[A-Za-z0-9._~+/-]+={0,2}")
TENANT: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""A tenant's name."""
_TENANT: Final = re.compile(TENANT)


class Scope(StrEnum):
    """What a key may do."""

    PAYMENTS = "payments"
    """Invoices, sessions and refunds of its own tenant."""
    ADMIN = "admin"
    """Everything that operators can look at and change, of all tenants."""
    READ = "read"
    """What operators can look at, of all tenants; nothing can be changed."""


LOOK: Final = (Scope.ADMIN, Scope.READ)
"""Either may look."""


class Principal:
    """A valid key: its tenant, its scopes and its share of the gateway's time. Holds the key's hash, never the key."""

    __slots__ = ("addresses", "bucket", "key_hash", "key_id", "name", "scopes", "tenant")

    def __init__(
        self, *, key_id: str, key_hash: str, tenant: str, scopes: Iterable[str], rate: float, name: str | None = None
    ) -> None:
        self.key_id = key_id
        self.name = name
        """Whose key it is, as whoever made it said."""
        self.key_hash = key_hash
        self.tenant = tenant
        self.scopes = frozenset(Scope(scope) for scope in scopes)
        self.bucket = TokenBucket(rate, 2 * rate)
        self.addresses: set[str] = set()
        """Where it was used from: a neighbour's failures do not lock it out there."""

    def __repr__(self) -> str:
        return f"Principal({self.key_id}, tenant={self.tenant})"

    @property
    def operator(self) -> str:
        """Who gives a command, for the audit log: the name, and the id, which is the key's alone."""
        return f"{self.name} ({self.key_id})" if self.name else self.key_id

    def require(self, *scopes: Scope) -> None:
        """Raises ForbiddenError unless the key has one of these scopes."""
        if self.scopes.isdisjoint(scopes):
            raise ForbiddenError(
                f"This API key lacks the scope '{scopes[0]}'.", remedy="Use a key that was made with that scope."
            )

    def spend(self) -> None:
        """Count one request. Raises RateLimitedError."""
        if wait := self.bucket.take():
            raise RateLimitedError(
                f"More than {self.bucket.rate:g} requests a second with this API key.",
                retry_after=wait,
                remedy="Slow down, or raise RATE_LIMIT_PER_SECOND.",
            )


class Authenticator:
    """Knows the valid keys: those of the settings, and those that `replace_stored` brings from the database; and, with
    `kubernetes_identity`, the accounts whose tokens are as good as a key.

    A key is kept and looked up by its SHA-256: it is long and random, so that a slow password hash would only make
    every request dear, and the time that a look-up takes tells a guesser nothing about the key.
    """

    def __init__(self, settings: GatewaySettings, *, failures: Buckets | None = None) -> None:
        self._rate = float(settings.rate_limit_per_second)
        self._failures = Buckets(FAILURES_PER_SECOND, FAILURE_BURST) if failures is None else failures
        self._configured: dict[str, Principal] = {}
        self._stored: dict[str, Principal] = {}
        self.replace_configured(settings.gateway_api_key, settings.gateway_admin_key)
        self.identity: Identity | None = None
        self._accounts: dict[str, Principal] = {}
        if settings.kubernetes_identity is not None:
            from ws402.gateway.auth.kubernetes import Identity  # noqa: PLC0415 - needs a library that a mock does without

            self.identity = Identity(settings.kubernetes_identity)
            self._accounts = {
                account: Principal(
                    key_id=f"ServiceAccount {account}",
                    key_hash="",
                    tenant=tenant,
                    scopes=[Scope.PAYMENTS],
                    rate=self._rate,
                )
                for account, tenant in self.identity.tenants.items()
            }

    @property
    def principals(self) -> list[Principal]:
        """All valid keys and accounts."""
        return [*self._configured.values(), *self._stored.values(), *self._accounts.values()]

    def require_keys(self) -> None:
        """Raises ConfigurationError when there is no key at all: nobody could call, and there is no default key."""
        if not self.principals:
            raise ConfigurationError(
                "The gateway has no API key.",
                remedy="Set GATEWAY_API_KEY to a secret of at least 32 characters; make one with: openssl rand -hex 32",
            )

    def check_ready(self) -> None:
        """Raises UnavailableError while nobody could prove who it is: the cluster's keys were never read."""
        if self.identity is not None and not self.identity.keys.known:
            raise UnavailableError("The cluster's keys could not be read yet.", code="keys_unavailable")

    def replace_configured(self, servers: Sequence[SecretStr], operators: Sequence[SecretStr]) -> None:
        """Take over the keys of the settings, or of a source of secrets. All or none: raises ConfigurationError."""
        configured: dict[str, Principal] = {}
        for principal in _configured(servers, operators, self._rate):
            if principal.key_hash in configured:
                raise ConfigurationError(
                    f"{principal.key_id} repeats another key.",
                    remedy="Give every tenant and every operator a key of its own: openssl rand -hex 32",
                )
            known = self._configured.get(principal.key_hash)
            same = known is not None and _told(known) == _told(principal)
            # With what it has spent of its rate.
            configured[principal.key_hash] = known if same and known is not None else principal
        self._configured = configured

    def replace_stored(self, rows: Iterable[tuple[str, str, str, str, str]]) -> None:
        """Take over what the database has now: (id, key hash, tenant, name, scopes separated by spaces), revoked ones
        not.
        """
        stored: dict[str, Principal] = {}
        for key_id, key_hash, tenant, name, scopes in rows:
            known = self._stored.get(key_hash)
            # A newer gateway of this ledger may know scopes that this one does not: they allow nothing here.
            allowed = frozenset(scopes.split()) & frozenset(Scope)
            if known is not None and (known.tenant, known.scopes) == (tenant, allowed):
                stored[key_hash] = known  # with what it has spent of its rate
            else:
                stored[key_hash] = Principal(
                    key_id=key_id, key_hash=key_hash, tenant=tenant, scopes=allowed, rate=self._rate, name=name
                )
        self._stored = stored

    def holder(self, key_hash: str) -> Principal | None:
        """Whose API key has this SHA-256, while it is valid."""
        return self._configured.get(key_hash) or self._stored.get(key_hash)

    def authenticate(self, header: bytes | None, address: str) -> Principal:
        """Who sent this Authorization header. Raises UnauthorizedError, or RateLimitedError after many failures.

        KeysMissingError: read the cluster's keys as it says, and ask once more.
        """
        if header is not None and (match := _BEARER.fullmatch(header)) is not None:
            key = match[1].decode()
            key_hash = digest(key)
            principal = self.holder(key_hash)
            if principal is not None and not hmac.compare_digest(principal.key_hash, key_hash):
                principal = None
            if principal is None and self.identity is not None:
                principal = self._by_token(self.identity, key, key_hash, address)
            if principal is not None:
                if address in principal.addresses:
                    return principal
                if not self._failures.empty(address):
                    if len(principal.addresses) >= MAX_KNOWN_ADDRESSES:
                        principal.addresses.clear()
                    principal.addresses.add(address)
                    return principal
        if wait := self._failures.take(address):
            raise RateLimitedError("Too many requests without a valid API key.", retry_after=wait)
        log.info("a request from %s has no valid API key", address)
        raise UnauthorizedError(
            "A valid API key is needed.", remedy="Send the header 'Authorization: Bearer <key>' with a gateway API key."
        )

    def _by_token(self, identity: Identity, token: str, token_hash: str, address: str) -> Principal | None:
        """Whom a ServiceAccount's token proves."""
        account = identity.known(token_hash)
        if account is None and token.count(".") == 2:
            if self._failures.empty(address) and all(address not in each.addresses for each in self._accounts.values()):
                return None  # no signature is checked for those who only guess
            account = identity.verify(token, token_hash)
        return self._accounts[account] if account is not None else None


def _configured(servers: Sequence[SecretStr], operators: Sequence[SecretStr], rate: float) -> Iterator[Principal]:
    named = [("GATEWAY_API_KEY", servers, Scope.PAYMENTS), ("GATEWAY_ADMIN_KEY", operators, Scope.ADMIN)]
    for name, keys, scope in named:
        for position, secret in enumerate(keys, start=1):
            key_id = f"{name} {position}"
            tenant, key = split_key(secret.get_secret_value(), key_id)
            # An operator's key works for all tenants: what stands before it is the operator's name.
            who = tenant if scope is Scope.ADMIN and tenant != DEFAULT_TENANT else None
            yield Principal(key_id=key_id, key_hash=digest(key), tenant=tenant, scopes=[scope], rate=rate, name=who)


def _told(principal: Principal) -> tuple[str, frozenset[Scope]]:
    return principal.tenant, principal.scopes


def split_key(text: str, name: str) -> tuple[str, str]:
    """Read `key` or `tenant:key`. Raises ConfigurationError, which names the setting and not the key."""
    tenant, colon, key = text.rpartition(":")
    if not colon:
        tenant = DEFAULT_TENANT
    if not _TENANT.fullmatch(tenant):
        raise ConfigurationError(
            f"{name} names a tenant that is none.",
            remedy="Write tenant:key, the tenant as letters, digits, '.', '_', '-'.",
        )
    if len(key) < MIN_API_KEY_LENGTH:
        raise ConfigurationError(
            f"{name} is shorter than {MIN_API_KEY_LENGTH} characters.", remedy="Make one with: openssl rand -hex 32"
        )
    if not _KEY.fullmatch(key):
        raise ConfigurationError(
            f"{name} has characters that an Authorization header cannot carry.",
            remedy="Use letters, digits and . _ ~ + / - only; make one with: openssl rand -hex 32",
        )
    return tenant, key


def retry_after(error: RateLimitedError) -> bytes:
    """The Retry-After header: whole seconds, rounded up."""
    return b"%d" % max(1, math.ceil(error.retry_after))
