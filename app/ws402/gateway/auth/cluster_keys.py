"""The public keys of a Kubernetes cluster (RFC 7517), by which its ServiceAccount tokens are verified offline."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ws402 import tls
from ws402.errors import UnavailableError
from ws402.files import read_token
from ws402.jobs import Job
from ws402.settings import KubernetesIdentitySettings

log = logging.getLogger(__name__)

FETCH_SECONDS: Final = 5.0
"""How long the API server may take to show its keys."""
RETRY_SECONDS: Final = 5.0
"""How soon keys are asked for again that could not be had at the start."""
ASKED_SECONDS: Final = 10.0
"""Tokens with unknown keys make the keys be read at most this often."""
MAX_BYTES: Final = 262_144
MIN_RSA_BITS: Final = 2048


class ClusterKeys:
    """Reads the keys at the start, on a timer, and when a token names one that is not known yet.

    When the API server is away, the keys that were read last stay good. `on_change` is called when they change.
    """

    def __init__(self, settings: KubernetesIdentitySettings, on_change: Callable[[], None]) -> None:
        self._settings = settings
        self._on_change = on_change
        self._tls = tls.calling(settings.ca_file, None, None)
        self._shown: list[dict[str, Any]] | None = None
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked_at = -ASKED_SECONDS
        self._reading: asyncio.Task[bool] | None = None
        self.job: Job | None = None
        self.issuer = settings.issuer
        """Whose tokens are good; None before it is known."""

    async def start(self) -> None:
        """Read the keys, or go on trying."""
        delay = None if await self._read() else RETRY_SECONDS
        self.job = Job("cluster keys", self._turn, self._settings.refresh_seconds, delay=delay)
        self.job.start()

    async def close(self) -> None:
        """Stop reading."""
        if self.job is not None:
            await self.job.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None

    @property
    def known(self) -> bool:
        """Whether there are keys at all."""
        return self._shown is not None and self.issuer is not None

    def get(self, key_id: str) -> jwt.PyJWK | None:
        """A key by its id."""
        return self._keys.get(key_id)

    @property
    def may_ask(self) -> bool:
        """Whether asking for the keys now can bring one that is missing."""
        return self._reading is not None or time.monotonic() >= self._asked_at + ASKED_SECONDS

    async def ask(self) -> None:
        """Read the keys because one is missing, unless that was done just now; all who miss one share one reading."""
        if self._reading is None:
            if not self.may_ask:
                return
            self._asked_at = time.monotonic()
            self._reading = asyncio.create_task(self._read(), name="cluster keys asked for")
            self._reading.add_done_callback(self._asked)
        await asyncio.shield(self._reading)

    def _asked(self, _: asyncio.Task[bool]) -> None:
        self._reading = None

    async def _turn(self) -> None:
        if not await self._read():
            raise UnavailableError("The cluster's keys cannot be read.")

    async def _read(self) -> bool:
        """Read once; whether that went well. What goes wrong changes nothing."""
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                shown = await self._fetch()
            keys = _usable(shown)
            if not keys:
                msg = "it shows no key that is of use"
                raise ValueError(msg)  # noqa: TRY301 - told below as all else
            issuer = self._settings.issuer or self._own_issuer()
        except (OSError, ValueError, KeyError, TypeError, httpx.HTTPError, jwt.PyJWTError) as error:
            log.error(  # noqa: TRY400 - the cause is outside
                "the cluster's keys cannot be read from %s (%s); %s",
                self._settings.jwks_url,
                _cause(error),
                "those read last stay in use" if self.known else "servers without an API key are turned away",
            )
            return False
        if shown != self._shown or issuer != self.issuer:
            self._shown, self._keys, self.issuer = shown, keys, issuer
            log.info("the cluster's keys: %d of %s", len(keys), issuer)
            self._on_change()
        return True

    async def _fetch(self) -> list[dict[str, Any]]:
        headers = {"Accept": "application/jwk-set+json, application/json"}
        if self._settings.token_file is not None:
            headers["Authorization"] = f"Bearer {read_token(self._settings.token_file)}"
        content = b""
        async with (
            httpx.AsyncClient(verify=self._tls.value, trust_env=False, timeout=FETCH_SECONDS) as client,
            client.stream("GET", self._settings.jwks_url, headers=headers) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                msg = f"it answers {answer.status_code}"
                raise ValueError(msg)
            async for piece in answer.aiter_bytes():
                content += piece
                if len(content) > MAX_BYTES:
                    msg = "its answer is too large"
                    raise ValueError(msg)
        return list(json.loads(content)["keys"])

    def _own_issuer(self) -> str:
        """The issuer of the gateway's own token, which the kubelet put there: the cluster's."""
        assert self._settings.token_file is not None  # noqa: S101 - the settings ask for one of both
        claims = jwt.decode(read_token(self._settings.token_file), options={"verify_signature": False})
        return str(claims["iss"])


def _usable(shown: list[dict[str, Any]]) -> dict[str, jwt.PyJWK]:
    """The signing keys with an id, each good for one algorithm only: RS256 for RSA, ES256 for P-256 (RFC 7518 §3.1)."""
    keys: dict[str, jwt.PyJWK] = {}
    for each in shown:
        key_id = each.get("kid")
        algorithm = {("RSA", None): "RS256", ("EC", "P-256"): "ES256"}.get((str(each.get("kty")), each.get("crv")))
        if (
            not key_id
            or algorithm is None
            or each.get("use", "sig") != "sig"
            or each.get("alg", algorithm) != algorithm
        ):
            continue
        try:
            key = jwt.PyJWK(each, algorithm=algorithm)
        except jwt.PyJWTError:
            continue
        if not isinstance(key.key, RSAPublicKey) or key.key.key_size >= MIN_RSA_BITS:
            keys[str(key_id)] = key
    return keys


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.ConnectError):
        return str(error) or "no connection"
    return str(error) or type(error).__name__
