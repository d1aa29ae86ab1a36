"""A Vault client that logs in, renews, logs in again, and tells what is wrong in words. Blocking; for one thread."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import hvac
import requests
from hvac.exceptions import (
    BadGateway,
    Forbidden,
    InternalServerError,
    InvalidPath,
    InvalidRequest,
    RateLimitExceeded,
    Unauthorized,
    UnexpectedError,
    VaultDown,
    VaultError,
    VaultNotInitialized,
)

from ws402.keys.snapshot import Counters, SecretsUnavailableError
from ws402.keys.vault.command import BOOTSTRAP, command, to_read, to_write
from ws402.settings import VaultSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

RENEW_AT: Final = 2 / 3
"""Of a token's life; with up to a tenth of jitter, so that replicas don't come all at once."""

MAX_QUOTED: Final = 200
"""Characters of Vault's own words in a message."""


class VaultClient:
    """One login. `call` gives its hvac client to a function, with a valid token."""

    def __init__(self, settings: VaultSettings, counters: Counters) -> None:
        self._settings = settings
        self._counters = counters
        session = requests.Session()
        session.trust_env = False  # no proxy, no netrc, no other certificates than ours
        session.verify = str(settings.ca_file) if settings.ca_file else True
        # Everything is given, for hvac would take a token, an address and certificates from wherever it finds them.
        self._client = hvac.Client(
            url=settings.address.rstrip("/"),
            token="",
            verify=session.verify,
            timeout=settings.timeout_seconds,  # type: ignore[arg-type]  # requests takes fractions too
            allow_redirects=False,
            session=session,
            namespace=settings.namespace,
        )
        self._life = 0.0
        self._renewable = False
        self._rights: Mapping[str, Any] = {}
        """What the login said of role and policies."""
        self._renew_at: float | None = None
        """By the monotonic clock; None: the token does not end."""

    @property
    def logged_in(self) -> bool:
        """Whether there is a token, valid or not."""
        return bool(self._client.token)

    def call(self, what: str, ask: Callable[[hvac.Client], T], *, name: str = "") -> T:
        """Ask Vault for something; `what` says in errors what it is. Raises SecretsUnavailableError.

        `name`: the secret's below `path`, or `transit/<key>`, for the command that would mend it.
        A token that Vault does not take any more is replaced by a login, once.
        """
        try:
            fresh = self._ensure()
            try:
                return ask(self._client)
            except Forbidden:
                if fresh:
                    raise
                self._login()
                return ask(self._client)
        except SecretsUnavailableError:
            raise
        except InvalidPath as error:
            raise self._missing(what, error, name) from None
        except (VaultError, requests.RequestException, OSError) as error:
            raise self.explain(error, what, name) from None

    def close(self) -> None:
        """Revoke the token that a login made, if Vault answers, and let go of connections."""
        if self.logged_in and self._settings.auth != "token":
            try:
                self._client.auth.token.revoke_self()
            except (VaultError, requests.RequestException, OSError) as error:
                log.info("the Vault token runs out by itself: %s", type(error).__name__)
        self._client.token = ""
        self._client.adapter.close()

    # --- the token ---------------------------------------------------------------------------------------------------

    def _ensure(self) -> bool:
        """Have a valid token; whether it was made just now."""
        if not self.logged_in:
            self._login()
            return True
        if self._renew_at is None or time.monotonic() < self._renew_at:
            return False
        if self._renewable:
            try:
                answer = self._client.auth.token.renew_self()
            except (Forbidden, InvalidRequest, InternalServerError):
                self._counters.renewals_failed += (
                    1  # it has ended, or came to its longest life, which Vault tells with a 500: log in
                )
            else:
                self._counters.renewals += 1
                # Near its longest life a token is renewed for ever less: a new one lasts longer.
                if int(answer["auth"]["lease_duration"]) >= self._life / 2:
                    self._note(answer["auth"])
                    return False
        self._login()
        return True

    def _login(self) -> None:
        try:
            self._log_in()
        except SecretsUnavailableError:
            self._counters.logins_failed += 1
            raise

    def _log_in(self) -> None:
        settings, auth = self._settings, self._client.auth
        self._client.token = ""
        token = ""
        try:
            if settings.auth == "kubernetes":
                token = _read(settings.token_file, "token_file")
                answer = auth.kubernetes.login(settings.role, token, mount_point=settings.auth_mount or "kubernetes")
            elif settings.auth == "approle":
                answer = auth.approle.login(
                    _read(settings.role_id_file, "role_id_file"),
                    _read(settings.secret_id_file, "secret_id_file"),
                    mount_point=settings.auth_mount or "approle",
                )
            else:
                self._client.token = _read(settings.token_file, "token_file")
                data = auth.token.lookup_self()["data"]
                answer = {"auth": {"lease_duration": data["ttl"], "renewable": data.get("renewable", False)}}
                answer["auth"]["token_policies"] = data.get("policies")
        except (Forbidden, InvalidRequest, Unauthorized, InvalidPath) as error:
            self._client.token = ""
            raise self._refused(error, token) from None
        except (VaultError, requests.RequestException, OSError) as error:
            self._client.token = ""
            raise self.explain(error, "the login") from None
        self._life = float(answer["auth"]["lease_duration"])
        self._note(answer["auth"])
        self._rights = answer["auth"]
        self._counters.logins += 1
        log.info("logged in to Vault by %s", settings.auth)

    def _note(self, auth: Any) -> None:
        lease = float(auth["lease_duration"])
        self._renewable = bool(auth.get("renewable"))
        jitter = random.uniform(0.9, 1.0)  # noqa: S311 - spreads load, guards nothing
        self._renew_at = time.monotonic() + lease * RENEW_AT * jitter if lease > 0 else None
        self._counters.token_ends = time.monotonic() + lease if lease > 0 else None

    # --- errors ------------------------------------------------------------------------------------------------------

    def _refused(self, error: VaultError, token: str) -> SecretsUnavailableError:
        """A login that Vault refused, with what can be seen of the token: it tells only Vault's side, if at all."""
        settings = self._settings
        if settings.auth == "token":
            return SecretsUnavailableError(
                f"Vault does not take the token of {settings.token_file}: {_words(error)}.",
                "login",
                remedy="It has ended, was revoked, or may not look itself up: write a new one there.",
            )
        who = f"role '{settings.role}' at auth/{settings.auth_mount or 'kubernetes'}"
        if settings.auth == "approle":
            who = f"the AppRole at auth/{settings.auth_mount or 'approle'}"
        remedy = "Check role id and secret id."
        if settings.auth == "kubernetes":
            account = _claims_of(token)
            remedy = (
                "Compare it with the role's bound account, namespace and audience. To bind the role to it as well: "
                f"{self._bootstrap([], **account)}"
            )
        return SecretsUnavailableError(
            f"Vault refuses the login for {who}: {_words(error)}.{_told(token)}", "login", remedy=remedy
        )

    def _bootstrap(self, arguments: list[str], **account: str | None) -> str:
        """The operator's command for this gateway's Vault."""
        settings = self._settings
        policies = [each for each in self._rights.get("token_policies") or [] if each != "default"]
        role = (self._rights.get("metadata") or {}).get("role_name") if settings.auth == "approle" else settings.role
        return command(
            BOOTSTRAP,
            arguments,
            kv_mount=settings.kv_mount,
            path=settings.path,
            transit_mount=settings.transit_mount,
            policy=policies[0] if len(policies) == 1 else None,
            auth=settings.auth,
            auth_mount=settings.auth_mount,
            role=role,
            **account,
        )

    def _missing(self, what: str, error: VaultError, name: str) -> SecretsUnavailableError:
        words = f" ({_words(error)})" if error.errors else ""
        remedy = "Check mount, path and namespace"
        if name and self._settings.auth != "token":
            remedy += f", or write it: {self._bootstrap(to_write(name))}"
        return SecretsUnavailableError(f"Vault has no {what}{words}.", "missing", remedy=remedy)

    def _denied(self, name: str) -> str:
        if self._settings.auth == "token" or not name:
            return "Give a policy of its token the right to it."
        return f"Give its policy the right to it, which takes none away: {self._bootstrap(to_read(name))}"

    def explain(self, error: Exception, what: str, name: str = "") -> SecretsUnavailableError:
        """What an error of hvac or below it means, in words that hold no secret. `name`: as for `call`."""
        address = self._settings.address
        match error:
            case VaultNotInitialized():
                return SecretsUnavailableError(f"Vault at {address} is not initialised.", "sealed")
            case VaultDown():
                return SecretsUnavailableError(
                    f"Vault at {address} is sealed.", "sealed", remedy="Unseal it; nothing is lost meanwhile."
                )
            case Forbidden():
                return SecretsUnavailableError(f"Vault denies {what}.", "denied", remedy=self._denied(name))
            case RateLimitExceeded():
                return SecretsUnavailableError(f"Vault at {address} limits or stands by; asking again.", "busy")
            case InternalServerError() | BadGateway() | UnexpectedError():
                return SecretsUnavailableError(f"Vault at {address} fails: {_words(error)}.", "busy")
            case VaultError():
                return SecretsUnavailableError(f"Vault refuses {what}: {_words(error)}.", "denied")
            case requests.exceptions.SSLError():
                return SecretsUnavailableError(
                    f"The certificate of Vault at {address} is not of the authority that is trusted.",
                    "certificate",
                    remedy="Check ca_file and the address; nothing was sent.",
                )
            case requests.exceptions.Timeout():
                return SecretsUnavailableError(
                    f"Vault at {address} did not answer within {self._settings.timeout_seconds:g} s.", "slow"
                )
            case requests.exceptions.ConnectionError():
                return SecretsUnavailableError(f"Vault at {address} cannot be reached.", "unreachable")
            case _:
                # A file's name and trouble; an answer that is no JSON must not be quoted.
                told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else ""
                return SecretsUnavailableError(
                    f"Vault at {address}: {told or 'its answer cannot be read'}.", "token" if told else "unreachable"
                )


def _read(path: Path | None, name: str) -> str:
    """A file's one line. Raises SecretsUnavailableError."""
    assert path is not None  # noqa: S101 - the settings are complete
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SecretsUnavailableError(
            f"Vault's {name} {path} cannot be read: {why}.", "token", remedy="Mount or write it; it is read anew."
        ) from None
    if not text or any(each.isspace() for each in text):
        raise SecretsUnavailableError(f"Vault's {name} {path} is empty, or not one line.", "token")
    return text


def _words(error: VaultError) -> str:
    """Vault's own words, without the address that hvac adds."""
    text = ", ".join(str(each) for each in error.errors) if error.errors else type(error).__name__
    return " ".join(text.split())[:MAX_QUOTED].rstrip(".")


def _claims(token: str) -> dict[str, Any]:
    """What a ServiceAccount token says of itself; unverified, for a message only."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return {}
    return claims if isinstance(claims, dict) else {}


def _claims_of(token: str) -> dict[str, str | None]:
    """The options of `bootstrap` that bind a role to a token's account."""
    subject = str(_claims(token).get("sub", "")).split(":")
    if len(subject) != 4 or subject[:2] != ["system", "serviceaccount"]:
        return {}
    return {"service_account": subject[3], "service_account_namespace": subject[2]}


def _told(token: str) -> str:
    """What a token says of itself, as a sentence. Never the token."""
    claims = _claims(token)
    if not claims:
        return ""
    told = f" The token is of {claims.get('sub')} for the audience {claims.get('aud')}"
    ends = claims.get("exp")
    if isinstance(ends, int | float):
        state = "ended" if ends <= time.time() else "ends"
        told += f" and {state} at {datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{told}."
