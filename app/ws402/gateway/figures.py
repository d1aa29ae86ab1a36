"""The figures of GET /api/stats."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ws402.chains.base import Chain
from ws402.gateway.ledger.database import now_ms
from ws402.gateway.service import PaymentService
from ws402.money import WireAmount, wire_amount
from ws402.protocol import StatsResponse


def kind_of(chain: Chain) -> str:
    """The wire's name for the kind of a network: 'base' for every EVM chain, else the namespace of its CAIP-2 id."""
    namespace = chain.caip2.partition(":")[0]
    return "base" if namespace == "eip155" else namespace


def default_chain(chains: Mapping[str, Chain], name: str | None) -> Chain:
    """The network of an invoice that names none."""
    return chains[name] if name else next(iter(chains.values()))


class GatewayService(PaymentService):
    """The payment service with the figures that its API shows."""

    async def stats(self) -> StatsResponse:
        """Counters since this process started; refunds as the ledger has them."""
        chain = default_chain(self.chains, self.settings.default_network)
        namespace, _, chain_id = chain.caip2.partition(":")
        refunds = await self.views.refund_counts()
        volume: dict[str, dict[str, WireAmount]] = {}
        for (network, asset), total in self.payments.volume.items():
            volume.setdefault(network, {})[asset] = wire_amount(total)
        return StatsResponse(
            gateway="ws402",
            provider=kind_of(chain),
            network=chain.network,
            chain_id=int(chain_id) if namespace == "eip155" else None,
            merchant_wallet=chain.recipient,
            auto_refund_enabled=True,
            uptime=int(time.time() - self.started_at),
            timestamp=now_ms(),
            payments_verified=self.payments.verified,
            payments_rejected=sum(self.payments.rejected.values()),
            refunds_issued=sum(total for state, total in refunds.items() if state != "void"),
            refunds_failed=refunds.get("held", 0),
            total_volume=volume,
            average_response_time=0.0,
        )
