"""Azure Key Vault and Managed HSM: `P-256K` keys, ES256K; no ed25519. Credentials: workload or managed identity."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import AzureAuthorityHosts, DefaultAzureCredential
from azure.keyvault.keys import KeyClient, KeyCurveName
from azure.keyvault.keys.crypto import CryptographyClient, SignatureAlgorithm

from ws402.keys.kms.service import KeyServiceError, PublicKey, Reason, wrong_kind
from ws402.settings import KmsSettings

REASONS: Final[Mapping[int, Reason]] = {401: "login", 403: "denied", 404: "missing", 409: "disabled", 429: "throttled"}
"""By the status of the answer."""

REMEDIES: Final[Mapping[Reason, str]] = {
    "missing": "Name it as https://NAME.vault.azure.net/keys/KEY/VERSION.",
    "denied": "Allow get and sign on the key to the gateway's identity, and check that the key is enabled.",
    "login": "Check the workload identity or managed identity of the gateway.",
    "disabled": "Enable the key's version, or recover it; or name another one as signer.",
    "wrong_key": "Make an EC key of the curve P-256K.",
}

PUBLIC_AUTHORITIES: Final = (
    AzureAuthorityHosts.AZURE_PUBLIC_CLOUD,
    AzureAuthorityHosts.AZURE_CHINA,
    AzureAuthorityHosts.AZURE_GOVERNMENT,
)


class AzureKey:
    """See `ws402.keys.kms.service.KeyService`."""

    kind = "azure-keyvault"

    def __init__(self, name: str, settings: KmsSettings) -> None:
        """`name`: the URL of the key's version."""
        # It logs the headers of each request at INFO.
        logging.getLogger("azure").setLevel(logging.WARNING)
        self.name = name
        parts = urlsplit(name)
        _, _, self._key, self._version = parts.path.split("/")
        self._vault = f"{parts.scheme}://{parts.netloc}"
        authority = os.environ.get("AZURE_AUTHORITY_HOST", PUBLIC_AUTHORITIES[0])
        # What only a person at a desk has is not asked: each costs seconds.
        self._credential = DefaultAzureCredential(
            exclude_cli_credential=True,
            exclude_developer_cli_credential=True,
            exclude_powershell_credential=True,
            exclude_shared_token_cache_credential=True,
            exclude_visual_studio_code_credential=True,
            # Microsoft's own list of authorities knows no private cloud's.
            disable_instance_discovery=(urlsplit(authority).hostname or authority) not in PUBLIC_AUTHORITIES,
        )
        self._seconds = settings.timeout_seconds
        self._client: CryptographyClient | None = None

    def public_key(self) -> PublicKey:
        """See `KeyService.public_key`."""
        with KeyClient(self._vault, self._credential, transport=self._transport(), retry_total=0) as keys:
            found = self._call(lambda: keys.get_key(self._key, self._version))
        key = found.key
        if key.crv != KeyCurveName.p_256_k or "sign" not in (key.key_ops or ()):
            raise wrong_kind(self.name)
        if self._client is None:
            # Who asks tries again, so it does not.
            self._client = CryptographyClient(found, self._credential, transport=self._transport(), retry_total=0)
        # A coordinate that begins with zeros comes shorter.
        return PublicKey("secp256k1", key.x.rjust(32, b"\0") + key.y.rjust(32, b"\0"))

    def sign(self, payload: bytes) -> bytes:
        """See `KeyService.sign`."""
        assert self._client is not None  # noqa: S101 - the public key is asked for first
        client = self._client
        return bytes(self._call(lambda: client.sign(SignatureAlgorithm.es256_k, payload)).signature)

    def close(self) -> None:
        """See `KeyService.close`."""
        if self._client is not None:
            self._client.close()
        self._credential.close()

    def _call(self, call: Any) -> Any:
        try:
            return call()
        except ClientAuthenticationError:
            reason: Reason = "login"
        except ResourceNotFoundError:
            reason = "missing"
        except HttpResponseError as error:
            reason = REASONS.get(error.status_code or 0, "failed")
        except ServiceResponseError:
            reason = "slow"
        except ServiceRequestError:
            reason = "unreachable"
        except AzureError:
            reason = "failed"
        raise KeyServiceError(
            f"Azure Key Vault does not sign by the key {self.name} ({reason}).", reason, remedy=REMEDIES.get(reason)
        )

    def _transport(self) -> RequestsTransport:
        """Without the environment's proxies (see ws402.outgoing), but with its certificates.

        The time-outs are given to it, for KeyClient does not hand its own on.
        """
        return RequestsTransport(
            connection_timeout=self._seconds,
            read_timeout=self._seconds,
            use_env_settings=False,
            connection_verify=os.environ.get("REQUESTS_CA_BUNDLE") or True,
        )
