"""Keys that never leave their keeper: AWS KMS, Google Cloud KMS, Azure Key Vault, and HSMs by PKCS#11."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field

from ws402.settings.base import StrictSettings

FORMS: Final = (
    r"aws-kms:(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/)?[A-Za-z0-9-]{1,128}",
    r"google-kms:projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+/cryptoKeyVersions/[0-9]+",
    r"azure-keyvault:https://[^/\s@]+/keys/[A-Za-z0-9-]{1,127}/[0-9a-f]{32}",
    r"pkcs11:[^\s:][^:\n]{0,127}",
)
"""Each names one version of one key, never an alias: whom an alias names may change while money is on its way."""

KMS_PATTERN: Final = f"({'|'.join(FORMS)})"


def at_keeper(signer: str) -> bool:
    """Whether a network's `signer` is a key at such a keeper."""
    return signer.partition(":")[0] in {form.partition(":")[0] for form in FORMS}


class KmsSettings(StrictSettings):
    """How keepers of keys are asked. Credentials are the environment's, as each cloud gives them to a pod; none is a
    setting.
    """

    timeout_seconds: float = Field(default=5.0, gt=0, le=30)
    """After this long a signature has failed, and the refund waits. No request of a payer waits for one."""
    workers: int = Field(default=4, ge=1, le=64)
    """Signatures by one key at a time."""
    aws_region: str | None = None
    """Region of keys that are named without their ARN; from AWS_REGION by default."""
    aws_endpoint_url: str | None = None
    """Another endpoint of AWS KMS, such as a VPC's; from AWS_ENDPOINT_URL by default."""
    google_endpoint: str | None = None
    """Another endpoint of Google Cloud KMS, `host:port`."""
    pkcs11_module: Path | None = None
    """The HSM maker's library, which is loaded into the gateway."""
    pkcs11_token: str | None = None
    """The token's label."""
    pkcs11_pin_file: Path | None = None
    """File of its user's PIN."""
