"""Takes secrets out of text that leaves the process: logs, traces, error reports.

Nothing here is an excuse to log a secret: it is the net below. What it knows: every secret of the settings by its value
(and what else is registered), and the shapes and field names of those that are made or received while running.
Transaction ids and addresses are public, and stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

HIDDEN: Final = "[redacted]"
MIN_LENGTH: Final = 6
"""A shorter value is no secret that one could look for: it stands in ordinary words."""

_FIELDS: Final = (
    "authorization|password|passwd|secret|private_?key|api_?key|admin_?key|dsn|reference|"
    "[a-z_]*signature|[a-z_]*token|secret_id|role_id"
)
_FIELD: Final = re.compile(rf"(?i)\b(?:{_FIELDS})\b")
_NAMED: Final = re.compile(
    rf"""(?ix) (["']? \b(?:{_FIELDS})\b \\?["']? \s* [:=] \s* \\?["']? (?:bearer\s+|basic\s+)?)
    ([^\s"',}}&\\]{{{MIN_LENGTH},}})"""
)
_SHAPES: Final = (
    re.compile(r"(?i)(?<=\bbearer )[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),  # a JWT, such as a ServiceAccount's
    re.compile(r"\b(?:hvs|hvb|hvr|s)\.[A-Za-z0-9_-]{20,}"),  # a Vault token
    re.compile(r"\b(?:0x)?[0-9a-fA-F]{120,}\b"),  # a signature or a signed transaction
)
_URL: Final = re.compile(r"\b([a-z][a-z0-9+.-]*://)([^\s/@\"']*@)?([^\s/?#\"'\\,)]+)([^\s\"'\\,)]*)")
_LONG_SEGMENT: Final = re.compile(r"(?<=/)[A-Za-z0-9_-]{16,}")

_known: dict[str, re.Pattern[str]] = {}


def register(*secrets: str | SecretStr | None) -> None:
    """Hide these values from now on, wherever they stand. URLs also by what follows their host."""
    for secret in secrets:
        text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        for part in _parts(text or ""):
            if len(part) >= MIN_LENGTH:
                _known.setdefault(part, re.compile(re.escape(part), re.IGNORECASE))


def register_settings(settings: BaseModel) -> None:
    """Hide every secret value of the settings."""
    register(*_secrets(settings))


def redact(text: str) -> str:
    """The text without secrets."""
    for known in _known.values():
        text = known.sub(HIDDEN, text)
    text = _NAMED.sub(rf"\1{HIDDEN}", text)
    for shape in _SHAPES:
        text = shape.sub(HIDDEN, text)
    return _URL.sub(_url, text) if "://" in text else text


def redact_all(value: Any) -> Any:
    """The same for everything in dictionaries and lists; a field with a secret's name loses its value."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bytes | bytearray):
        return f"[{len(value)} bytes]"
    if isinstance(value, dict):
        return {
            key: HIDDEN if isinstance(key, str) and _FIELD.fullmatch(key) and each else redact_all(each)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_all(each) for each in value]
    return value if isinstance(value, int | float) or value is None else redact(str(value))


def _url(found: re.Match[str]) -> str:
    """Scheme, host and path; without user, password, query, and parts of the path that look like keys."""
    path, mark, _ = found[4].partition("?")
    user = f"{HIDDEN}@" if found[2] else ""
    return f"{found[1]}{user}{found[3]}{_LONG_SEGMENT.sub(HIDDEN, path)}{f'?{HIDDEN}' if mark else ''}"


def _parts(text: str) -> Iterator[str]:
    yield text
    yield text.removeprefix("0x")
    if "://" in text:
        parts = urlsplit(text)
        yield parts.password or ""
        yield parts.path.strip("/").removeprefix("v2/").removeprefix("v3/") if parts.scheme.startswith("http") else ""
        yield parts.query
    elif ":" in text:  # tenant:key
        yield text.partition(":")[2]


def _secrets(value: Any) -> Iterable[SecretStr]:
    if isinstance(value, SecretStr):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, dict):
        for each in value.values():
            yield from _secrets(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _secrets(each)
