"""Limits of a network, by asset: whole smallest units, or coins as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from ws402.errors import ConfigurationError
from ws402.settings import GatewaySettings, load

BASE: dict[str, Any] = {
    "network": "base",
    "chain_id": 8453,
    "rpc": ["https://rpc.example"],
    "tokens": [{"symbol": "USDC", "contract": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "decimals": 6}],
}


def test_amounts_are_written_in_coins_or_in_smallest_units() -> None:
    limits = {
        "large_above": {"USDC": "500 USDC", "ETH": "0.1 ETH"},
        "min_refund": {"USDC": "0 USDC"},
        "hourly_limit": {"ETH": "5000000000000000000", "USDC": 7},
    }
    (network,) = load(GatewaySettings, evm_networks=[BASE | limits]).networks()
    assert network.large_above == {"USDC": 500_000_000, "ETH": 10**17}
    assert network.min_refund == {"USDC": 0}
    assert network.hourly_limit == {"ETH": 5 * 10**18, "USDC": 7}


def test_on_solana_too() -> None:
    settings = {"network": "solana", "rpc": ["https://rpc.example"], "agree_above": {"SOL": "1.5 SOL"}}
    (network,) = load(GatewaySettings, solana_networks=[settings]).networks()
    assert network.agree_above == {"SOL": 1_500_000_000}


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"USDC": "500 EUR"}, "none of ETH, USDC"),
        ({"USDC": "0.1 ETH"}, "written in ETH; write it in USDC"),
        ({"USDC": "0.0000001 USDC"}, "at most 6 decimal places"),
        ({"USDC": "-1 USDC"}, "decimal places"),
        ({"USDC": "0.5"}, "LARGE_ABOVE.USDC"),
    ],
)
def test_what_is_no_amount_is_told(limits: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match="EVM_NETWORKS") as told:
        load(GatewaySettings, evm_networks=[BASE | {"large_above": limits}])
    assert says in str(told.value)
