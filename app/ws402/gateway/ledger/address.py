"""What DATABASE_URL says of a PostgreSQL server: libpq's URLs (its manual, §34.1.1 and §34.1.2).

Each parameter is translated, or refused in a sentence that names it. Nothing else of a URL is ever quoted: where it is
written wrongly, any part of it may be the end of a password.
"""

from __future__ import annotations

import os
import re
import shlex
import ssl
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import msgspec

from ws402.errors import ConfigurationError

SCHEMES: Final = frozenset({"postgresql", "postgres", "postgresql+asyncpg"})

CONNECT_SECONDS: Final = 10.0
"""How long to try for a connection, unless `connect_timeout` says."""

WRITABLE: Final = "read-write"
"""A server that only reads, such as the old primary after a switchover, is none for a ledger."""

FORM: Final = "Write postgresql://user:password@host:port/name, with @ : / ? # and % in the password percent-encoded."

_TLS: Final = frozenset(
    {
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "sslpassword",
        "sslcrl",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
    }
)
_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
_WRITERS: Final = frozenset({WRITABLE, "primary"})
_OFF: Final = {"channel_binding": {"disable", "prefer"}, "gssencmode": {"disable", "prefer"}}
"""Parameters for what the driver does not do, and the values that do not ask for it."""
_SETTING: Final = re.compile(r"^(?:-c\s*|--)([A-Za-z_][A-Za-z0-9_.]*)=(.*)$", re.DOTALL)


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a PostgreSQL server is and how to log in."""

    arguments: dict[str, Any]
    """For `asyncpg.connect`; they hold the password."""
    settings: dict[str, str]
    """What each session sets (`options`)."""
    name: str
    """For people: hosts and database."""

    def __repr__(self) -> str:
        """Shows no password."""
        return f"Address({self.name!r})"


def read(url: str) -> Address:
    """Understand a URL of libpq. Raises ConfigurationError, which quotes no part of a password."""
    if any(each.isspace() or not each.isprintable() for each in url):
        raise _wrong("has a space or another character that no URL has")
    if re.search(r"%(?![0-9A-Fa-f]{2})", url):
        raise _wrong("has a % that begins no percent-encoded character; write it as %25")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _wrong("is no URL") from None
    # What follows an / ? or # in a password looks like another part of the URL, which then has the @ before the host.
    if parts.fragment or "#" in url or "@" in parts.path or "@" in parts.query:
        raise _wrong("cannot be understood: an @ or a # stands where none can be")
    userinfo, _, hosts = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    query = _query(parts.query)
    arguments: dict[str, Any] = {
        "user": query.pop("user", "") or unquote(user) or None,
        "password": query.pop("password", "") or unquote(password) or None,
        "database": query.pop("dbname", "") or unquote(parts.path.removeprefix("/")) or None,
        "timeout": _seconds(query.pop("connect_timeout", "0")),
        "target_session_attrs": _target(query.pop("target_session_attrs", WRITABLE)),
    }
    if passfile := query.pop("passfile", ""):
        arguments["passfile"] = passfile
    names, ports = _hosts(query.pop("host", "") or hosts, query.pop("port", ""))
    if names:
        arguments |= {"host": names, "port": ports}
    settings = _options(query.pop("options", ""))
    fallback = query.pop("fallback_application_name", "ws402")
    arguments["server_settings"] = {"application_name": query.pop("application_name", fallback)}
    tls = _tls(query)
    if tls.get("sslrootcert") == "system":
        arguments["ssl"] = ssl.create_default_context()
    elif tls:
        arguments["dsn"] = f"postgresql://?{urlencode(tls)}"
    for name, value in query.items():
        if name not in _TLS:
            _refuse(name, value)
    shown = ", ".join(f"{host}:{port}" for host, port in zip(names, ports, strict=True)) or "the local server"
    return Address(arguments=arguments, settings=settings, name=f"{arguments['database'] or 'the default'} at {shown}")


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(f"DATABASE_URL {what}.", remedy=FORM)


def _parameter(name: str, what: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"DATABASE_URL: the parameter {name} {what}.", remedy=remedy)


def _query(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise _wrong("has parameters that are not of the form name=value") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if not re.fullmatch(r"[a-z_]{1,40}", name):
            raise _wrong("has a parameter whose name is none of libpq's")
        if name in found:
            raise _parameter(name, "stands there twice", "Keep one.")
        found[name] = value
    return {name: value for name, value in found.items() if value}


def _hosts(hosts: str, ports: str) -> tuple[list[str], list[int]]:
    names: list[str] = []
    numbers: list[str] = []
    for each in hosts.split(",") if hosts else []:
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::(.*))?", each)
        if match is None:
            raise _wrong("has a host that is none")
        names.append(unquote(match[1].strip("[]")) or "localhost")
        numbers.append(match[2] or "")
    given = ports.split(",") if ports else []
    if given and len(given) not in (1, len(names)):
        raise _parameter("port", "has another number of ports than there are hosts", "Give one port, or one a host.")
    for position in range(len(numbers)):
        numbers[position] = numbers[position] or (given[position % len(given)] if given else "") or "5432"
    if not all(each.isascii() and each.isdecimal() and 0 < int(each) < 65536 for each in numbers):
        raise _wrong("has a port that is no number from 1 to 65535")
    return names, [int(each) for each in numbers]


def _seconds(value: str) -> float:
    if not re.fullmatch(r"-?\d{1,6}", value):
        raise _parameter("connect_timeout", "is no whole number of seconds", "Write a number, such as 10.")
    return float(value) if int(value) > 0 else CONNECT_SECONDS


def _target(value: str) -> str:
    if value == "any":
        return WRITABLE
    if value not in _WRITERS:
        raise _parameter("target_session_attrs", "names a server that only reads", "Use read-write or primary.")
    return value


def _options(options: str) -> dict[str, str]:
    """Settings of the session from libpq's `options`, such as `-c statement_timeout=5s`."""
    try:
        words = shlex.split(options)
    except ValueError:
        words = [options]
    found: dict[str, str] = {}
    position = 0
    while position < len(words):
        word = words[position]
        if word == "-c" and position + 1 < len(words):
            position += 1
            word += words[position]
        match = _SETTING.match(word)
        if match is None:
            raise _parameter("options", "has more than settings of the form -c name=value", "Remove what is more.")
        found[match[1].replace("-", "_")] = match[2]
        position += 1
    return found


def _tls(query: dict[str, str]) -> dict[str, str]:
    """The driver reads these as libpq does. A certificate that is named is meant to be checked."""
    chosen = {name: value for name, value in query.items() if name in _TLS}
    if "sslmode" not in chosen and "sslrootcert" in chosen:
        chosen["sslmode"] = "verify-full"
    if chosen.get("sslmode", "prefer") not in _MODES:
        raise _parameter("sslmode", "has a value that libpq does not know", f"Use one of: {', '.join(_MODES)}.")
    if chosen.get("sslrootcert") == "system":  # libpq's word for the certificates that this machine trusts
        if len(chosen) > 2 or chosen["sslmode"] != "verify-full":
            raise _parameter("sslrootcert", "is 'system', which goes with sslmode=verify-full alone", "Name a file.")
        return chosen
    for name in _FILES:
        if name in chosen and not os.access(chosen[name], os.R_OK):
            raise _parameter(name, "names a file that cannot be read", "Mount it, or correct its path.")
    return chosen


def _refuse(name: str, value: str) -> None:
    if value in _OFF.get(name, ()):
        return
    if name in _OFF:
        raise _parameter(
            name, "asks for what is not offered", "Remove it; use sslmode=verify-full for the server's proof."
        )
    raise _parameter(name, "is not offered", "Remove it.")
