"""Signs by a keeper of keys: off the event loop, within a deadline, and checked before anybody sees a signature."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ws402.breaker import Breaker
from ws402.keys.base import SignerUnavailableError
from ws402.keys.kms.ecdsa import recoverable
from ws402.keys.kms.service import PASSING, KeyService, KeyServiceError, PublicKey
from ws402.observability import metrics

GRACE_SECONDS: Final = 1.0
"""What a call may take beyond its keeper's time-out, for what the SDK does around it."""


class KmsSigner:
    """See `ws402.keys.base.Signer`. A keeper that fails again and again is left alone for some seconds."""

    def __init__(self, service: KeyService, *, timeout_seconds: float, workers: int) -> None:
        """Blocks while the keeper tells the public key and signs a challenge by it. Raises KeyServiceError, after which
        the service is closed.

        `timeout_seconds`: for a whole signature, waiting for one of the `workers` included.
        """
        self._service = service
        try:
            public = _proved(service)
        except BaseException:
            service.close()
            raise
        self.algorithm: Literal["secp256k1", "ed25519"] = public.algorithm
        self.public_key = public.key
        self.key_id = f"{service.kind}:{service.name}"
        self._seconds = timeout_seconds + GRACE_SECONDS
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=service.kind)
        self._free = asyncio.Semaphore(workers)
        self._breaker = Breaker(self._refusal)

    async def sign(self, payload: bytes) -> bytes:
        """Sign; see `Signer.sign`. Raises SignerUnavailableError, ValueError for a digest that is none.

        A repeated call is harmless for money: what is signed again has the same nonce, or the same blockhash.
        """
        if self.algorithm == "secp256k1" and len(payload) != 32:
            msg = f"a digest has 32 bytes, not {len(payload)}"
            raise ValueError(msg)
        self._breaker.enter()
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(self._seconds):
                signature = await self._in_thread(payload)
        except TimeoutError:
            told = f"The key {self._service.name} did not sign within {self._seconds:g} s."
            raise self._failed(KeyServiceError(told, "slow")) from None
        except KeyServiceError as error:
            raise self._failed(error) from None
        except BaseException:
            self._breaker.left()
            raise
        self._breaker.succeeded()
        metrics.KMS_SIGN_SECONDS.of(self._service.kind).observe(time.perf_counter() - begun)
        metrics.KMS_SIGNATURES.inc(self._service.kind, "ok")
        return signature

    async def _in_thread(self, payload: bytes) -> bytes:
        await self._free.acquire()
        loop = asyncio.get_running_loop()

        def done(_: Future[bytes]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._free.release)

        try:
            call = self._pool.submit(_checked, self._service, PublicKey(self.algorithm, self.public_key), payload)
        except RuntimeError:  # closed
            self._free.release()
            raise KeyServiceError(f"The key {self._service.name} is not used any more.", "failed") from None
        # Not when the waiting ends, but when the thread does: a keeper that hangs gets no more of them.
        call.add_done_callback(done)
        return await asyncio.wrap_future(call)

    def close(self) -> None:
        """Let go of the keeper; does not wait for a call that hangs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._service.close()

    def _failed(self, error: KeyServiceError) -> SignerUnavailableError:
        """Count it; what is raised for it. What a keeper refuses, it answers: only its silence opens the breaker."""
        if error.reason in PASSING:
            self._breaker.failed()
        else:
            self._breaker.succeeded()
        metrics.KMS_SIGNATURES.inc(self._service.kind, error.reason)
        return SignerUnavailableError(error.message, remedy=error.remedy)

    def _refusal(self) -> SignerUnavailableError:
        metrics.KMS_SIGNATURES.inc(self._service.kind, "breaker")
        return SignerUnavailableError(
            f"The keeper of the key {self._service.name} fails; not asking it for some seconds."
        )

    def __repr__(self) -> str:
        return f"KmsSigner(key_id={self.key_id!r})"


def _proved(service: KeyService) -> PublicKey:
    """The public key, after a challenge was signed by it. Raises KeyServiceError."""
    public = service.public_key()
    challenge = f"WS402 proves that it signs by this key: {secrets.token_hex(16)}".encode()
    _checked(service, public, hashlib.sha256(challenge).digest() if public.algorithm == "secp256k1" else challenge)
    return public


def _checked(service: KeyService, public: PublicKey, payload: bytes) -> bytes:
    """A signature that is the key's, in our form. Raises KeyServiceError."""
    written = service.sign(payload)
    try:
        if public.algorithm == "secp256k1":
            return recoverable(payload, written, public.key)
        Ed25519PublicKey.from_public_bytes(public.key).verify(written, payload)
    except (ValueError, InvalidSignature):
        raise KeyServiceError(
            f"What came as a signature by the key {service.name} is not that key's.",
            "malformed",
            remedy="Nothing was sent. If it stays, the keeper's key is another than at the start: restart the gateway.",
        ) from None
    return written
