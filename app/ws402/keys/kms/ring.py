"""The signers of all networks whose keys are at a keeper, and those of the keys before them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from ws402.backoff import spread
from ws402.errors import ConfigurationError
from ws402.keys.base import Signer
from ws402.keys.kms.registry import key_service
from ws402.keys.kms.service import PASSING, KeyServiceError
from ws402.keys.kms.signer import KmsSigner
from ws402.settings import EvmNetworkSettings, KmsSettings, NetworkSettings, at_keeper

log = logging.getLogger(__name__)

OPENING_TRIES: Final = 3
"""A keeper that has just come up may fail once more."""


class KmsRing:
    """Opened once, when the gateway is built. A key's rotation is another `signer` in the settings, and a restart."""

    def __init__(self) -> None:
        self.signers: dict[str, KmsSigner] = {}
        """By network: the key that signs."""
        self.earlier: dict[str, list[KmsSigner]] = {}
        """By network: keys that finish what they signed, newest first."""
        self.collectors: dict[str, KmsSigner] = {}
        """By network: the collector's key."""

    def close(self) -> None:
        """Let go of the keepers."""
        earlier = (each for line in self.earlier.values() for each in line)
        for signer in (*self.signers.values(), *earlier, *self.collectors.values()):
            signer.close()


def open_kms(
    networks: Iterable[NetworkSettings], settings: KmsSettings, others: Mapping[str, Signer] = MappingProxyType({})
) -> KmsRing:
    """Ask each keeper for its public key and for a proof that it signs; blocks. Raises ConfigurationError.

    `others`: by network, the signers whose keys are elsewhere; keys at keepers may come before them.
    """
    ring = KmsRing()
    try:
        for network in networks:
            if network.signer is not None and at_keeper(network.signer):
                ring.signers[network.network] = _opened(network, network.signer, settings)
            signs = ring.signers.get(network.network) or others.get(network.network)
            if earlier := _earlier(network, signs, settings):
                ring.earlier[network.network] = earlier
            if isinstance(network, EvmNetworkSettings) and network.collector_signer is not None:
                ring.collectors[network.network] = _opened(network, network.collector_signer, settings)
    except BaseException:
        ring.close()
        raise
    return ring


def _earlier(network: NetworkSettings, signs: Signer | None, settings: KmsSettings) -> list[KmsSigner]:
    found: list[KmsSigner] = []
    for named in network.earlier_signers:
        try:
            signer = _opened(network, named, settings)
        except ConfigurationError as error:
            # What it signed can be sent still, if not signed anew: a key that is gone stops no gateway.
            log.warning("an earlier signer of %s is passed over: %s", network.network, error)
            continue
        # Perhaps by another name: else each key would tell payers that the next, and so itself, comes after it.
        if any(each is not None and each.public_key == signer.public_key for each in (signs, *found)):
            log.warning("%s names one key twice: %s is passed over as an earlier signer", network.network, named)
            signer.close()
            continue
        found.append(signer)
    return found


def _opened(network: NetworkSettings, named: str, settings: KmsSettings) -> KmsSigner:
    for attempt in range(1, OPENING_TRIES + 1):
        try:
            service = key_service(named, settings)
            signer = KmsSigner(service, timeout_seconds=settings.timeout_seconds, workers=settings.workers)
            break
        except KeyServiceError as error:
            if error.reason not in PASSING or attempt == OPENING_TRIES:
                raise ConfigurationError(
                    f"The signer of {network.network} cannot be used: {error.message}", remedy=error.remedy
                ) from None
            log.warning("trying again: %s", error.message)
            time.sleep(spread(0, attempt))
    wanted = "secp256k1" if isinstance(network, EvmNetworkSettings) else "ed25519"
    if signer.algorithm != wanted:
        signer.close()
        raise ConfigurationError(
            f"The signer of {network.network}, {named}, is a key of {signer.algorithm}.",
            remedy=f"Name a key of {wanted}, which this network's accounts have.",
        )
    return signer
