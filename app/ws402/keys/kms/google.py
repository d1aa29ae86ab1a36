"""Google Cloud KMS: `EC_SIGN_SECP256K1_SHA256` and `EC_SIGN_ED25519`. Credentials: workload identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import google_crc32c
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport

from ws402.keys.kms.service import KeyServiceError, PublicKey, Reason, public_key_of
from ws402.settings import KmsSettings

HOST: Final = "cloudkms.googleapis.com"

REASONS: Final[Mapping[type[exceptions.GoogleAPICallError], Reason]] = {
    exceptions.NotFound: "missing",
    exceptions.PermissionDenied: "denied",
    exceptions.Unauthenticated: "login",
    exceptions.ResourceExhausted: "throttled",
    exceptions.ServiceUnavailable: "unreachable",
    exceptions.DeadlineExceeded: "slow",
    exceptions.InvalidArgument: "wrong_key",
    exceptions.FailedPrecondition: "disabled",
}
"""By Google's error."""

REMEDIES: Final[Mapping[Reason, str]] = {
    "missing": "Name it as projects/…/locations/…/keyRings/…/cryptoKeys/…/cryptoKeyVersions/1.",
    "denied": "Give the gateway's service account roles/cloudkms.signer and roles/cloudkms.publicKeyViewer on the key.",
    "login": "Check the service account that workload identity gives to the gateway.",
    "disabled": "Enable the version, or restore it; or name another one as signer.",
    "wrong_key": "Make a key for ASYMMETRIC_SIGN: EC_SIGN_SECP256K1_SHA256 (HSM) for EVM, EC_SIGN_ED25519 for Solana.",
}


class GoogleKey:
    """See `ws402.keys.kms.service.KeyService`. CRC32C is checked both ways: Google's client does not."""

    kind = "google-kms"

    def __init__(self, name: str, settings: KmsSettings) -> None:
        """`name`: of the version. Raises KeyServiceError when there are no credentials."""
        self.name = name
        self._seconds = settings.timeout_seconds
        self._algorithm = ""
        try:
            transport = KeyManagementServiceGrpcTransport(host=settings.google_endpoint or HOST, channel=_channel)
        except GoogleAuthError:
            raise self._unknown_caller() from None
        self._client = kms_v1.KeyManagementServiceClient(transport=transport)

    def public_key(self) -> PublicKey:
        """See `KeyService.public_key`."""
        answer = self._call(
            lambda: self._client.get_public_key(
                request={"name": self.name},
                timeout=self._seconds,
                retry=None,
            )
        )
        pem = answer.pem.encode()
        if answer.name != self.name or int(answer.pem_crc32c) != google_crc32c.value(pem):
            raise self._corrupt()
        public = public_key_of(self.name, pem, load_pem_public_key)
        self._algorithm = public.algorithm
        return public

    def sign(self, payload: bytes) -> bytes:
        """See `KeyService.sign`."""
        checksum = google_crc32c.value(payload)
        # "sha256" is the field for any digest of 32 bytes; Ed25519 takes the message, never a digest.
        request: dict[str, Any] = (
            {"name": self.name, "digest": {"sha256": payload}, "digest_crc32c": checksum}
            if self._algorithm == "secp256k1"
            else {"name": self.name, "data": payload, "data_crc32c": checksum}
        )
        # The client repeats what is unavailable for a minute, whatever the time-out, unless told not to.
        answer = self._call(lambda: self._client.asymmetric_sign(request=request, timeout=self._seconds, retry=None))
        verified = answer.verified_digest_crc32c if "digest" in request else answer.verified_data_crc32c
        signature = bytes(answer.signature)
        if answer.name != self.name or not verified or int(answer.signature_crc32c) != google_crc32c.value(signature):
            raise self._corrupt()
        return signature

    def close(self) -> None:
        """See `KeyService.close`."""
        self._client.transport.close()  # type: ignore[no-untyped-call]

    def _call(self, call: Any) -> Any:
        try:
            return call()
        except exceptions.GoogleAPICallError as error:
            reason: Reason = next((reason for kind, reason in REASONS.items() if isinstance(error, kind)), "failed")
            if reason == "disabled" and "KEY_PENDING_GENERATION" in str(error):
                reason = "failed"
            raise KeyServiceError(
                f"Google Cloud KMS does not sign by the key {self.name} ({type(error).__name__}).",
                reason,
                remedy=REMEDIES.get(reason),
            ) from None
        except exceptions.RetryError:
            raise KeyServiceError(f"Google Cloud KMS did not answer in time for the key {self.name}.", "slow") from None
        except GoogleAuthError:
            raise self._unknown_caller() from None

    def _unknown_caller(self) -> KeyServiceError:
        return KeyServiceError("Google's SDK finds no credentials that it can use.", "login", remedy=REMEDIES["login"])

    def _corrupt(self) -> KeyServiceError:
        told = f"Google Cloud KMS's answer for the key {self.name} was damaged on its way."
        return KeyServiceError(told, "malformed")


def _channel(*arguments: Any, **options: Any) -> Any:
    """As Google's client makes it, but without the environment's proxies (see ws402.outgoing)."""
    options["options"] = [*options.get("options", ()), ("grpc.enable_http_proxy", 0)]
    return KeyManagementServiceGrpcTransport.create_channel(*arguments, **options)
