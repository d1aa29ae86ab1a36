"""Settings of the payment gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from ws402.settings.kms import KmsSettings, at_keeper
from ws402.settings.link import KubernetesIdentitySettings
from ws402.settings.networks import EVM_CHAIN_IDS, EvmNetworkSettings, NetworkSettings, SolanaNetworkSettings
from ws402.settings.observability import ObservedSettings
from ws402.settings.sources import AwsSettings, VaultSettings
from ws402.settings.webhooks import WebhookSettings
from ws402.settings.webhooks import check as check_webhooks
from ws402.settings.x402 import X402Settings

MIN_API_KEY_LENGTH: Final = 32
"""Shorter API keys can be guessed and are refused."""

Binding = Literal["tag", "signature", "claim_token", "legacy"]
"""What ties a payment to its invoice, safest first."""


class GatewaySettings(ObservedSettings):
    """Settings of the payment gateway."""

    gateway_host: str = "127.0.0.1"
    """Address to listen on; the gateway is not meant for the public."""
    gateway_port: int = Field(default=4029, ge=0, le=65535)
    """Port to listen on."""
    database_url: SecretStr = SecretStr("sqlite:///data/ws402.db")
    """`sqlite:///path` or `postgresql://user:password@host/name`."""
    gateway_api_key: Annotated[list[SecretStr], NoDecode] = []
    """Keys of servers, separated by commas, at least 32 characters each; several are valid at once for rotation."""
    gateway_admin_key: Annotated[list[SecretStr], NoDecode] = []
    """Keys of operators: /api/admin and `ws402 ops`."""
    kubernetes_identity: KubernetesIdentitySettings | None = None
    """Servers in Kubernetes that need no API key: their ServiceAccount's token is enough."""
    console_port: int | None = Field(default=None, ge=0, le=65535)
    """Port of the operators' console, on 127.0.0.1 and nowhere else; unset, there is none. In a cluster it is reached
    by `kubectl port-forward`."""
    console_changes: bool = False
    """Whether the console can change something, with a key of the scope `admin`; else it only shows."""
    gateway_tls_cert_file: Path | None = None
    """The certificate, with its chain, in PEM: the gateway then serves nothing but TLS. Read anew when it
    changes."""
    gateway_tls_key_file: Path | None = None
    """The certificate's private key, in PEM."""
    gateway_tls_client_ca_file: Path | None = None
    """Mutual TLS: only clients with a certificate of these authorities are served; the probes answer everybody."""

    merchant_private_key: SecretStr | None = None
    """Short form for Base: the refund float's key, 32 bytes in hex."""
    merchant_wallet: str | None = None
    """Short form for Base: where invoices are paid; the refund key's address by default."""
    base_rpc: Annotated[list[SecretStr], NoDecode] = []
    """JSON-RPC endpoints of Base, separated by commas."""
    base_network: Literal["base", "base-sepolia"] = "base-sepolia"
    """Which of the two BASE_RPC serves."""
    vault: VaultSettings | None = None
    """Secrets from Vault: what is not set otherwise of keys, API keys, database URL and RPC endpoints."""
    aws: AwsSettings | None = None
    """Secrets from AWS Secrets Manager, likewise."""
    kms: KmsSettings = KmsSettings()
    """Keys that never leave their keeper, which a network's `signer` names."""
    evm_networks: list[EvmNetworkSettings] = []
    """EVM networks in full; BASE_RPC with MERCHANT_PRIVATE_KEY is the short form for one."""
    solana_rpc: Annotated[list[SecretStr], NoDecode] = []
    """JSON-RPC endpoints of Solana, separated by commas."""
    solana_network: Literal["solana", "solana-devnet", "solana-testnet", "solana-localnet"] = "solana-devnet"
    """Which cluster SOLANA_RPC serves."""
    solana_private_key: SecretStr | None = None
    """Short form for Solana: the refund float's key, as `private_key` of a Solana network."""
    solana_wallet: str | None = None
    """Short form for Solana: where invoices are paid; the refund key's address by default."""
    solana_networks: list[SolanaNetworkSettings] = []
    """Solana clusters in full; SOLANA_RPC with SOLANA_PRIVATE_KEY is the short form for one."""
    default_network: str | None = None
    """What an invoice is for when the server names none (stock servers); the first configured one by default."""
    default_asset: str | None = None
    """What an invoice asks for when the server names none (stock servers); the network's own coin by default."""

    bindings: list[Binding] = ["tag", "signature", "claim_token", "legacy"]
    """What may tie a payment to its invoice. Without 'legacy', stock clients must send the calldata of the details."""
    amount_salt: int = Field(default=0, ge=0)
    """Above 0, an invoice's amount gets a random extra of at most this many smallest units, unique among open invoices:
    it makes the `legacy` binding safe against somebody else's claim."""
    x402: X402Settings = X402Settings()
    """What stock x402 clients may pay with."""
    invoice_seconds: int = Field(default=900, ge=30, le=86400)
    """How long an invoice can be paid."""
    invoice_kept_seconds: int = Field(default=7200, ge=60)
    """How long an unpaid invoice is kept after it has expired: a late payment that names it is sent back by itself.
    Later ones, an operator sends back."""
    unclaimed_grace_seconds: int = Field(default=3600, ge=300)
    """How long money that names an invoice, and opened no session, waits after the invoice's end for somebody who shows
    it. Then it goes back to its sender by itself."""
    max_unpaid_invoices: int = Field(default=100_000, ge=1)
    """Unpaid invoices that can be open at once, over all tenants; beyond, new ones are refused, but not top-ups."""
    verify_wait_seconds: float = Field(default=20, ge=0, le=25)
    """How long a verify call waits for its payment to show and confirm; stock servers give up after 30 s."""
    vanish_seconds: int = Field(default=60, ge=5)
    """A session without a checkpoint for this long is settled at the last one. Leave servers time: they try a gateway
    that was away again after 10 s at most."""
    resume_seconds: int = Field(default=300, ge=5)
    """How long a released session can be resumed before it is settled."""
    refund_interval_seconds: float = Field(default=1.0, gt=0)
    """How often the refund engine looks for work."""
    refund_lease_seconds: float = Field(default=15.0, ge=2)
    """A gateway that holds a signing key and does not renew for this long loses it to another."""
    ledger_metrics_seconds: float = Field(default=15, ge=1)
    """How often the ledger's figures are counted for metrics, by the gateway that holds a network's signing key."""
    audit_log_key: SecretStr | None = Field(default=None, min_length=MIN_API_KEY_LENGTH)
    """Makes the audit log's hashes ones that nobody who only has the database can forge; keep it elsewhere."""
    audit_seconds: float = Field(default=120, ge=5)
    """How often the books are compared with the chains for metrics, by the same gateway."""
    webhooks: list[WebhookSettings] = []
    """Who is told of sessions, refunds and unclaimed money (docs/webhooks.md)."""
    webhook_secrets: dict[str, list[SecretStr]] = {}
    """By a webhook's name: its secret, `whsec_` and base64, or two while it is rotated; a list, or text separated by
    commas."""
    webhook_timeout_seconds: float = Field(default=15, ge=1, le=60)
    """A receiver that has not answered after this long is tried again later."""
    webhook_kept_seconds: int = Field(default=2_592_000, ge=432_000)
    """How long events are kept to be looked at, and sent again, after they were written."""
    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    """Larger requests are refused."""
    rate_limit_per_second: int = Field(default=2000, ge=1)
    """Requests a second for each API key or account, with a burst of twice that; counted by each gateway for itself."""

    @field_validator("gateway_api_key", "gateway_admin_key", "base_rpc", "solana_rpc", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("gateway_api_key", "gateway_admin_key")
    @classmethod
    def _long_keys(cls, value: list[SecretStr]) -> list[SecretStr]:
        if any(len(key.get_secret_value()) < MIN_API_KEY_LENGTH for key in value):
            msg = f"is shorter than {MIN_API_KEY_LENGTH} characters; make one with: openssl rand -hex 32"
            raise ValueError(msg)
        return value

    @field_validator("webhook_secrets", mode="before")
    @classmethod
    def _split_each(cls, value: object) -> object:
        return {name: cls._split(each) for name, each in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _told(self) -> Self:
        check_webhooks(self.webhooks, self.webhook_secrets, complete=self.vault is None and self.aws is None)
        return self

    @model_validator(mode="after")
    def _sources(self) -> Self:
        if self.vault is not None and self.aws is not None:
            msg = "VAULT and AWS are both set: secrets come from one place"
            raise ValueError(msg)
        source = "vault" if self.vault is not None else "aws" if self.aws is not None else None
        evm = {f"EVM_NETWORKS.{position}": each for position, each in enumerate(self.evm_networks)}
        solana = {f"SOLANA_NETWORKS.{position}": each for position, each in enumerate(self.solana_networks)}
        for name, each in (evm | solana).items():
            is_evm = isinstance(each, EvmNetworkSettings)
            key = each.merchant_private_key if isinstance(each, EvmNetworkSettings) else each.private_key
            if not each.rpc and source is None:
                msg = f"{name}.RPC is empty, and neither VAULT nor AWS is set to give it"
                raise ValueError(msg)
            if each.signer == "local" and key is None:
                setting = "MERCHANT_PRIVATE_KEY" if is_evm else "PRIVATE_KEY"
                msg = f"{name}.SIGNER is 'local', and {setting} of {each.network} is not set"
                raise ValueError(msg)
            if each.signer in {"vault", "aws"} and each.signer != source:
                msg = f"{name}.SIGNER is '{each.signer}', and {each.signer.upper()} is not set"
                raise ValueError(msg)
            if is_evm and each.signer and each.signer.startswith("vault-transit:"):
                msg = f"{name}.SIGNER cannot be Vault's transit, which has no secp256k1; use 'vault'"
                raise ValueError(msg)
            if not is_evm and each.signer and each.signer.startswith("azure-keyvault:"):
                msg = f"{name}.SIGNER cannot be Azure's Key Vault, which has no ed25519"
                raise ValueError(msg)
            if each.signer and at_keeper(each.signer) and key is not None:
                msg = f"{name}.SIGNER names a key at its keeper, and a private key is set, too; set one of them"
                raise ValueError(msg)
            if isinstance(each, EvmNetworkSettings) and each.collector_signer and each.collector_private_key:
                msg = f"{name}.COLLECTOR_SIGNER and COLLECTOR_PRIVATE_KEY are both set; set one of them"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        if (self.gateway_tls_cert_file is None) != (self.gateway_tls_key_file is None):
            msg = "GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE go together; set both, or none"
            raise ValueError(msg)
        if self.gateway_tls_client_ca_file is not None and self.gateway_tls_cert_file is None:
            msg = "GATEWAY_TLS_CLIENT_CA_FILE needs GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE"
            raise ValueError(msg)
        return self

    def networks(self) -> list[NetworkSettings]:
        """All networks of all kinds, the short forms included."""
        return [*self._evm(), *self._solana()]

    def _evm(self) -> list[EvmNetworkSettings]:
        networks = list(self.evm_networks)
        if self.base_rpc and all(each.network != self.base_network for each in networks):
            networks.insert(
                0,
                EvmNetworkSettings(
                    network=self.base_network,
                    chain_id=EVM_CHAIN_IDS[self.base_network],
                    rpc=self.base_rpc,
                    merchant_wallet=self.merchant_wallet,
                    merchant_private_key=self.merchant_private_key,
                ),
            )
        return networks

    def _solana(self) -> list[SolanaNetworkSettings]:
        networks = list(self.solana_networks)
        if self.solana_rpc and all(each.network != self.solana_network for each in networks):
            networks.insert(
                0,
                SolanaNetworkSettings(
                    network=self.solana_network,
                    rpc=self.solana_rpc,
                    merchant_wallet=self.solana_wallet,
                    private_key=self.solana_private_key,
                ),
            )
        return networks
