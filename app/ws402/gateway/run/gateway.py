"""A whole gateway from its settings: ledger, chains, keys, service, refunds, and the HTTP API over them."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ws402 import tls
from ws402.chains.base import Chain, ChainUnavailableError
from ws402.chains.registry import chains_for
from ws402.errors import ConfigurationError, UnavailableError
from ws402.gateway.api.admin import AdminRoutes
from ws402.gateway.api.admin_reads import AdminReads
from ws402.gateway.api.app import GatewayApp
from ws402.gateway.api.commands import Commands
from ws402.gateway.api.events import EventRoutes
from ws402.gateway.auth.keys import Authenticator
from ws402.gateway.auth.stored import StoredKeys
from ws402.gateway.books.audit_log import AuditLog
from ws402.gateway.books.stats import decimals, default_chain, kind_of
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.transactions import Outbox
from ws402.gateway.refunds import RefundEngine
from ws402.gateway.run.keys import collectors_for, has_keepers, with_keepers, with_secrets
from ws402.gateway.run.ledger_metrics import LedgerMetrics
from ws402.gateway.run.live_metrics import observe, observe_secrets
from ws402.gateway.run.mounted import MountedSecrets
from ws402.gateway.run.rotation import Rotation, see_through
from ws402.gateway.service import PaymentService
from ws402.gateway.watch.other_chain import OtherChainError
from ws402.gateway.webhooks.records import Records
from ws402.gateway.webhooks.worker import Webhooks
from ws402.keys.base import Signer
from ws402.keys.keyring import Keyring, local_signers, networks_of, open_keyring
from ws402.observability import metrics
from ws402.observability.exporter import Exporter, exporter
from ws402.serving import HttpServer
from ws402.settings import GatewaySettings

if TYPE_CHECKING:
    from ws402.keys.kms.ring import KmsRing

log = logging.getLogger(__name__)


LOOPBACK: Final = "127.0.0.1"
"""Where the console listens, and nowhere else: it has no TLS, and trusts that nobody can listen in."""


class Gateway:
    """Made by `build`. `start` and `close` it once; `service` is its core."""

    def __init__(
        self,
        settings: GatewaySettings,
        chains: Mapping[str, Chain],
        signers: Mapping[str, Signer],
        keyring: Keyring | None = None,
        kms: KmsRing | None = None,
    ) -> None:
        self.settings = settings
        self.chains = chains
        self.signers = dict(signers)
        self.keyring = keyring
        """The source of secrets that is configured, with its counters."""
        self._kms = kms
        self.database = Database(settings.database_url.get_secret_value())
        holder = _holder()
        self.refunds = RefundEngine(self.database, chains, signers, settings, holder)
        self.service = PaymentService(
            settings,
            self.database,
            chains,
            _addresses(chains, signers),
            on_refunds=self.refunds.wake,
            collectors=collectors_for(settings, chains, signers, kms),
            holder=holder,
        )
        self.webhooks = _webhooks(settings, self.database, chains, holder)
        self._authenticator = Authenticator(settings)
        # Where no wallet is set, invoices are paid to the key's own account, and follow it when it is rotated.
        self._paid = frozenset(
            name
            for name, each in self.signers.items()
            if name in chains and chains[name].address_of(each) == chains[name].recipient
        )
        self._stored = StoredKeys(self.database, self._authenticator)
        self._http: HttpServer | None = None
        self._app: GatewayApp | None = None
        self.exporter: Exporter | None = None
        self.console: HttpServer | None = None
        """Where operators' browsers are answered."""
        self.audit_log = AuditLog(self.database, settings.audit_log_key)
        self._open = AsyncExitStack()

    @property
    def url(self) -> str:
        """Where the HTTP API answers."""
        if self._http is None:
            msg = "the gateway serves no HTTP"
            raise RuntimeError(msg)
        return self._http.url

    async def start(self, *, http: bool = True) -> None:
        """Take the port, open the ledger, catch up with the chains, and serve.

        Probes are answered while it catches up; everything else is 503 until then. Raises ConfigurationError, after
        which nothing is left open.
        """
        try:
            await self._start(http=http)
        except UnavailableError as error:
            await self.close()
            names = (
                "BASE_RPC, SOLANA_RPC or the rpc of the networks"
                if isinstance(error, ChainUnavailableError)
                else "DATABASE_URL"
            )
            raise ConfigurationError(
                f"The gateway cannot start: {error.message}",
                remedy=error.remedy
                if isinstance(error, OtherChainError)
                else f"Check {names}, and that what it names runs and can be reached.",
                code=error.code,
            ) from error
        except BaseException:
            await self.close()
            raise

    async def _start(self, *, http: bool) -> None:
        if self.keyring is not None:
            self._open.push_async_callback(self.keyring.close)
        if self._kms is not None:
            self._open.callback(self._kms.close)
        self._open.push_async_callback(self.database.close)
        if http:
            self._http = HttpServer(self.settings.gateway_host, self.settings.gateway_port, tls=_tls(self.settings))
            self._open.push_async_callback(self._http.close)
            self.exporter = exporter(self.settings, "gateway")
            if self.settings.console_port is not None:
                self.console = HttpServer(LOOPBACK, self.settings.console_port)
                self._open.push_async_callback(self.console.close)
        if self.exporter is not None:
            self._open.push_async_callback(self.exporter.close)
            await self.exporter.start()
        await self.database.check()
        await self.database.create()
        if http:
            await self._stored.refresh()
            self._authenticator.require_keys()
            if self._authenticator.identity is not None:
                self._open.push_async_callback(self._authenticator.identity.keys.close)
                await self._authenticator.identity.keys.start()
            await self._serve()
        self._open.push_async_callback(self.audit_log.close)
        self.audit_log.start()
        await self._start_money()
        if self.keyring is not None:
            rotation = Rotation(
                self.keyring,
                self.signers,
                self._paid,
                self.service,
                self.refunds,
                self._authenticator,
                self.webhooks,
            )
            # Before the refunds: no new secret is taken while they close.
            self._open.push_async_callback(self.keyring.keeper.stop)
            await rotation.start()
            self._open.enter_context(observe_secrets(self.keyring.keeper))
        self._open.enter_context(observe(self.service, self.refunds))
        if self.settings.metrics_port is not None:
            ledger_metrics = LedgerMetrics(self.service, self.refunds)
            self._open.push_async_callback(ledger_metrics.close)
            await ledger_metrics.start()
        if http and self.keyring is None and (folder := os.environ.get("WS402_SECRETS_DIR")):
            mounted = MountedSecrets(Path(folder), self._authenticator, self.webhooks)
            self._open.push_async_callback(mounted.job.close)
            mounted.job.start()
        if self._http is not None and self._app is not None:
            await self._stored.start()
            self._open.push_async_callback(self._stored.close)
            await self._open_console()
            # Closed once more, and first: what was asked is answered while the rest still works.
            self._open.push_async_callback(self._http.close)
            self._app.started()

    async def _start_money(self) -> None:
        """Watch, collect and refund; networks that are away join later."""
        await self._former_accounts()
        self._open.push_async_callback(self.service.close)
        await self.service.start()
        if self.webhooks is not None:
            self._open.push_async_callback(self.webhooks.close)
            await self.webhooks.start()
        missing = self.service.watcher.missing
        for network in self.signers:
            if network not in missing:
                await self._adopt(self.chains[network])
        for network in self.service.collector.workers:
            if network not in missing:
                await self._collect(self.chains[network])
        self.service.collector.start()
        self.service.checks += [self._stored.job.check, self.audit_log.job.check, self.refunds.check]
        self.service.checks.append(self.service.collector.check)
        self._open.push_async_callback(self.refunds.close)
        await self.refunds.start(missing)
        self.service.watcher.on_joined += [self._adopt, self._refund, self._collect]
        if self._kms is not None:
            for network in self._kms.earlier:
                if network not in missing:
                    await self._see_through(self.chains[network])
            self.service.watcher.on_joined.append(self._see_through)

    async def _adopt(self, chain: Chain) -> None:
        """Count the account of a network's key among ours."""
        if signer := self.signers.get(chain.network):
            paid = chain.network in self._paid
            await self.service.watcher.adopt(chain, chain.address_of(signer), paid=paid)

    async def _see_through(self, chain: Chain) -> None:
        """Let a network's earlier keys at their keepers finish what they signed."""
        network = chain.network
        if self._kms is not None and (earlier := self._kms.earlier.get(network)):
            paid = network in self._paid
            line = [self.signers[network], *earlier]
            await see_through(self.service, self.refunds, chain, line, paid=paid, linger=0)

    async def _refund(self, chain: Chain) -> None:
        """Send a network's refunds from now on."""
        self.refunds.join(chain.network)

    async def _collect(self, chain: Chain) -> None:
        """Collect on a network from now on; its collector's coins count among ours."""
        if worker := self.service.collector.workers.get(chain.network):
            await self.service.watcher.adopt(chain, worker.context.address, paid=False)
            await self.service.collector.join(chain.network)

    async def _former_accounts(self) -> None:
        """Payments to the account of a rotated key are ours still: an invoice may name it, and a refund look for it."""
        for network, chain in self.chains.items():
            await self.service.invoices.successions.refresh(network)
            for address in await self.service.watcher.accounts(network):
                self.service.addresses[network].add(address)
                worker = self.service.collector.workers.get(network)
                if network in self._paid and (worker is None or worker.context.address != address):
                    chain.accept(address)

    def application(self) -> GatewayApp:
        """The HTTP API over this gateway, which serves nothing by itself."""
        kind = kind_of(default_chain(self.chains, self.settings.default_network))
        commands = Commands(self.audit_log)
        self._admin = AdminRoutes(self.service, commands)
        self._reads = AdminReads(self.service, self.refunds, self.audit_log)
        events = EventRoutes(Records(self.database, self.webhooks), commands)
        return GatewayApp(
            self.service,
            self._authenticator,
            self.settings,
            provider=kind,
            operators=(self._admin, self._reads, events),
            away=self.service.watcher.errors.keys,
            restored=self.refunds.restored,
        )

    async def _serve(self) -> None:
        assert self._http is not None  # noqa: S101 - the caller made it
        self._app = self.application()
        self._app.starting()
        mutual = self.settings.gateway_tls_client_ca_file is not None
        await self._http.start(self._app.app, strangers=self._app.strangers if mutual else None)

    async def _open_console(self) -> None:
        """Serve operators' browsers, once there is something to show."""
        if self.console is None:
            return
        from ws402.gateway.console.app import Console  # noqa: PLC0415 - templates, only where the console is on

        name = ", ".join(self.chains)
        changes = self.settings.console_changes
        console = Console(self._authenticator, self._reads, self._admin, changes=changes, network=name)
        await self.console.start(console, lifespan=False)
        # Closed once more, and before what it asks.
        self._open.push_async_callback(self.console.close)
        log.info("the console is at %s%s", self.console.url, "" if changes else ", for reading only")

    async def close(self) -> None:
        """Answer what was asked, finish what is queued, let go of keys and connections."""
        if self._app is not None:
            metrics.DRAINING.set(1)
            self._app.draining()
        await self._open.aclose()


def build(
    settings: GatewaySettings,
    *,
    chains: Mapping[str, Chain] | None = None,
    signers: Mapping[str, Signer] | None = None,
) -> Gateway:
    """A gateway by its settings, or over given chains and signers (by network). Raises ConfigurationError."""
    keyring = kms = None
    with ExitStack() as undo:
        if chains is None:
            if not networks_of(settings):
                raise ConfigurationError(
                    "The gateway has no network.",
                    remedy="Set BASE_RPC, BASE_NETWORK and MERCHANT_PRIVATE_KEY, or the same of Solana: SOLANA_RPC, …",
                )
            signers = local_signers(settings.networks()) | dict(signers or {})
            keyring = open_keyring(settings)
            if keyring is not None:
                undo.callback(keyring.close_unused)
                settings, signers = with_secrets(settings, keyring, signers)
            if has_keepers(settings):
                settings, kms = with_keepers(settings, signers)
                undo.callback(kms.close)
                signers = {**signers, **kms.signers}
            chains = chains_for(settings.networks())
        if settings.default_network and settings.default_network not in chains:
            raise ConfigurationError(
                f"DEFAULT_NETWORK={settings.default_network} is not configured.",
                remedy=f"Use one of: {', '.join(chains)}.",
            )
        gateway = Gateway(settings, chains, signers or {}, keyring, kms)
        undo.pop_all()  # `Gateway.close` does it from now on
    return gateway


def _webhooks(
    settings: GatewaySettings, database: Database, chains: Mapping[str, Chain], holder: str
) -> Webhooks | None:
    """What delivers events, where somebody is to be told; the ledger then writes them."""
    if not settings.webhooks:
        return None
    webhooks = Webhooks(
        database,
        settings.webhooks,
        settings.webhook_secrets,
        seconds=settings.webhook_timeout_seconds,
        holder=holder,
    )
    database.outbox = Outbox(decimals(chains), webhooks.told)
    return webhooks


def _tls(settings: GatewaySettings) -> ssl.SSLContext | None:
    cert, key = settings.gateway_tls_cert_file, settings.gateway_tls_key_file
    return tls.serving(cert, key, settings.gateway_tls_client_ca_file) if cert is not None and key is not None else None


def _addresses(chains: Mapping[str, Chain], signers: Mapping[str, Signer]) -> dict[str, set[str]]:
    addresses = {network: {chain.recipient} for network, chain in chains.items()}
    for network, signer in signers.items():
        if network in chains:
            addresses[network].add(chains[network].address_of(signer))
    return addresses


def _holder() -> str:
    """This process, for the lease of a signing key: a name that an operator can find, and no two share."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
