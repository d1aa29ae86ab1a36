"""Secrets from AWS Secrets Manager, JSON objects: `AWSCURRENT` counts, `AWSPREVIOUS` is a key's version before.

AWS numbers no versions: a version's number here is made from its id, and says only whether it is another one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoRegionError,
    ReadTimeoutError,
    SSLError,
)

from ws402.errors import ConfigurationError
from ws402.keys.snapshot import (
    KEYS,
    PER_SECRET,
    Counters,
    KeyVersion,
    Reason,
    SecretsUnavailableError,
    Snapshot,
    Wanted,
    fields,
    key_version,
    malformed,
)
from ws402.settings import AwsSettings

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

CURRENT: Final = "AWSCURRENT"
PREVIOUS: Final = "AWSPREVIOUS"

RESTORE: Final = "Restore it; the version read before stays in use."

log = logging.getLogger(__name__)

REASONS: Final[Mapping[str, Reason]] = {
    "ResourceNotFoundException": "missing",
    "InvalidRequestException": "deleted",
    "AccessDeniedException": "denied",
    "DecryptionFailure": "denied",
    "ExpiredTokenException": "login",
    "UnrecognizedClientException": "login",
    "InvalidClientTokenId": "login",
    "InvalidSignatureException": "login",
    "ThrottlingException": "busy",
    "InternalServiceError": "busy",
}
"""By AWS's error code."""


class AwsSource:
    """See `ws402.keys.snapshot.Source`. A look asks for the ids of versions; a new version is then read once."""

    kind = "aws"

    def __init__(self, settings: AwsSettings, wanted: Wanted, counters: Counters | None = None) -> None:
        """Raises ConfigurationError when no region is known."""
        # Its parser logs whole answers at DEBUG.
        logging.getLogger("botocore").setLevel(logging.INFO)
        self.counters = counters or Counters()
        self._prefix = settings.prefix
        self._wanted = wanted
        self._seconds = settings.timeout_seconds
        config = Config(
            connect_timeout=settings.timeout_seconds,
            read_timeout=settings.timeout_seconds,
            retries={"total_max_attempts": 2, "mode": "standard"},
            proxies={},  # see ws402.outgoing
        )
        try:
            self._client: SecretsManagerClient = boto3.session.Session().client(
                "secretsmanager", region_name=settings.region, endpoint_url=settings.endpoint_url, config=config
            )
        except NoRegionError:
            raise ConfigurationError("AWS has no region.", remedy="Set region in [aws], or AWS_REGION.") from None

    def load(self) -> Snapshot:
        """See `Source.load`."""
        snapshot, troubles = self._read(Snapshot(), previous=True)
        if troubles:
            raise troubles[0]
        return snapshot

    def refresh(self, held: Snapshot) -> tuple[Snapshot, list[SecretsUnavailableError]]:
        """See `Source.refresh`."""
        return self._read(held, previous=False)

    def close(self) -> None:
        """See `Source.close`."""
        self._client.close()

    def _read(self, held: Snapshot, *, previous: bool) -> tuple[Snapshot, list[SecretsUnavailableError]]:
        snapshot, troubles = held, []
        for name in self._wanted.names:
            try:
                snapshot = self._secret(snapshot, name, previous=previous)
            except SecretsUnavailableError as error:
                if error.reason == "missing" and not name.startswith(KEYS) and name not in snapshot.versions:
                    continue  # it may come later
                if error.reason not in PER_SECRET:
                    raise
                troubles.append(error)
        return snapshot, troubles

    def _secret(self, snapshot: Snapshot, name: str, *, previous: bool) -> Snapshot:
        stages = self._stages(name)
        current = _number(stages[CURRENT])
        if current == snapshot.versions.get(name):
            return snapshot
        data, made = self._data(name, stages[CURRENT])
        seen: dict[str, Any] = {
            "versions": {**snapshot.versions, name: current},
            "made": {**snapshot.made, name: made},
        }
        if not name.startswith(KEYS):
            return replace(snapshot, **fields(name, data, self._wanted), **seen)
        network = name.removeprefix(KEYS)
        line = [key_version(name, data, current)]
        if previous and PREVIOUS in stages:
            before = stages[PREVIOUS]
            try:
                line.append(key_version(name, self._data(name, before)[0], _number(before)))
            except SecretsUnavailableError as error:
                if error.reason not in PER_SECRET:
                    raise
                # One that cannot be read is none that ever signed.
                log.warning("the previous version of %s is passed over: %s", name, error.message)
        known = {each.version for each in line}
        kept: tuple[KeyVersion, ...] = snapshot.keys.get(network, ())
        line += [each for each in kept if each.version not in known]
        return replace(snapshot, keys={**snapshot.keys, network: tuple(line)}, **seen)

    def _stages(self, name: str) -> dict[str, str]:
        """The versions' ids by their stage. Raises SecretsUnavailableError."""
        secret_id = f"{self._prefix}/{name}"
        try:
            answer = self._client.describe_secret(SecretId=secret_id)
        except (BotoCoreError, ClientError) as error:
            raise self._explain(error, secret_id) from None
        if answer.get("DeletedDate") is not None:
            raise SecretsUnavailableError(
                f"The secret {secret_id} of AWS is marked for deletion.", "deleted", remedy=RESTORE
            )
        stages = {stage: each for each, named in answer.get("VersionIdsToStages", {}).items() for stage in named}
        if CURRENT not in stages:
            raise SecretsUnavailableError(
                f"AWS has no {CURRENT} version of {secret_id}.", "missing", remedy="Write a version."
            )
        return stages

    def _data(self, name: str, version_id: str) -> tuple[dict[str, Any], float]:
        """A version's content, and when it was made (seconds since the epoch). Raises SecretsUnavailableError."""
        secret_id = f"{self._prefix}/{name}"
        try:
            answer = self._client.get_secret_value(SecretId=secret_id, VersionId=version_id)
        except (BotoCoreError, ClientError) as error:
            raise self._explain(error, secret_id) from None
        try:
            data = json.loads(answer.get("SecretString", ""))
        except ValueError:
            data = None  # its cause would quote the text
        if not isinstance(data, dict):
            raise malformed(secret_id, "it is no JSON object")
        return data, answer["CreatedDate"].timestamp()

    def _explain(self, error: Exception, secret_id: str) -> SecretsUnavailableError:
        match error:
            case ClientError():
                code = str(error.response["Error"]["Code"])
                reason = REASONS.get(code, "busy")
                told = {
                    "missing": f"AWS has no secret {secret_id}",
                    "deleted": f"The secret {secret_id} of AWS is marked for deletion",
                    "denied": f"AWS denies the secret {secret_id}",
                    "login": "AWS does not take the gateway's credentials",
                }.get(reason, f"AWS Secrets Manager fails for {secret_id}")
                remedy = {
                    "missing": "Write it, or check prefix and region.",
                    "deleted": RESTORE,
                    "denied": "Allow secretsmanager:DescribeSecret and GetSecretValue on it, and kms:Decrypt.",
                    "login": "Check the role or profile that AWS's SDK finds.",
                }.get(reason)
                return SecretsUnavailableError(f"{told} ({code}).", reason, remedy=remedy)
            case ConnectTimeoutError() | ReadTimeoutError():
                return SecretsUnavailableError(
                    f"AWS Secrets Manager did not answer within {self._seconds:g} s.", "slow"
                )
            case SSLError():
                return SecretsUnavailableError("The certificate of AWS's endpoint is not trusted.", "certificate")
            case EndpointConnectionError() | HTTPClientError():
                return SecretsUnavailableError("AWS Secrets Manager cannot be reached.", "unreachable")
            case _:
                return SecretsUnavailableError(
                    f"AWS's SDK cannot ask: {type(error).__name__}.",
                    "login",
                    remedy="Check the credentials that it finds: a role of the pod, a profile, or variables.",
                )


def _number(version_id: str) -> int:
    return int.from_bytes(hashlib.sha256(version_id.encode()).digest()[:6], "big")
