"""AWS KMS: `ECC_SECG_P256K1` and `ECC_NIST_EDWARDS25519`. Credentials: as AWS's SDK finds them (IRSA, …)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    NoRegionError,
    ReadTimeoutError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from ws402.errors import ConfigurationError
from ws402.keys.kms.service import KeyServiceError, PublicKey, Reason, public_key_of, wrong_kind
from ws402.settings import KmsSettings

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

REASONS: Final[Mapping[str, Reason]] = {
    "NotFoundException": "missing",
    "DisabledException": "disabled",
    "KMSInvalidStateException": "disabled",
    "AccessDeniedException": "denied",
    "InvalidKeyUsageException": "wrong_key",
    "UnsupportedOperationException": "wrong_key",
    "ThrottlingException": "throttled",
    "LimitExceededException": "throttled",
    "KeyUnavailableException": "failed",
    "DependencyTimeoutException": "slow",
    "ExpiredTokenException": "login",
    "UnrecognizedClientException": "login",
    "InvalidClientTokenId": "login",
    "InvalidSignatureException": "login",
}
"""By AWS's error code."""

REMEDIES: Final[Mapping[Reason, str]] = {
    "missing": "Check the key's id and kms.aws_region.",
    "disabled": "Enable the key, or cancel its deletion; or name another one as signer.",
    "denied": "Allow kms:Sign and kms:GetPublicKey on this key to the gateway's role.",
    "wrong_key": "Make a key of ECC_SECG_P256K1 (EVM) or ECC_NIST_EDWARDS25519 (Solana) with the usage SIGN_VERIFY.",
    "login": "Check the role or profile that AWS's SDK finds.",
}


class AwsKey:
    """See `ws402.keys.kms.service.KeyService`."""

    kind = "aws-kms"

    def __init__(self, name: str, settings: KmsSettings) -> None:
        """`name`: a key's id or ARN. Raises ConfigurationError when no region is known."""
        # Its parser logs whole answers at DEBUG.
        logging.getLogger("botocore").setLevel(logging.INFO)
        self.name = name
        self._algorithm = ""
        config = Config(
            connect_timeout=settings.timeout_seconds,
            read_timeout=settings.timeout_seconds,
            retries={"total_max_attempts": 1},  # who asks tries again
            max_pool_connections=settings.workers,
            proxies={},  # see ws402.outgoing
        )
        region = name.split(":")[3] if name.startswith("arn:") else settings.aws_region
        try:
            self._client: KMSClient = boto3.session.Session().client(
                "kms", region_name=region, endpoint_url=settings.aws_endpoint_url, config=config
            )
        except NoRegionError:
            raise ConfigurationError(
                "AWS KMS has no region.", remedy="Set kms.aws_region or AWS_REGION, or name the key by its ARN."
            ) from None

    def public_key(self) -> PublicKey:
        """See `KeyService.public_key`."""
        answer = self._call(lambda: self._client.get_public_key(KeyId=self.name))
        if answer["KeyUsage"] != "SIGN_VERIFY":
            raise wrong_kind(self.name)
        public = public_key_of(self.name, answer["PublicKey"])
        self._algorithm = public.algorithm
        return public

    def sign(self, payload: bytes) -> bytes:
        """See `KeyService.sign`."""
        if self._algorithm == "secp256k1":
            answer = self._call(
                lambda: self._client.sign(
                    KeyId=self.name, Message=payload, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256"
                )
            )
        else:  # the message itself, which RFC 8032 hashes by its own rule
            answer = self._call(
                lambda: self._client.sign(
                    KeyId=self.name, Message=payload, MessageType="RAW", SigningAlgorithm="ED25519_SHA_512"
                )
            )
        return bytes(answer["Signature"])

    def close(self) -> None:
        """See `KeyService.close`."""
        self._client.close()

    def _call(self, call: Any) -> Any:
        try:
            return call()
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            reason = REASONS.get(code, "failed")
            raise KeyServiceError(
                f"AWS KMS does not sign by the key {self.name} ({code}).", reason, remedy=REMEDIES.get(reason)
            ) from None
        except (ConnectTimeoutError, ReadTimeoutError):
            raise KeyServiceError(f"AWS KMS did not answer in time for the key {self.name}.", "slow") from None
        except (NoConnectionError, HTTPClientError) as error:  # among the first: a certificate that is not theirs
            told = f"AWS KMS cannot be reached for the key {self.name} ({type(error).__name__})."
            raise KeyServiceError(told, "unreachable") from None
        except BotoCoreError as error:
            raise KeyServiceError(
                f"AWS's SDK cannot ask for the key {self.name}: {type(error).__name__}.",
                "login",
                remedy="Check the credentials that it finds: a role of the pod, a profile, or variables.",
            ) from None
