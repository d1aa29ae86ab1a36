"""PKCS#11 2.40 and 3.0, the interface of HSMs: `CKM_ECDSA` on secp256k1, `CKM_EDDSA` on ed25519 (PureEdDSA).

A module is loaded once into the process and is logged in once, so keys of one token share a session. A call into it
cannot be given up: who asks waits no longer than a deadline, the thread stays until the module returns.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, TokenFlag, exceptions

from ws402.errors import ConfigurationError
from ws402.keys.kms.service import KeyServiceError, PublicKey, Reason, wrong_kind
from ws402.settings import KmsSettings

log = logging.getLogger(__name__)

SECP256K1_PARAMETERS: Final = bytes.fromhex("06052b8104000a")
"""The curve's object identifier in DER (SEC 2)."""

LOST: Final = (
    exceptions.SessionHandleInvalid,
    exceptions.SessionClosed,
    exceptions.DeviceRemoved,
    exceptions.DeviceError,
    exceptions.TokenNotPresent,
    exceptions.UserNotLoggedIn,
    exceptions.KeyHandleInvalid,
    exceptions.ObjectHandleInvalid,
)
"""After these the session is opened anew, once."""

REFUSED: Final = (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange, exceptions.PinExpired)

CLOSE_SECONDS: Final = 1.0
"""How long `close` waits for a call that is under way."""

T = TypeVar("T")

_tokens: dict[tuple[str, str], _Token] = {}


class _Token:
    """A token that is logged in, and who uses it. A session takes one call at a time."""

    def __init__(self, module: str, label: str, pin: str) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.pin = pin
        self.refused: type[exceptions.PKCS11Error] | None = None
        """What was said of the PIN, which is not tried again: some more wrong ones, and the token is locked."""
        self._library = pkcs11.lib(module)
        self._label = label
        self._session: Any = None

    def session(self) -> Any:
        """The session, opened when there is none. Raises PKCS11Error."""
        if self._session is None:
            if self.refused is not None:
                raise self.refused
            token = self._library.get_token(token_label=self._label)
            if TokenFlag.USER_PIN_FINAL_TRY in token.flags:
                raise exceptions.PinLocked  # all but: the last try is its owner's
            try:
                self._session = token.open(user_pin=self.pin)
            except exceptions.UserAlreadyLoggedIn:  # a login is the process's, not the session's
                self._session = token.open()
            except REFUSED as error:
                self.refused = type(error)
                raise
        return self._session

    def drop(self) -> None:
        """Close the session; the next use opens another."""
        session, self._session = self._session, None
        if session is not None:
            try:
                session.close()
            except exceptions.PKCS11Error:
                self._library.reinitialize()  # it is beyond closing


class Pkcs11Key:
    """See `ws402.keys.kms.service.KeyService`. A key is found by its label, which private and public half share."""

    kind = "pkcs11"

    def __init__(self, name: str, settings: KmsSettings) -> None:
        """Raises ConfigurationError when the module cannot be loaded."""
        if settings.pkcs11_module is None or settings.pkcs11_token is None or settings.pkcs11_pin_file is None:
            raise ConfigurationError(
                f"The signer pkcs11:{name} needs a module, a token and its PIN.",
                remedy="Set kms.pkcs11_module, kms.pkcs11_token and kms.pkcs11_pin_file.",
            )
        self.name = name
        self._algorithm = ""
        place, pin = (str(settings.pkcs11_module), settings.pkcs11_token), _pin(settings.pkcs11_pin_file)
        if place not in _tokens or (_tokens[place].refused is not None and _tokens[place].pin != pin):
            try:
                _tokens[place] = _Token(*place, pin)
            except (exceptions.PKCS11Error, RuntimeError):
                raise ConfigurationError(
                    f"The PKCS#11 module {place[0]} cannot be loaded.",
                    remedy="Set kms.pkcs11_module to the HSM maker's library, and mount what it needs.",
                ) from None
        self._place = place
        self._token = _tokens[place]
        self._token.users += 1

    def public_key(self) -> PublicKey:
        """See `KeyService.public_key`."""

        def read(session: Any) -> PublicKey:
            key = session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=self.name)
            point, parameters = bytes(key[Attribute.EC_POINT]), bytes(key[Attribute.EC_PARAMS])
            if key.key_type == KeyType.EC and parameters == SECP256K1_PARAMETERS:
                return PublicKey("secp256k1", point[-64:])
            if key.key_type == KeyType.EC_EDWARDS:
                return PublicKey("ed25519", point[-32:])
            raise wrong_kind(self.name)

        public = self._call(read)
        self._algorithm = public.algorithm
        return public

    def sign(self, payload: bytes) -> bytes:
        """See `KeyService.sign`."""
        mechanism = Mechanism.ECDSA if self._algorithm == "secp256k1" else Mechanism.EDDSA

        def sign(session: Any) -> bytes:
            key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=self.name)
            return bytes(key.sign(payload, mechanism=mechanism))

        return self._call(sign)

    def close(self) -> None:
        """See `KeyService.close`. A call that hangs keeps the session: who closes may be an event loop."""
        token = self._token
        if not token.lock.acquire(timeout=CLOSE_SECONDS):
            log.warning("the token does not answer; its session ends with this process")
            return
        try:
            token.users -= 1
            if token.users == 0:
                token.drop()
                # One that refused the PIN is remembered: the next key of it would try that again.
                if token.refused is None and _tokens.get(self._place) is token:
                    del _tokens[self._place]
        finally:
            token.lock.release()

    def _call(self, call: Callable[[Any], T]) -> T:
        with self._token.lock:
            try:
                try:
                    return call(self._token.session())
                except LOST:
                    self._token.drop()
                    return call(self._token.session())
            except exceptions.PKCS11Error as error:
                reason, remedy = _explain(error)
                raise KeyServiceError(
                    f"The token does not sign by the key {self.name} ({type(error).__name__}).", reason, remedy=remedy
                ) from None


def _pin(path: Path) -> str:
    try:
        pin = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        pin = ""
    if not pin:
        raise ConfigurationError(
            f"The file of the token's PIN, {path}, cannot be read, or is empty.", remedy="Set kms.pkcs11_pin_file."
        )
    return pin


def _explain(error: exceptions.PKCS11Error) -> tuple[Reason, str | None]:
    match error:
        case exceptions.NoSuchKey():
            return "missing", "Check the label: the token needs a private and a public key of it."
        case exceptions.MultipleObjectsReturned():
            return "wrong_key", "Two keys have this label: give each its own."
        case exceptions.NoSuchToken() | exceptions.TokenNotPresent() | exceptions.DeviceRemoved():
            return "unreachable", "Check kms.pkcs11_token, and that the HSM is there."
        case exceptions.PinLocked():
            return "login", "The PIN is locked, or the next wrong one locks it: log in once by the HSM's own tool."
        case _ if isinstance(error, REFUSED):
            return "login", "It is not tried again, lest the token locks it: correct kms.pkcs11_pin_file, and restart."
        case exceptions.FunctionRejected() | exceptions.UserNotLoggedIn():
            return "denied", None
        case exceptions.MechanismInvalid() | exceptions.KeyTypeInconsistent():
            return "wrong_key", "The token has no CKM_ECDSA or CKM_EDDSA for this key."
        case _:
            return "failed", None
