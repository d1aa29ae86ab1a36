"""Takes new secrets into a running gateway: API keys at once, signing keys so that nothing is lost or signed twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from ws402.chains.base import Chain
from ws402.chains.registry import sign_text
from ws402.errors import ConfigurationError
from ws402.gateway.auth.keys import Authenticator
from ws402.gateway.refunds import RefundEngine
from ws402.gateway.service import PaymentService
from ws402.gateway.webhooks.worker import Webhooks
from ws402.keys.base import Signer
from ws402.keys.keyring import Keyring
from ws402.keys.snapshot import Snapshot

log = logging.getLogger(__name__)


async def see_through(
    service: PaymentService,
    engine: RefundEngine,
    chain: Chain,
    signers: Sequence[Signer],
    *,
    paid: bool,
    linger: float,
) -> None:
    """Let the keys of a network that come after the first, newest first, finish what they signed.

    `paid`: invoices are paid to the key's own account, so each announces who came after it. `linger`: as for
    `RefundEngine.rotate`.
    """
    network, successions, after = chain.network, service.invoices.successions, ""
    for signer in signers:
        address = chain.address_of(signer)
        if after:
            await service.watcher.adopt(chain, address, paid=paid)
            engine.retire(network, signer, linger=linger)
            if paid:  # it was rotated while no gateway ran
                await successions.announce(network, signer, after, sign_text)
        after = address
    await successions.refresh(network)


class Rotation:
    """Between the keeper of the secrets and what uses them."""

    def __init__(
        self,
        keyring: Keyring,
        signers: dict[str, Signer],
        paid: frozenset[str],
        service: PaymentService,
        engine: RefundEngine,
        authenticator: Authenticator,
        webhooks: Webhooks | None = None,
    ) -> None:
        """`signers`: those in use, by network. `paid`: networks whose invoices are paid to the key's own account."""
        self._keyring = keyring
        self._signers = signers
        self._paid = paid
        self._service = service
        self._engine = engine
        self._authenticator = authenticator
        self._webhooks = webhooks
        self._versions: dict[tuple[str, str], int] = {}
        """By network and address: the version of the key."""
        # A gateway that does not reach the source signs with the key that it holds for as long as it is ready.
        self._linger = 0.0 if service.database.dialect == "sqlite" else keyring.keeper.max_stale_seconds
        self.restart_needed: set[str] = set()
        """Secrets that changed and are read at the start only."""

    async def start(self) -> None:
        """Count all accounts of the keys, see through what earlier keys signed, and look for new secrets."""
        for network in self._keyring.keeper.snapshot.keys:
            if network not in self._service.watcher.missing:
                await self._begin(self._chains[network])
        self._service.watcher.on_joined.insert(0, self._begin)
        self._engine.on_retired = self._retired
        self._service.checks.append(self._keyring.keeper.check)
        self._keyring.keeper.start(self.apply)

    async def _begin(self, chain: Chain) -> None:
        """See through what earlier keys of a network signed."""
        network = chain.network
        line = self._keyring.keeper.snapshot.keys.get(network, ())
        signers: list[Signer] = []
        for key in line:
            try:
                signer = self._keyring.signer(network, key)
            except ConfigurationError as error:
                if key is line[0]:
                    raise
                # It never signed anything.
                log.warning("an earlier version is passed over: %s", error.message)
                continue
            self._versions[network, chain.address_of(signer)] = key.version
            signers.append(signer)
        paid = network in self._paid
        await see_through(self._service, self._engine, chain, signers, paid=paid, linger=self._linger)

    async def apply(self, held: Snapshot, found: Snapshot) -> None:
        """Use a new snapshot. All of it is checked first: raises ConfigurationError, and nothing has changed then.

        Raises UnavailableError when ledger or chain do not answer; the next look tries again.
        """
        fresh = {
            network: self._keyring.signer(network, line[0])
            for network, line in found.keys.items()
            if line[:1] != held.keys.get(network, ())[:1]
        }
        keys = self._keyring.api_keys(found)
        secrets = self._keyring.webhook_secrets(found)
        self._authenticator.replace_configured(keys["gateway_api_key"], keys["gateway_admin_key"])
        if self._webhooks is not None:
            self._webhooks.replace_secrets(secrets)
        for network, signer in fresh.items():
            await self._rotate(network, signer, found.keys[network][0].version)
        for name, old, new in (("database", held.database_url, found.database_url), ("rpc", held.rpc, found.rpc)):
            if old != new:
                self.restart_needed.add(name)
                log.warning("the secret %s has changed: it counts from the gateway's next start on", name)

    @property
    def _chains(self) -> Mapping[str, Chain]:
        return self._service.chains

    async def _rotate(self, network: str, signer: Signer, version: int) -> None:
        chain = self._chains[network]
        address = chain.address_of(signer)
        await self._service.watcher.adopt(chain, address, paid=network in self._paid)
        # Other gateways of this ledger learn of the key now, too: only then is it named to payers.
        if self._linger:
            await asyncio.sleep(self._keyring.keeper.poll_seconds * 1.2)
        successions = self._service.invoices.successions
        if network in self._paid:
            # Before anything changes: a look that fails here is repeated from the start.
            await successions.announce(network, self._signers[network], address, sign_text)
        self._versions[network, address] = version
        self._engine.rotate(network, signer, linger=self._linger)
        self._signers[network] = signer
        if network in self._paid:
            chain.recipient = address
            await successions.refresh(network)

    def _retired(self, network: str, signer: Signer) -> None:
        version = self._versions.pop((network, self._chains[network].address_of(signer)), None)
        if version is not None:
            self._keyring.keeper.forget(network, version)
