"""From settings to keys: which source keeps what, and the signer of each version of a network's key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from ws402.errors import ConfigurationError
from ws402.keys.base import Signer
from ws402.keys.keeper import Keeper
from ws402.keys.local import LocalEd25519Signer, LocalSigner
from ws402.keys.snapshot import WEBHOOKS, KeyVersion, Snapshot, Source, Wanted
from ws402.settings import (
    EVM_CHAIN_IDS,
    AwsSettings,
    EvmNetworkSettings,
    GatewaySettings,
    NetworkSettings,
    SolanaNetworkSettings,
    VaultSettings,
)
from ws402.settings.webhooks import check_secrets

if TYPE_CHECKING:
    from ws402.keys.vault.transit import TransitClient

TRANSIT = "vault-transit:"


class Keyring:
    """The keeper of a gateway's secrets, what they mean for its settings, and its signers."""

    def __init__(self, settings: GatewaySettings, keeper: Keeper, wanted: Wanted) -> None:
        self.keeper = keeper
        self.wanted = wanted
        self._settings = settings
        self._networks = {each.network: each for each in networks_of(settings)}
        self._transit: TransitClient | None = None

    def close_unused(self) -> None:
        """The gateway was not built: give up the login."""
        self.keeper.abandon()

    async def close(self) -> None:
        """Forget everything."""
        if self._transit is not None:
            await self._transit.close()
        await self.keeper.close()

    def settings(self, snapshot: Snapshot) -> GatewaySettings:
        """The settings, completed by a snapshot except for private keys. Raises ConfigurationError."""
        given = self._settings
        changes: dict[str, Any] = {}
        if self.wanted.database and snapshot.database_url:
            changes["database_url"] = snapshot.database_url
        changes |= self.api_keys(snapshot)
        changes["webhook_secrets"] = self.webhook_secrets(snapshot)
        completed: dict[str, NetworkSettings] = {}
        for network, each in self._networks.items():
            rpc = list(each.rpc or snapshot.rpc.get(network, ()))
            if not rpc:
                raise ConfigurationError(
                    f"{network} has no RPC endpoint.",
                    remedy=f"Set rpc, or write '{network}' to the secret 'rpc' of {self.keeper.source.kind}.",
                )
            completed[network] = each.model_copy(update={"rpc": rpc})
        return with_networks(given, completed.values()).model_copy(update=changes)

    def api_keys(self, snapshot: Snapshot) -> dict[str, list[SecretStr]]:
        """The settings of API keys: what is set stays, what is not comes from the snapshot."""
        given = self._settings
        return {
            "gateway_api_key": given.gateway_api_key or list(snapshot.servers),
            "gateway_admin_key": given.gateway_admin_key or list(snapshot.operators),
        }

    def webhook_secrets(self, snapshot: Snapshot) -> dict[str, list[SecretStr]]:
        """What webhooks are signed with: what is set stays, what is not comes from the snapshot.

        Raises ConfigurationError, which quotes nothing.
        """
        found = {name: list(kept) for name, kept in snapshot.webhooks.items() if kept}
        try:
            for name, kept in found.items():
                check_secrets(name, kept)
        except ValueError as error:
            kind = self.keeper.source.kind
            raise ConfigurationError(f"{error}.", remedy=f"Correct '{WEBHOOKS}' of {kind}.") from None
        secrets = found | {name: kept for name, kept in self._settings.webhook_secrets.items() if kept}
        if missing := sorted({each.name for each in self._settings.webhooks} - secrets.keys()):
            raise ConfigurationError(
                f"The webhook '{missing[0]}' has no secret.",
                remedy=f"Set WEBHOOK_SECRETS, or write '{missing[0]}' to the secret '{WEBHOOKS}' of "
                f"{self.keeper.source.kind}.",
            )
        return secrets

    def kept(self) -> list[str]:
        """Networks whose key is in the source."""
        return [*self.wanted.keys, *self.wanted.transit]

    def signer(self, network: str, key: KeyVersion) -> Signer:
        """The signer of one version. Raises ConfigurationError, which does not quote the key."""
        if key.public_key is not None:
            assert self._settings.vault is not None  # noqa: S101 - only Vault keeps such keys
            from ws402.keys.vault.transit import TransitClient, TransitSigner  # noqa: PLC0415 - see _vault

            if self._transit is None:
                self._transit = TransitClient(self._settings.vault, self.keeper.counters)
            return TransitSigner(self._transit, self.wanted.transit[network], key.version, key.public_key)
        assert key.private_key is not None  # noqa: S101 - one of both
        try:
            return local_signer(self._networks[network], key.private_key, f"{network}:v{key.version}")
        except ConfigurationError as error:
            told = f"The key of {network}, version {key.version}: {error.message}"
            raise ConfigurationError(told, remedy=error.remedy) from None


def open_keyring(settings: GatewaySettings) -> Keyring | None:
    """Read the secrets of the source that is set, if one is; blocks. Raises ConfigurationError."""
    table = settings.vault or settings.aws
    if table is None:
        return None
    wanted = wanted_by(settings)
    source: Source = _aws(table, wanted) if isinstance(table, AwsSettings) else _vault(table, wanted)
    keeper = Keeper(source, poll_seconds=table.poll_seconds, max_stale_seconds=table.max_stale_seconds)
    keyring = Keyring(settings, keeper, wanted)
    keeper.open()
    return keyring


def _aws(table: AwsSettings, wanted: Wanted) -> Source:
    try:
        from ws402.keys.aws import AwsSource  # noqa: PLC0415 - its library is an extra
    except ModuleNotFoundError:
        raise ConfigurationError(
            "AWS Secrets Manager needs AWS's library.", remedy="Install it with: pip install 'ws402[aws]'"
        ) from None
    return AwsSource(table, wanted)


def _vault(table: VaultSettings, wanted: Wanted) -> Source:
    from ws402.keys.vault.source import VaultSource  # noqa: PLC0415 - a sixth of a gateway's start is its library's

    return VaultSource(table, wanted)


def networks_of(settings: GatewaySettings) -> list[NetworkSettings]:
    """All networks; with a source of secrets also the short forms whose endpoints it has."""
    if settings.vault is None and settings.aws is None:
        return settings.networks()
    networks = settings.networks()
    known, asked = {each.network for each in networks}, settings.model_fields_set
    if {"base_network", "merchant_wallet", "merchant_private_key"} & asked and settings.base_network not in known:
        evm = EvmNetworkSettings(
            network=settings.base_network,
            chain_id=EVM_CHAIN_IDS[settings.base_network],
            merchant_wallet=settings.merchant_wallet,
            merchant_private_key=settings.merchant_private_key,
        )
        networks = [evm, *networks]
    if {"solana_network", "solana_wallet", "solana_private_key"} & asked and settings.solana_network not in known:
        solana = SolanaNetworkSettings(
            network=settings.solana_network,
            merchant_wallet=settings.solana_wallet,
            private_key=settings.solana_private_key,
        )
        networks = [*networks, solana]
    return networks


def with_networks(settings: GatewaySettings, networks: Iterable[NetworkSettings]) -> GatewaySettings:
    """The settings with these networks and no others, all in full."""
    changes: dict[str, Any] = {"base_rpc": [], "solana_rpc": [], "evm_networks": [], "solana_networks": []}
    for each in networks:
        changes["evm_networks" if isinstance(each, EvmNetworkSettings) else "solana_networks"].append(each)
    return settings.model_copy(update=changes)


def wanted_by(settings: GatewaySettings) -> Wanted:
    """What the settings leave to a source of secrets."""
    networks = networks_of(settings)
    return Wanted(
        keys=tuple(each.network for each in networks if _kept(each)),
        transit={
            each.network: each.signer.removeprefix(TRANSIT)
            for each in networks
            if each.signer and each.signer.startswith(TRANSIT)
        },
        api_keys=not (settings.gateway_api_key and settings.gateway_admin_key),
        database="database_url" not in settings.model_fields_set,
        rpc=tuple(each.network for each in networks if not each.rpc),
        webhooks=tuple(each.name for each in settings.webhooks if not settings.webhook_secrets.get(each.name)),
    )


def local_key(network: NetworkSettings) -> SecretStr | None:
    """The private key in a network's own settings."""
    return network.merchant_private_key if isinstance(network, EvmNetworkSettings) else network.private_key


def local_signer(network: NetworkSettings, key: SecretStr, key_id: str | None = None) -> Signer:
    """A signer that holds the key in memory, of the network's kind. Raises ConfigurationError."""
    if isinstance(network, EvmNetworkSettings):
        return LocalSigner.from_hex(key, key_id=key_id)
    return LocalEd25519Signer.from_text(key, key_id=key_id)


def local_signers(networks: Iterable[NetworkSettings]) -> dict[str, Signer]:
    """Signers of the networks whose key is in their settings. Raises ConfigurationError."""
    signers: dict[str, Signer] = {}
    for each in networks:
        key = local_key(each)
        if key is None:
            continue
        try:
            signers[each.network] = local_signer(each, key)
        except ConfigurationError as error:
            name = "MERCHANT_PRIVATE_KEY" if isinstance(each, EvmNetworkSettings) else "SOLANA_PRIVATE_KEY"
            told = f"{name} of {each.network}: {error.message}"
            raise ConfigurationError(told, remedy=error.remedy) from None
    return signers


def collector_signers(networks: Iterable[NetworkSettings]) -> dict[str, Signer]:
    """Signers of the networks that have a collector's key. Raises ConfigurationError, which does not quote it."""
    signers: dict[str, Signer] = {}
    for each in networks:
        if isinstance(each, EvmNetworkSettings) and each.collector_private_key is not None:
            try:
                signers[each.network] = LocalSigner.from_hex(each.collector_private_key)
            except ConfigurationError as error:
                told = f"COLLECTOR_PRIVATE_KEY of {each.network}: {error.message}"
                raise ConfigurationError(told, remedy=error.remedy) from None
    return signers


def _kept(network: NetworkSettings) -> bool:
    if network.signer is None:
        return local_key(network) is None
    return network.signer in {"vault", "aws"}
