"""How refunds are sent: limits and delays of one network. All times are milliseconds, all amounts smallest units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ws402.chains.base import Chain
from ws402.settings import GatewaySettings

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules for one network."""

    min_refund: Mapping[str, int] = {}
    """By asset: smaller debts are kept as credit. Unset: what a delivery costs now, for the native coin; else 0."""
    hourly_limit: Mapping[str, int] = {}
    """By asset: a key signs for at most this much in an hour; the rest waits."""
    daily_fees: int | None = None
    """In the network's own coin: deliveries may cost this much in 24 hours; the rest waits."""
    window: int = 256
    """Transactions that may wait for a block at once."""
    group: int = 100
    """Transactions that are signed and stored in one commit."""
    concurrency: int = 16
    """Calls to the chain or the signer at once."""
    bump_after_ms: int = 30_000
    """When the transaction that is next in line is in no block after this long, all in line get a higher fee."""
    resend_after_ms: int = 15_000
    """A transaction in no block is sent again after this long: nodes forget."""
    small_factor: int = 10
    """A refund below this many times the minimum is small: it costs us much for what it is."""
    small_burst: int = 3
    """Small refunds that one payer gets in `small_window_ms`; further ones wait, and travel together."""
    small_window_ms: int = 60_000
    recheck_ms: int = 30_000
    """A refund whose payment the chain did not confirm is looked at again after this long."""


def policies(settings: GatewaySettings, chains: Mapping[str, Chain]) -> dict[str, Policy]:
    """The rules of every configured network."""
    return {
        each.network: Policy(
            min_refund=each.min_refund,
            hourly_limit=each.hourly_limit,
            daily_fees=chains[each.network].daily_fees,
            resend_after_ms=int(chains[each.network].resend_seconds * 1000),
        )
        for each in settings.networks()
        if each.network in chains
    }
