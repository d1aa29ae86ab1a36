"""Errors as the wire has them: `ErrorResponse` and an HTTP status; what went wrong inside stays inside."""

from __future__ import annotations

import re
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec

from ws402.errors import InvalidRequestError, RateLimitedError, UnauthorizedError, UnavailableError, WS402Error
from ws402.gateway.auth.keys import retry_after
from ws402.money import wire_amount
from ws402.protocol import ErrorResponse
from ws402.protocol.phrases import phrase

T = TypeVar("T")

Headers = list[tuple[bytes, bytes]]

_MISSING: Final = re.compile(r"Object missing required field `([^`]+)`(?: - at `\$\.?(.*)`)?")
_WRONG: Final = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)
_AMOUNTS: Final = ("amount", "pricePerSecond")


class TooLargeError(InvalidRequestError):
    """The body is larger than the gateway reads."""

    code = "too_large"
    status = 413


class MediaTypeError(InvalidRequestError):
    """The body is not declared as JSON."""

    code = "media_type"
    status = 415


class MethodError(InvalidRequestError):
    """The path exists, but not for this method."""

    code = "method"
    status = 405

    def __init__(self, allowed: str) -> None:
        super().__init__(f"This path answers {allowed} only.")
        self.allowed = allowed


class InternalError(WS402Error):
    """Something failed that should not; the log has it."""

    code = "internal"

    def __init__(self) -> None:
        super().__init__("The gateway failed; its log tells more.")


class TimedOutError(UnavailableError):
    """The request took too long; it may have had its effect."""

    code = "timeout"

    def __init__(self) -> None:
        super().__init__("The request took too long.", remedy="Send it again.")


def describe(error: WS402Error) -> tuple[ErrorResponse, Headers]:
    """The body and the extra headers that tell an error."""
    headers: Headers = []
    if isinstance(error, RateLimitedError):
        headers.append((b"retry-after", retry_after(error)))
    elif isinstance(error, MethodError):
        headers.append((b"allow", error.allowed.encode()))
    elif isinstance(error, UnauthorizedError):
        headers.append((b"www-authenticate", b'Bearer realm="ws402"'))
    refundable = getattr(error, "refundable", None)
    body = ErrorResponse(
        error=phrase(error.status),
        message=error.message,
        code=error.code,
        remedy=error.remedy,
        refundable=None if refundable is None else wire_amount(refundable),
    )
    return body, headers


def decode(decoder: msgspec.json.Decoder[T], body: bytes | bytearray | msgspec.Raw) -> T:
    """Read a request. Raises InvalidRequestError, which names the field in the wire's spelling."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "it is empty" if not body else str(error)[:200]
        raise InvalidRequestError(
            f"The body is not JSON: {reason}.", remedy="Send a JSON object with Content-Type: application/json."
        ) from None


def decode_query(kind: type[T], query: bytes) -> T:
    """Read a query string's fields. Raises InvalidRequestError, which names the field."""
    try:
        fields = dict(parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query)))
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except ValueError:
        raise InvalidRequestError("The query string cannot be read.", remedy="Write ?name=value&name=value.") from None


def _explain(text: str) -> InvalidRequestError:
    if match := _MISSING.fullmatch(text):
        field = ".".join(part for part in (match[2], match[1]) if part)
        return InvalidRequestError(f"The field '{field}' is missing.", code="missing_field")
    if (match := _WRONG.fullmatch(text)) and match[2]:
        reason, field = match[1].replace("`", "'")[:200], match[2]
        remedy = None
        if field.rpartition(".")[2] in _AMOUNTS:
            remedy = "Send a whole number of the asset's smallest unit, or a string of digits; nothing is rounded."
        return InvalidRequestError(f"The field '{field}' is wrong: {reason[:1].lower()}{reason[1:]}.", remedy=remedy)
    reason = text.replace("`", "'")[:200]
    return InvalidRequestError(f"The body is wrong: {reason}.", remedy="Send a JSON object.")
