"""What GET /api/stats shows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from ws402.chains.base import Chain
from ws402.gateway.ledger.database import now_ms
from ws402.gateway.ledger.states import RefundState
from ws402.money import WireAmount, wire_amount
from ws402.protocol import AssetInfo, StatsResponse
from ws402.settings import GatewaySettings


class Verified(Protocol):
    """Proofs that were judged since the process started."""

    @property
    def verified(self) -> int:
        """How many were accepted."""

    @property
    def rejected(self) -> Mapping[str, int]:
        """How many were refused, by reason."""

    @property
    def volume(self) -> Mapping[tuple[str, str], int]:
        """What was paid in, by network and asset, in smallest units."""


def decimals(chains: Mapping[str, Chain]) -> dict[str, dict[str, int]]:
    """By network and asset: how many decimals a coin has."""
    return {name: {symbol: each.decimals for symbol, each in chain.assets.items()} for name, chain in chains.items()}


def kind_of(chain: Chain) -> str:
    """The wire's name for the kind of a network: 'base' for every EVM chain, else the namespace of its CAIP-2 id."""
    namespace = chain.caip2.partition(":")[0]
    return "base" if namespace == "eip155" else namespace


def default_chain(chains: Mapping[str, Chain], name: str | None) -> Chain:
    """The network of an invoice that names none."""
    return chains[name] if name else next(iter(chains.values()))


def stats(
    settings: GatewaySettings,
    chains: Mapping[str, Chain],
    proofs: Verified,
    refunds: Mapping[str, int],
    started_at: float,
) -> StatsResponse:
    """Counters since the process started, and `refunds` by state as the ledger has them."""
    chain = default_chain(chains, settings.default_network)
    namespace, _, chain_id = chain.caip2.partition(":")
    volume: dict[str, dict[str, WireAmount]] = {}
    for (network, asset), total in proofs.volume.items():
        volume.setdefault(network, {})[asset] = wire_amount(total)
    return StatsResponse(
        gateway="ws402",
        provider=kind_of(chain),
        network=chain.network,
        chain_id=int(chain_id) if namespace == "eip155" else None,
        merchant_wallet=chain.recipient,
        auto_refund_enabled=True,
        uptime=int(time.time() - started_at),
        timestamp=now_ms(),
        payments_verified=proofs.verified,
        payments_rejected=sum(proofs.rejected.values()),
        refunds_issued=sum(total for state, total in refunds.items() if state != RefundState.VOID),
        refunds_failed=refunds.get(RefundState.HELD, 0),
        total_volume=volume,
        average_response_time=0.0,
        default_asset=settings.default_asset or chain.native,
        assets=[
            AssetInfo(network=each.network, asset=symbol, decimals=asset.decimals, native=symbol == each.native)
            for each in chains.values()
            for symbol, asset in each.assets.items()
        ],
    )
