"""The keys of a gateway: who signs on each network, and what that says of its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ws402.chains.base import Chain
from ws402.chains.registry import account_of
from ws402.errors import ConfigurationError
from ws402.keys.base import Signer
from ws402.keys.keyring import Keyring, collector_signers, with_networks
from ws402.settings import EvmNetworkSettings, GatewaySettings, at_keeper

if TYPE_CHECKING:
    from ws402.keys.kms.ring import KmsRing


def collectors_for(
    settings: GatewaySettings,
    chains: Mapping[str, Chain],
    signers: Mapping[str, Signer],
    kms: KmsRing | None = None,
) -> dict[str, Signer]:
    """The collectors' keys by network. Raises ConfigurationError for one that sends refunds, too: what a stranger makes
    us send must not stand in the way of a refund (A24).
    """
    given: dict[str, Signer] = collector_signers(settings.networks())
    if kms is not None:
        given |= kms.collectors
    found = {name: each for name, each in given.items() if name in chains}
    for network, signer in found.items():
        chain, refunding = chains[network], [signers[network]] if network in signers else []
        refunding += kms.earlier.get(network, ()) if kms is not None else ()
        if any(chain.address_of(each) == chain.address_of(signer) for each in refunding):
            raise ConfigurationError(
                f"{network} has one key for refunds and for collecting.",
                remedy="Give the collector a key of its own, whose account holds nothing but gas.",
            )
        if chain.recipient == chain.address_of(signer):
            raise ConfigurationError(
                f"{network} is paid on the account of its collector.", remedy="Set merchant_wallet to another account."
            )
    return found


def with_secrets(
    settings: GatewaySettings, keyring: Keyring, signers: Mapping[str, Signer]
) -> tuple[GatewaySettings, dict[str, Signer]]:
    """Settings and signers with what the source of secrets has; private keys come into the signers only."""
    snapshot = keyring.keeper.snapshot
    settings = keyring.settings(snapshot)
    kept = {network: keyring.signer(network, snapshot.keys[network][0]) for network in keyring.kept()}
    return _paid_to_keys(settings, kept), {**signers, **kept}


def has_keepers(settings: GatewaySettings) -> bool:
    """Whether any key is at a keeper."""
    return any(
        at_keeper(each.signer or "")
        or each.earlier_signers
        or (isinstance(each, EvmNetworkSettings) and each.collector_signer is not None)
        for each in settings.networks()
    )


def with_keepers(settings: GatewaySettings, signers: Mapping[str, Signer]) -> tuple[GatewaySettings, KmsRing]:
    """Settings with the accounts of the keys that never leave their keeper, and their signers; blocks.

    `signers`: those whose keys are elsewhere. Raises ConfigurationError.
    """
    from ws402.keys.kms.ring import open_kms  # noqa: PLC0415 - what has no such key needs none of its libraries

    for each in settings.networks():
        if each.earlier_signers and each.network not in signers and not at_keeper(each.signer or ""):
            raise ConfigurationError(
                f"{each.network} has earlier signers, and none that signs now.", remedy="Set its signer, or its key."
            )
    ring = open_kms(settings.networks(), settings.kms, signers)
    return _paid_to_keys(settings, ring.signers), ring


def _paid_to_keys(settings: GatewaySettings, signers: Mapping[str, Signer]) -> GatewaySettings:
    """The settings; where no wallet is set, invoices are paid to the account of the network's signer."""
    networks = [
        each.model_copy(update={"merchant_wallet": each.merchant_wallet or account_of(each, signers[each.network])})
        if each.network in signers
        else each
        for each in settings.networks()
    ]
    return with_networks(settings, networks)
