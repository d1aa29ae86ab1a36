"""x402's headers (versions 1 and 2), read strictly and written: nothing else here knows their spelling.

https://github.com/x402-foundation/x402, `specs/`. Header values are standard base64 of JSON; amounts and times are
decimal strings.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

import msgspec

from ws402.errors import InvalidRequestError
from ws402.nesting import too_deep
from ws402.protocol import SignedTransfer

PAYMENT_REQUIRED: Final = "payment-required"
PAYMENT_RESPONSE: Final = "payment-response"
PAYMENT_RESPONSE_V1: Final = "x-payment-response"
PAYMENT_HEADERS: Final = {b"payment-signature": 2, b"x-payment": 1}
"""Headers that carry a payment, with their protocol's version."""

MAX_HEADER: Final = 8192
"""Bytes of a payment header; stock clients send about 1,500."""

MAX_DEPTH: Final = 16

TIMEOUT_SECONDS: Final = 120
"""How long what a client signs is good for."""

_NUMBER: Final = re.compile(r"[0-9]{1,78}")
_TIME: Final = re.compile(r"[0-9]{1,15}")


class MalformedPaymentError(InvalidRequestError):
    """A payment header cannot be read."""

    code = "malformed_payment"


class _Authorization(msgspec.Struct):
    from_: str = msgspec.field(name="from")
    to: str
    value: str
    valid_after: str = msgspec.field(name="validAfter")
    valid_before: str = msgspec.field(name="validBefore")
    nonce: str


class _Exact(msgspec.Struct):
    authorization: _Authorization
    signature: str


class _Accepted(msgspec.Struct):
    scheme: str
    network: str
    asset: str
    amount: str
    pay_to: str = msgspec.field(name="payTo")
    extra: dict[str, Any] = {}


class _PaymentV2(msgspec.Struct):
    version: int = msgspec.field(name="x402Version")
    payload: _Exact
    accepted: _Accepted
    extensions: dict[str, Any] | None = None


class _PaymentV1(msgspec.Struct):
    version: int = msgspec.field(name="x402Version")
    scheme: str
    network: str
    payload: _Exact


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """What a client shows. `asset`, `amount`, `recipient`: of the offer that it took, version 2 only."""

    version: int
    scheme: str
    network: str
    transfer: SignedTransfer
    asset: str | None = None
    amount: str | None = None
    recipient: str | None = None
    extra: dict[str, Any] = {}
    secret: str | None = None
    """What our offer had in its extension, as it came back."""


_v1: Final = msgspec.json.Decoder(_PaymentV1)
_v2: Final = msgspec.json.Decoder(_PaymentV2)


def encode(value: Any) -> str:
    """A header's value."""
    return base64.b64encode(msgspec.json.encode(value)).decode()


def payment_of(headers: list[tuple[bytes, bytes]]) -> Payment | None:
    """The payment in a request's headers, if there is one. Raises MalformedPaymentError."""
    shown = [(PAYMENT_HEADERS[name], value) for name, value in headers if name in PAYMENT_HEADERS]
    if not shown:
        return None
    version, value = max(shown)
    if sum(each == version for each, _ in shown) > 1:
        raise _malformed("There are two payments.")
    try:
        return _read(version, _json(value))
    except msgspec.DecodeError as error:
        raise _malformed(f"The payment cannot be read: {error}.") from None


def _read(version: int, content: bytes) -> Payment:
    if version == 1:
        first = _v1.decode(content)
        if first.version != 1:
            raise _malformed("X-PAYMENT is of version 1.")
        return Payment(version=1, scheme=first.scheme, network=first.network, transfer=_transfer(first.payload))
    second = _v2.decode(content)
    if second.version != 2:
        raise _malformed("PAYMENT-SIGNATURE is of version 2.")
    accepted = second.accepted
    return Payment(
        version=2,
        scheme=accepted.scheme,
        network=accepted.network,
        transfer=_transfer(second.payload),
        asset=accepted.asset,
        amount=accepted.amount,
        recipient=accepted.pay_to,
        extra=accepted.extra,
        secret=_secret(second.extensions or {}),
    )


def _json(value: bytes) -> bytes:
    if len(value) > MAX_HEADER:
        raise _malformed(f"The payment has more than {MAX_HEADER} bytes.")
    try:
        content = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise _malformed("The payment is not base64.") from None
    if too_deep(content, MAX_DEPTH):
        raise _malformed("The payment is nested too deeply.")
    return content


def signed_transfer(
    *, payer: str, recipient: str, value: str, valid_after: str, valid_before: str, nonce: str, signature: str
) -> SignedTransfer:
    """What was signed, of a payment's strings. Raises MalformedPaymentError."""
    if not _NUMBER.fullmatch(value):
        raise _malformed("'value' is a string of digits.")
    if not (_TIME.fullmatch(valid_after) and _TIME.fullmatch(valid_before)):
        raise _malformed("'validAfter' and 'validBefore' are strings of digits, in seconds.")
    return SignedTransfer(
        payer=payer,
        recipient=recipient,
        amount=value,
        valid_after=int(valid_after),
        valid_before=int(valid_before),
        nonce=nonce,
        signature=signature,
    )


def _transfer(payload: _Exact) -> SignedTransfer:
    signed = payload.authorization
    return signed_transfer(
        payer=signed.from_,
        recipient=signed.to,
        value=signed.value,
        valid_after=signed.valid_after,
        valid_before=signed.valid_before,
        nonce=signed.nonce,
        signature=payload.signature,
    )


def _secret(extensions: dict[str, Any]) -> str | None:
    ours = extensions.get("ws402")
    info = ours.get("info") if isinstance(ours, dict) else None
    secret = info.get("offer") if isinstance(info, dict) else None
    return secret if isinstance(secret, str) and 16 <= len(secret) <= 64 else None


def _malformed(message: str) -> MalformedPaymentError:
    return MalformedPaymentError(message, remedy="Send what an x402 client makes of the PAYMENT-REQUIRED header.")
