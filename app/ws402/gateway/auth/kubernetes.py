"""Servers that prove themselves by their ServiceAccount's projected token, verified offline.

The token is a JWT that the cluster signed for one audience, bound to a pod, an hour long
(https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens).
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

import jwt

from ws402.gateway.auth.cluster_keys import ClusterKeys
from ws402.gateway.auth.errors import KeysMissingError
from ws402.settings import KubernetesIdentitySettings

log = logging.getLogger(__name__)

LEEWAY_SECONDS: Final = 30
"""How far the clocks of the API server and of the gateway may be apart."""
MAX_LIFE_SECONDS: Final = 86_400
"""Tokens made for longer are refused: nothing here hears of it when one is stolen."""
MAX_TOKEN: Final = 8192
MAX_KNOWN: Final = 4096
"""Tokens that were verified and are remembered."""

_REQUIRED: Final = {"require": ["exp", "iat", "nbf", "iss", "aud", "sub"]}


class Identity:
    """Which account of the allow-list a token proves. One is verified once, and remembered by hash until it ends."""

    def __init__(self, settings: KubernetesIdentitySettings) -> None:
        self._settings = settings
        self.keys = ClusterKeys(settings, self._forget)
        self._accounts = dict(_account(each) for each in settings.allow)
        self._verified: dict[str, tuple[str, float]] = {}
        """Token hash to account, and until when (seconds of the epoch)."""

    @property
    def tenants(self) -> dict[str, str]:
        """Accounts that may call, as `namespace/serviceaccount`, and the tenant of each."""
        return dict(self._accounts)

    def known(self, token_hash: str) -> str | None:
        """The account of a token that was verified before and has not ended."""
        found = self._verified.get(token_hash)
        if found is None:
            return None
        if found[1] > time.time():
            return found[0]
        del self._verified[token_hash]
        return None

    def verify(self, token: str, token_hash: str) -> str | None:
        """The account that a token proves, or None. Why not is for the log, never for the caller.

        Raises KeysMissingError when the cluster's keys must be read first.
        """
        if len(token) > MAX_TOKEN:
            return None
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = self.keys.get(key_id) if isinstance(key_id, str) else None
            if key is None:
                if not self.keys.known or (isinstance(key_id, str) and self.keys.may_ask):
                    raise KeysMissingError(self.keys.ask)
                log.info("a ServiceAccount token has no key of the cluster")
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._settings.audience,
                issuer=self.keys.issuer,
                leeway=LEEWAY_SECONDS,
                options=_REQUIRED,  # type: ignore[arg-type]  # a TypedDict there
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            log.info("a ServiceAccount token is refused: %s", type(error).__name__)
            return None
        account = self._allowed(claims)
        if account is not None:
            self._remember(token_hash, account, claims["exp"])
        return account

    def _allowed(self, claims: dict[str, Any]) -> str | None:
        """The account that the verified claims name, if it may call."""
        if claims["aud"] not in ([self._settings.audience], self._settings.audience):
            log.info("a ServiceAccount token is refused: it is for other audiences too")
            return None
        if claims["exp"] - claims["iat"] > MAX_LIFE_SECONDS:
            log.info("a ServiceAccount token is refused: it was made for more than a day")
            return None
        account = _subject(claims)
        if account not in self._accounts:
            log.warning("the ServiceAccount %s is not in KUBERNETES_IDENTITY.ALLOW", account)
            return None
        return account

    def _remember(self, token_hash: str, account: str, until: float) -> None:
        if len(self._verified) >= MAX_KNOWN:
            now = time.time()
            self._verified = {key: each for key, each in self._verified.items() if each[1] > now}
        while len(self._verified) >= MAX_KNOWN:
            del self._verified[next(iter(self._verified))]
        self._verified[token_hash] = (account, until)

    def _forget(self) -> None:
        """The cluster has other keys: what the old ones proved must be proved again."""
        self._verified.clear()


def _subject(claims: dict[str, Any]) -> str | None:
    """`namespace/serviceaccount`, which `sub` and the private claims must name alike."""
    private = claims.get("kubernetes.io")
    account = private.get("serviceaccount") if isinstance(private, dict) else None
    if not isinstance(private, dict) or not isinstance(account, dict):
        return None
    namespace, name = private.get("namespace"), account.get("name")
    if claims["sub"] != f"system:serviceaccount:{namespace}:{name}":
        return None
    return f"{namespace}/{name}"


def _account(entry: str) -> tuple[str, str]:
    tenant, _, account = entry.rpartition(":")
    return account, tenant or account
