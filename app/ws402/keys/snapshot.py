"""What the gateway asks of a source of secrets: an immutable snapshot, and whether there is a newer one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from pydantic import SecretStr

from ws402.errors import ConfigurationError, UnavailableError

API_KEYS = "api-keys"
DATABASE = "database"
RPC = "rpc"
WEBHOOKS = "webhooks"
KEYS = "keys/"
"""Names of secrets below a source's path; `keys/<network>` for each network."""

PREVIOUS_KEYS = 2
"""Earlier versions of a network's key that are read at the start, for refunds which they signed."""

Reason = Literal[
    "sealed",
    "slow",
    "unreachable",
    "certificate",
    "denied",
    "login",
    "token",
    "missing",
    "deleted",
    "malformed",
    "busy",
]
"""Why secrets cannot be had, for metrics: few, and never a secret's name."""

PER_SECRET: Final[tuple[Reason, ...]] = ("denied", "missing", "deleted", "malformed")
"""Troubles with one secret, that say nothing about the others."""


class SecretsUnavailableError(UnavailableError):
    """A source of secrets does not answer, or refuses. `reason` is machine-readable."""

    code = "secrets_unavailable"

    def __init__(self, message: str, reason: Reason, *, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of a network's signing key: the key itself, or the public half of one that its keeper signs with."""

    version: int
    private_key: SecretStr | None = None
    public_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All secrets as they were at one time. Never changed, only replaced; its repr shows no secret."""

    keys: Mapping[str, tuple[KeyVersion, ...]] = field(default_factory=dict)
    """By network, newest first. The earlier ones are kept until the refunds that they signed are done."""
    servers: tuple[SecretStr, ...] = ()
    """API keys of WS402 servers."""
    operators: tuple[SecretStr, ...] = ()
    """API keys of operators."""
    database_url: SecretStr | None = None
    rpc: Mapping[str, tuple[SecretStr, ...]] = field(default_factory=dict)
    """JSON-RPC endpoints by network."""
    webhooks: Mapping[str, tuple[SecretStr, ...]] = field(default_factory=dict)
    """What webhooks are signed with, by name."""
    versions: Mapping[str, int] = field(default_factory=dict)
    """By secret's name: the version that this snapshot has."""
    made: Mapping[str, float] = field(default_factory=dict)
    """By secret's name: when that version was made, in seconds since the epoch; without those that do not tell."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a source, and nothing else: its rights need not be wider."""

    keys: tuple[str, ...] = ()
    """Networks whose private key it keeps."""
    transit: Mapping[str, str] = field(default_factory=dict)
    """Networks whose key signs at its keeper: the name of the key."""
    api_keys: bool = False
    database: bool = False
    rpc: tuple[str, ...] = ()
    """Networks whose endpoints it knows."""
    webhooks: tuple[str, ...] = ()
    """Webhooks whose secrets it keeps."""

    @property
    def names(self) -> list[str]:
        """Names of the secrets that hold it."""
        names = [f"{KEYS}{network}" for network in self.keys]
        others = (
            (API_KEYS, self.api_keys),
            (DATABASE, self.database),
            (RPC, self.rpc),
            (WEBHOOKS, self.webhooks),
        )
        return names + [name for name, asked in others if asked]


@dataclass(slots=True)
class Counters:
    """Events of this process since it started, for metrics."""

    logins: int = 0
    logins_failed: int = 0
    renewals: int = 0
    renewals_failed: int = 0
    token_ends: float | None = None
    """When the token ends, by the monotonic clock; None: never, or there is none."""
    polls: int = 0
    """Times that versions were looked at, with success."""
    changes: int = 0
    """Snapshots that replaced another."""
    signatures: int = 0
    """Made by the keeper of a key."""
    failures: Counter[str] = field(default_factory=Counter)
    """By reason."""


class Source(Protocol):
    """A kind of source. Blocking, and called from one thread at a time."""

    kind: str
    counters: Counters

    def load(self) -> Snapshot:
        """Read all that is wanted, with earlier versions of keys. Raises SecretsUnavailableError."""

    def refresh(self, held: Snapshot) -> tuple[Snapshot, list[SecretsUnavailableError]]:
        """Read what is newer; `held` itself when nothing is. What cannot be read stays as held, and is told.

        Raises SecretsUnavailableError when nothing can be read.
        """

    def close(self) -> None:
        """Give up what was obtained."""


def key_version(name: str, data: Mapping[str, Any], version: int) -> KeyVersion:
    """A signing key from a secret's data. Raises SecretsUnavailableError, which does not quote it."""
    return KeyVersion(version, private_key=SecretStr(_text(name, data, "private_key")))


def comma_list(name: str, data: Mapping[str, Any], entry: str) -> tuple[SecretStr, ...]:
    """A list separated by commas, or a JSON list. Raises SecretsUnavailableError, which does not quote it."""
    value = data.get(entry, "")
    parts: Iterable[Any] = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [None]
    found = []
    for part in parts:
        if not isinstance(part, str):
            raise malformed(name, f"its '{entry}' is no list separated by commas")
        if part.strip():
            found.append(SecretStr(part.strip()))
    return tuple(found)


def fields(name: str, data: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    """What a secret that is no key adds to a snapshot. Raises SecretsUnavailableError, which quotes nothing."""
    if name == API_KEYS:
        servers, operators = comma_list(name, data, "servers"), comma_list(name, data, "operators")
        return {"servers": servers, "operators": operators}
    if name == DATABASE:
        return {"database_url": SecretStr(_text(name, data, "url"))}
    if name == WEBHOOKS:
        return {"webhooks": {each: comma_list(name, data, each) for each in wanted.webhooks}}
    return {"rpc": {network: comma_list(name, data, network) for network in wanted.rpc}}


def malformed(name: str, what: str) -> SecretsUnavailableError:
    """A secret that cannot be used as it is."""
    return SecretsUnavailableError(
        f"The secret {name} cannot be used: {what}.", "malformed", remedy="Write a new version of it."
    )


def _text(name: str, data: Mapping[str, Any], entry: str) -> str:
    value = data.get(entry)
    if not isinstance(value, str) or not value.strip():
        raise malformed(name, f"it has no '{entry}'")
    return value.strip()


def as_configuration(error: SecretsUnavailableError) -> ConfigurationError:
    """The error of a start that has no secrets."""
    return ConfigurationError(
        f"The gateway cannot start without its secrets: {error.message}", remedy=error.remedy, code=error.code
    )
