"""What the console takes over HTTP, and what its answers say to a browser.

It listens on loopback, where every web page that an operator has open can send requests to. So a request must name this
machine as its host (else a foreign name was made to point here: DNS rebinding), and what a browser sends for another
site is refused before anything is looked at.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl

from ws402.errors import ForbiddenError, InvalidRequestError, WS402Error

COOKIE: Final = "ws402_console"
MOST_BYTES: Final = 16_384
"""Of a form."""
MOST_FIELDS: Final = 32

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Content-Security-Policy: no script at all, and nothing from anywhere else."""

_HOST: Final = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?")
_HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),  # with none, a browser says of its forms that they are from nowhere
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
)

Headers = list[tuple[bytes, bytes]]


class MisdirectedError(InvalidRequestError):
    """The request is meant for another host (RFC 9110 §15.5.20)."""

    code = "misdirected"
    status = 421


class MethodError(InvalidRequestError):
    """Another method than the page has."""

    code = "method"
    status = 405


class Asked:
    """One request, checked as far as it can be before anybody is known."""

    def __init__(self, scope: Any, receive: Any) -> None:
        """Raises MisdirectedError, MethodError, ForbiddenError."""
        self._receive = receive
        self.method: str = "GET" if scope["method"] == "HEAD" else scope["method"]
        self.head = scope["method"] == "HEAD"
        self.path: str = scope["path"]
        self._query: bytes = scope["query_string"]
        self._headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            self._headers.setdefault(name, []).append(value.decode("latin-1"))
        self._check()

    def header(self, name: bytes) -> str | None:
        """The only header of this name; several are none."""
        found = self._headers.get(name, [])
        return found[0] if len(found) == 1 else None

    @property
    def agent(self) -> str:
        """What the browser says that it is."""
        return self.header(b"user-agent") or ""

    def cookie(self) -> str:
        """The visit's secret, or ''."""
        pairs = (each.strip().partition("=") for line in self._headers.get(b"cookie", []) for each in line.split(";"))
        found = [value for name, _, value in pairs if name == COOKIE]
        return found[0] if len(found) == 1 else ""

    def query(self) -> dict[str, str]:
        """The query's fields that say something. Raises InvalidRequestError."""
        return _fields(self._query)

    async def form(self) -> dict[str, str]:
        """The form's fields. Raises InvalidRequestError."""
        kind = (self.header(b"content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise InvalidRequestError("This is no form.")
        body = b""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise InvalidRequestError("The form did not arrive whole.")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MOST_BYTES:
                raise InvalidRequestError(f"The form has more than {MOST_BYTES} bytes.")
        return _fields(body)

    def _check(self) -> None:
        host = self.header(b"host")
        if host is None or not _HOST.fullmatch(host.lower()):
            raise MisdirectedError(
                "This console answers on this machine only.", remedy="Open it as http://127.0.0.1 with its port."
            )
        if self.method not in {"GET", "POST"}:
            raise MethodError("The console knows GET and POST.")
        origin = self.header(b"origin")
        if (b"origin" in self._headers or self.method == "POST") and origin != f"http://{host}":
            raise _foreign()
        site = self.header(b"sec-fetch-site")
        if site not in {None, "same-origin", "none"}:
            # A link from elsewhere may be followed: it changes nothing, and no other site sees the answer.
            followed = self.header(b"sec-fetch-mode") == "navigate" and self.header(b"sec-fetch-dest") == "document"
            if self.method != "GET" or not followed:
                raise _foreign()


def _foreign() -> ForbiddenError:
    return ForbiddenError("This was sent by another site.", remedy="Use the forms of the console itself.")


def _fields(text: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise InvalidRequestError("The fields cannot be read.") from None
    found = {name: value.strip() for name, value in pairs if value.strip()}
    if len({name for name, _ in pairs}) != len(pairs):
        raise InvalidRequestError("A field is given twice.")
    return found


class Answer:
    """A page, a file, or a way to another page."""

    def __init__(
        self,
        content: str | bytes = b"",
        *,
        status: int = 200,
        kind: str = "text/html; charset=utf-8",
        headers: Headers | None = None,
        kept: bool = False,
    ) -> None:
        """`kept`: it says nothing of money, and a browser may keep it for an hour."""
        self.content = content.encode() if isinstance(content, str) else content
        self.status = status
        self.headers: Headers = [
            (b"content-type", kind.encode()),
            (b"cache-control", b"private, max-age=3600" if kept else b"no-store"),
            *_HEADERS,
            *(headers or []),
        ]

    async def send(self, send: Any, *, head: bool = False) -> None:
        """Send it, without its content where only the head was asked for."""
        headers = [*self.headers, (b"content-length", b"%d" % len(self.content))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else self.content})


def go(path: str, *headers: tuple[bytes, bytes]) -> Answer:
    """To another page of the console, by GET."""
    return Answer(status=303, headers=[(b"location", path.encode("ascii")), *headers])


def cookie(token: str) -> tuple[bytes, bytes]:
    """The header that gives a browser its visit, or takes it away (''). Scripts and other sites never have it.

    It lasts until the browser is closed, or the visit is over. Not `Secure`: loopback has no TLS, and Safari would
    not send it.
    """
    over = "; Max-Age=0" if not token else ""
    return b"set-cookie", f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict{over}".encode()


def status_of(error: Exception) -> int:
    """Of an answer that tells this error."""
    return error.status if isinstance(error, WS402Error) else 503 if isinstance(error, TimeoutError) else 500
