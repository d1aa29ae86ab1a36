"""Which file has which kind of keeper. Adding one: its file, a line here, and a form in `ws402.settings.kms`."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from ws402.errors import ConfigurationError
from ws402.keys.kms.service import KeyService
from ws402.settings import KmsSettings

KINDS: Final = {
    "aws-kms": ("aws", "AwsKey", "aws"),
    "google-kms": ("google", "GoogleKey", "google"),
    "azure-keyvault": ("azure", "AzureKey", "azure"),
    "pkcs11": ("pkcs11", "Pkcs11Key", "pkcs11"),
}
"""By the word before the colon: module, class, and the extra that brings its library."""


def key_service(signer: str, settings: KmsSettings) -> KeyService:
    """The key that a network's `signer` names; nobody is asked yet. Raises ConfigurationError, KeyServiceError."""
    kind, _, name = signer.partition(":")
    module, made, extra = KINDS[kind]
    try:
        found = getattr(import_module(f"ws402.keys.kms.{module}"), made)
    except ModuleNotFoundError:
        raise ConfigurationError(
            f"The signer {kind} needs its library.", remedy=f"Install it with: pip install 'ws402[{extra}]'"
        ) from None
    service: KeyService = found(name, settings)
    return service
