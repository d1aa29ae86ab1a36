"""Paths below an upstream's target, and back: nothing that a client or an upstream writes leads past it."""

from __future__ import annotations

import re
from typing import Final
from unicodedata import normalize
from urllib.parse import SplitResult, quote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

from ws402.errors import InvalidRequestError

_SAFE: Final = "%:@!$&'()*+,;=~"
"""What may stand in a path segment (RFC 3986 §3.3), and what is percent-encoded already."""
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNICODE: Final = re.compile(r"%[uU][0-9A-Fa-f]{4}")
"""Not of any standard, but decoded by some."""
_OVERLONG: Final = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]")
"""Letters in more bytes than they need (RFC 3629 §3): some decoders take them for a dot or a slash."""
_PORTS: Final = {"http": 80, "https": 443}


def below(path: str) -> str:
    """A path as the client sent it (percent-encoded; empty, or with a leading slash), fit to follow a target's address.

    Raises InvalidRequestError for one that some server could take for a way up, however often it decodes, and whether
    or not it first takes a segment's parameters (`;…`, RFC 3986 §3.3) away.
    """
    parts = path.split("/")[1:]
    if _PERCENT.search(path) or any(_leads_away(part) for part in parts):
        raise InvalidRequestError("The path leaves the resource.", remedy="Ask for a path without '..'.")
    return "".join("/" + quote(part, safe=_SAFE) for part in parts)


def _leads_away(part: str) -> bool:
    raw = part.encode()
    while raw != (once := unquote_to_bytes(raw)):
        raw = once
    plain = raw.decode("utf-8", "replace")
    if not plain.isascii():
        plain = normalize("NFKC", plain)  # full-width dots and slashes
    if _OVERLONG.search(raw) or any(letter in "/\\" or letter < " " or letter == "\x7f" for letter in plain):
        return True
    return plain.partition(";")[0].strip() in (".", "..") or _UNICODE.search(plain) is not None


def seen_by_client(address: str, asked: str, target: str, resource_id: str, path: str, query: str) -> str | None:
    """An upstream's `Location` as a client of ours can use it: relative, for only the client knows where we are.

    `asked` is the upstream's address that gave it, `path` what the client asked for below the resource, `query` what it
    must ask with again. None for an address that leads past the resource; one of another site stays as it is.
    """
    parts, base = urlsplit(urljoin(asked, address)), urlsplit(target)
    if _origin(parts) != _origin(base):
        return address
    folder = base.path.rstrip("/")
    rest = parts.path.removeprefix(folder)
    if not parts.path.startswith(folder) or rest[:1] not in ("", "/"):
        return None
    try:
        shown = "../" * path.count("/") + resource_id + below(rest)
    except InvalidRequestError:
        return None
    return urlunsplit(("", "", shown, "&".join(part for part in (parts.query, query) if part), parts.fragment))


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    try:
        port = parts.port
    except ValueError:
        return "", None, None
    return parts.scheme, parts.hostname, port or _PORTS.get(parts.scheme)
