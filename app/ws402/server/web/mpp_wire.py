"""MPP's charge on EVM chains by HTTP's scheme `Payment`: challenges written, credentials read strictly.

https://github.com/tempoxyz/mpp-specs (draft-httpauth-payment, draft-evm-charge). Tokens are base64url of JSON, without
padding; `request` and `opaque` are of canonical JSON (RFC 8785). A challenge is no row anywhere: its id is a MAC of all
that it says, by a secret that all servers of a tenant have.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from ws402.nesting import too_deep
from ws402.protocol import SignedTransfer
from ws402.server.web.x402_wire import MAX_DEPTH, MAX_HEADER, TIMEOUT_SECONDS, MalformedPaymentError, signed_transfer

CHALLENGE: Final = "www-authenticate"
RECEIPT: Final = "payment-receipt"

METHOD: Final = "evm"
INTENT: Final = "charge"

_TOKEN: Final = re.compile(rb"[A-Za-z0-9_-]+=*")

_canonical: Final = msgspec.json.Encoder(order="sorted")


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """A challenge as it comes back. `request` and `opaque` are as they were sent."""

    id: str
    realm: str
    method: str
    intent: str
    request: str
    expires: str | None = None
    digest: str | None = None
    opaque: str | None = None


class _Payload(msgspec.Struct):
    type: str
    from_: str = msgspec.field(name="from")
    to: str
    value: str
    valid_after: str = msgspec.field(name="validAfter")
    valid_before: str = msgspec.field(name="validBefore")
    nonce: str
    signature: str


class _Credential(msgspec.Struct):
    challenge: Challenge
    payload: _Payload


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What a client shows: our challenge, and the transfer that it signed for it."""

    challenge: Challenge
    transfer: SignedTransfer

    @property
    def secret(self) -> str:
        """The challenge's id: the chain has only a hash of it."""
        return self.challenge.id


_credential: Final = msgspec.json.Decoder(_Credential)


@lru_cache(maxsize=1024)
def charge(chain_id: int, contract: str, decimals: int, recipient: str, amount: int) -> str:
    """A challenge's `request`: so many smallest units of a token for a recipient."""
    details = {"chainId": chain_id, "credentialTypes": ["authorization"], "decimals": decimals}
    request = {"amount": str(amount), "currency": contract, "methodDetails": details, "recipient": recipient}
    return _url64(_canonical.encode(request))


def challenge(secret: str, realm: str, request: str, resource_id: str, seconds: int) -> str:
    """One challenge, as WWW-Authenticate has it. Nobody can tell the id of the next."""
    opaque = _url64(
        _canonical.encode({"offer": secrets.token_urlsafe(16), "resource": resource_id, "seconds": str(seconds)})
    )
    expires = _written(int(time.time()) + TIMEOUT_SECONDS)
    made = Challenge(id="", realm=realm, method=METHOD, intent=INTENT, request=request, expires=expires, opaque=opaque)
    return (
        f'Payment id="{_id(secret, made)}", realm="{realm}", method="{METHOD}", intent="{INTENT}", '
        f'request="{request}", expires="{expires}", opaque="{opaque}"'
    )


def is_ours(shown: Challenge, known: tuple[str, ...], realm: str, resource_id: str, seconds: int) -> bool:
    """Whether one of our servers made this challenge, here, for so many seconds of this resource.

    When it ended does not matter: the transfer has an end of its own, and one that came in time is answered again.
    """
    if shown.realm != realm or not any(
        hmac.compare_digest(_id(each, shown).encode(), shown.id.encode()) for each in known
    ):
        return False
    told = msgspec.json.decode(_plain(shown.opaque or ""))  # we made it
    return bool(told["resource"] == resource_id and told["seconds"] == str(seconds))


def credential_of(headers: list[tuple[bytes, bytes]]) -> Credential | None:
    """The credential in a request's headers, if there is one. Raises MalformedPaymentError."""
    # Split, not matched by a pattern: strangers write it, and spaces within must cost no more than other bytes.
    parts = [value.split(None, 1) for name, value in headers if name == b"authorization"]
    found = [each[1].rstrip() for each in parts if len(each) == 2 and each[0].lower() == b"payment"]
    if not found:
        return None
    if len(found) > 1:
        raise _malformed("There are two payments.")
    token = found[0]
    if len(token) > MAX_HEADER:
        raise _malformed(f"The payment has more than {MAX_HEADER} bytes.")
    try:
        content = _plain(token.decode("ascii")) if _TOKEN.fullmatch(token) else b""
    except (binascii.Error, ValueError):
        content = b""
    if too_deep(content, MAX_DEPTH):
        raise _malformed("The payment is nested too deeply.")
    try:
        shown = _credential.decode(content)
    except msgspec.DecodeError as error:
        raise _malformed(f"The payment is no base64url of the right JSON: {error}.") from None
    payload = shown.payload
    if payload.type != "authorization":
        raise _malformed("'type' is 'authorization'.")
    transfer = signed_transfer(
        payer=payload.from_,
        recipient=payload.to,
        value=payload.value,
        valid_after=payload.valid_after,
        valid_before=payload.valid_before,
        nonce=payload.nonce,
        signature=payload.signature,
    )
    return Credential(challenge=shown.challenge, transfer=transfer)


def receipt(reference: str, challenge_id: str, info: dict[str, Any]) -> str:
    """Payment-Receipt's value. `reference`: the transaction."""
    content = {
        "method": METHOD,
        "reference": reference,
        "status": "success",
        "timestamp": _written(int(time.time())),
        "challengeId": challenge_id,
        "extra": {"ws402": {"info": info}},
    }
    return _url64(_canonical.encode(content))


def _id(secret: str, each: Challenge) -> str:
    slots = (each.realm, each.method, each.intent, each.request, each.expires, each.digest, each.opaque)
    text = "|".join(slot or "" for slot in slots)
    return _url64(hmac.digest(secret.encode(), text.encode(), "sha256"))


@lru_cache(maxsize=4)
def _written(at: int) -> str:
    """A time in Unix seconds as RFC 3339 has it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _url64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _plain(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))


def _malformed(message: str) -> MalformedPaymentError:
    return MalformedPaymentError(message, remedy="Send what an MPP client makes of the WWW-Authenticate header.")
