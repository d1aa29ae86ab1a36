"""Every setting, typed, once. Read from the environment, the files of `WS402_SECRETS_DIR`, the file of `WS402_CONFIG`.

An environment variable is a field's name in capitals; lists and tables are written as JSON. Names that WS402 users know
(`MERCHANT_PRIVATE_KEY`, `BASE_RPC`, `GATEWAY_API_KEY`, `PORT`, …) keep their meaning.
"""

from __future__ import annotations

from ws402.settings.base import load
from ws402.settings.checkout import CheckoutSettings
from ws402.settings.gateway import MIN_API_KEY_LENGTH, Binding, GatewaySettings
from ws402.settings.kms import KmsSettings, at_keeper
from ws402.settings.link import KubernetesIdentitySettings
from ws402.settings.networks import (
    EVM_CHAIN_IDS,
    SOLANA_GENESIS,
    EvmNetworkSettings,
    NetworkSettings,
    SolanaNetworkSettings,
    SplTokenSettings,
    TokenSettings,
)
from ws402.settings.server import ResourceSettings, ServerSettings
from ws402.settings.sources import AwsSettings, VaultSettings
from ws402.settings.webhooks import WebhookSettings
from ws402.settings.x402 import X402Settings

__all__ = [
    "EVM_CHAIN_IDS",
    "MIN_API_KEY_LENGTH",
    "SOLANA_GENESIS",
    "AwsSettings",
    "Binding",
    "CheckoutSettings",
    "EvmNetworkSettings",
    "GatewaySettings",
    "KmsSettings",
    "KubernetesIdentitySettings",
    "NetworkSettings",
    "ResourceSettings",
    "ServerSettings",
    "SolanaNetworkSettings",
    "SplTokenSettings",
    "TokenSettings",
    "VaultSettings",
    "WebhookSettings",
    "X402Settings",
    "at_keeper",
    "load",
]
