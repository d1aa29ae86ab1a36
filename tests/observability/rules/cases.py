"""For each alert: a world in which it stays silent, and one in which it fires. Series are in promtool's notation."""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """Series of a world, a value each minute, and the alert looked at after `minutes`."""

    alert: str
    labels: dict[str, str]
    """Of the alert that fires, besides its name and severity."""
    firing: dict[str, str]
    silent: dict[str, str]
    minutes: int = 60


OF_NET = {"namespace": "ws402-private", "network": "base"}
OF_ASSET = {**OF_NET, "asset": "ETH"}
OF_SHOP = {"namespace": "ws402-private", "endpoint": "shop"}


def series(name: str, **labels: str) -> str:
    """A series of the gateways' namespace."""
    pairs = {"namespace": "ws402-private", **labels}
    return name + "{" + ", ".join(f'{key}="{value}"' for key, value in pairs.items()) + "}"


def opened(total: str, in_time: str) -> dict[str, str]:
    """Valid proofs: all, and those that opened within 2 s."""
    name = "ws402_payment_open_seconds"
    return {
        series(f"{name}_count", network="base"): total,
        series(f"{name}_bucket", network="base", le="2.0"): in_time,
        series(f"{name}_bucket", network="base", le="+Inf"): total,
    }


def delivered(total: str, in_time: str) -> dict[str, str]:
    """Refunds: all, and those within 5 minutes."""
    name = "ws402_refund_delivery_seconds"
    return {
        series(f"{name}_count", network="base"): total,
        series(f"{name}_bucket", network="base", le="300.0"): in_time,
    }


def lag(total: str, quick: str) -> dict[str, str]:
    """Looks at the event loop: all, and those that came within a quarter of a second."""
    name = "ws402_event_loop_lag_seconds_bucket"
    return {
        series(name, instance="a", le="0.25"): quick,
        series(name, instance="a", le="1.0"): total,
        series(name, instance="a", le="+Inf"): total,
    }


def one(alert: str, series_name: str, labels: dict[str, str], *, firing: str, silent: str, minutes: int = 60) -> Case:
    """A case of one series."""
    return Case(alert, labels, {series_name: firing}, {series_name: silent}, minutes)


GATEWAY_PRIVATE = {"namespace": "ws402-private"}
A = {"namespace": "ws402-private", "instance": "a"}

UNCONSIDERED = series("ws402_refund_unconsidered_seconds", network="base", asset="ETH")
PAUSED = series("ws402_signer_paused", network="base")

CASES = (
    Case("WS402OpenFastBurn", GATEWAY_PRIVATE, opened("0+100x80", "0+97x80"), opened("0+1000x80", "0+999x80")),
    Case(
        "WS402OpenSlowBurn",
        GATEWAY_PRIVATE,
        opened("0+1000x80", "0+996x80"),
        opened("0+2000x80", "0+1999x80"),
    ),
    Case("WS402RefundFastBurn", GATEWAY_PRIVATE, delivered("0+100x80", "0+97x80"), delivered("0+9x80", "0+9x80")),
    Case(
        "WS402RefundSlowBurn",
        GATEWAY_PRIVATE,
        delivered("0+1000x80", "0+996x80"),
        delivered("0+2000x80", "0+1999x80"),
    ),
    one(
        "WS402LedgerImbalance",
        series("ws402_ledger_imbalance_units", network="base", asset="ETH", check="chain"),
        {**OF_ASSET, "check": "chain"},
        firing="0x10 5x60",
        silent="0x70",
    ),
    one(
        "WS402LedgerNotAudited",
        series("ws402_ledger_audit_timestamp_seconds"),
        GATEWAY_PRIVATE,
        firing="0x70",
        silent="0+60x70",
    ),
    one(
        "WS402RefundStuck",
        series("ws402_refund_oldest_seconds", network="base", state="in_flight"),
        OF_NET,
        firing="0+60x70",
        silent="0+60x8 0x62",
    ),
    Case(
        "WS402RefundsNotConsidered",
        OF_ASSET,
        {UNCONSIDERED: "0+60x70", PAUSED: "0x70"},
        {UNCONSIDERED: "0+60x70", PAUSED: "1x70"},
    ),
    one(
        "WS402RefundsHeld",
        series("ws402_refunds_open", network="base", state="held"),
        OF_NET,
        firing="0x10 1x60",
        silent="0x40 1x5 0x25",
    ),
    one(
        "WS402UnclaimedReturned",
        series("ws402_unclaimed_returned_total", network="base", asset="ETH"),
        OF_ASSET,
        firing="0+1x70",
        silent="0x30 1x40",
    ),
    one(
        "WS402NamelessMoney",
        series("ws402_unclaimed_nameless_total", network="base", asset="ETH"),
        OF_ASSET,
        firing="0x10 1x60",
        silent="0x70",
    ),
    one(
        "WS402FloatShort",
        series("ws402_signer_short_units", network="base", asset="ETH"),
        OF_ASSET,
        firing="1000x70",
        silent="0x70",
    ),
    one(
        "WS402CollectorLow",
        series("ws402_collector_transfers_payable", network="base"),
        OF_NET,
        firing="49x70",
        silent="50x70",
    ),
    one(
        "WS402CollectionStuck",
        series("ws402_collection_oldest_seconds", network="base"),
        OF_NET,
        firing="601x70",
        silent="600x70",
    ),
    one(
        "WS402FloatLow", series("ws402_signer_refunds_payable", network="base"), OF_NET, firing="49x70", silent="50x70"
    ),
    Case(
        "WS402LedgerVolumeFilling",
        A,
        {
            series("ws402_ledger_volume_free_bytes", instance="a"): "100x70",
            series("ws402_ledger_volume_bytes", instance="a"): "1000x70",
        },
        {
            series("ws402_ledger_volume_free_bytes", instance="a"): "300x70",
            series("ws402_ledger_volume_bytes", instance="a"): "1000x70",
        },
    ),
    one(
        "WS402LedgerVolumeFull",
        series("ws402_ledger_volume_free_bytes", instance="a"),
        A,
        firing="1000000x70",
        silent="100000000x70",
    ),
    one("WS402LedgerRestored", series("ws402_ledger_restored", network="base"), OF_NET, firing="1x70", silent="0x70"),
    one("WS402SignerPaused", series("ws402_signer_paused", network="base"), OF_NET, firing="1x70", silent="0x70"),
    one(
        "WS402SignerLimited",
        series("ws402_signer_hourly_limit_reached", network="base", asset="ETH"),
        OF_ASSET,
        firing="1x70",
        silent="0x50 1x10 0x10",
    ),
    one("WS402NonceGap", series("ws402_signer_nonce_gaps", network="base"), OF_NET, firing="1x70", silent="0x70"),
    Case(
        "WS402NoLeaseHolder",
        OF_NET,
        {
            series("ws402_signer_lease_held", network="base", instance="a"): "0x70",
            series("ws402_signer_lease_held", network="base", instance="b"): "0x70",
        },
        {
            series("ws402_signer_lease_held", network="base", instance="a"): "0x70",
            series("ws402_signer_lease_held", network="base", instance="b"): "1x70",
        },
    ),
    one("WS402ChainDown", series("ws402_chain_up", network="base"), OF_NET, firing="0x70", silent="1x70"),
    one(
        "WS402ChainLag", series("ws402_chain_head_lag_seconds", network="base"), OF_NET, firing="0+60x70", silent="2x70"
    ),
    Case(
        "WS402RpcFailing",
        OF_NET,
        {
            series("ws402_rpc_calls_total", network="base", method="eth_call"): "0+100x70",
            series("ws402_rpc_errors_total", network="base", method="eth_call", reason="endpoint"): "0+6x70",
        },
        {
            series("ws402_rpc_calls_total", network="base", method="eth_call"): "0+100x70",
            series("ws402_rpc_errors_total", network="base", method="eth_call", reason="endpoint"): "0+1x70",
            series("ws402_rpc_errors_total", network="base", method="eth_call", reason="reply"): "0+50x70",
        },
    ),
    one("WS402Reorgs", series("ws402_chain_reorgs_total", network="base"), OF_NET, firing="0+1x70", silent="0x50 1x20"),
    one(
        "WS402VaultTokenExpiring",
        series("ws402_vault_token_remaining_seconds", instance="a"),
        A,
        firing="3600-60x70",
        silent="3600-60x40 3600-60x40",
    ),
    Case(
        "WS402VaultFailing",
        GATEWAY_PRIVATE,
        {series("ws402_vault_renewals_total", result="error"): "0+1x70"},
        {
            series("ws402_vault_renewals_total", result="ok"): "0+1x70",
            series("ws402_vault_logins_total", result="error"): "0x50 1x20",
        },
    ),
    one(
        "WS402SecretStale",
        series("ws402_secret_checked_seconds", secret="keys/base"),
        {**GATEWAY_PRIVATE, "secret": "keys/base"},
        firing="0+60x70",
        silent="30x70",
    ),
    one(
        "WS402KeyTooOld",
        series("ws402_secret_age_seconds", secret="keys/base"),
        {**GATEWAY_PRIVATE, "secret": "keys/base"},
        firing="7776060+60x70",
        silent="86400+60x70",
        minutes=65,
    ),
    Case(
        "WS402NoGateway",
        {"component": "gateway"},
        {series("ws402_build_info", component="server", version="1"): "1x70"},
        {series("ws402_build_info", component="gateway", version="1"): "1x70"},
    ),
    Case(
        "WS402NoServer",
        {"component": "server"},
        {series("ws402_build_info", component="gateway", version="1"): "1x70"},
        {series("ws402_build_info", component="server", version="1"): "1x70"},
    ),
    Case(
        "WS402CrashLooping",
        {**A, "job": "ws402-server"},
        {
            series("process_start_time_seconds", job="ws402-server", instance="a"): "0+300x70",
            series("ws402_build_info", job="ws402-server", instance="a", component="server", version="1"): "1x70",
        },
        {
            series("process_start_time_seconds", job="ws402-server", instance="a"): "7x70",
            series("ws402_build_info", job="ws402-server", instance="a", component="server", version="1"): "1x70",
            series("process_start_time_seconds", job="another", instance="b"): "0+300x70",
        },
    ),
    one(
        "WS402SessionsVanished",
        series("ws402_sessions_settled_total", reason="server_vanished"),
        GATEWAY_PRIVATE,
        firing="0x50 7x20",
        silent="0x30 7x40",
    ),
    one(
        "WS402GatewayLinkBroken",
        series("ws402_gateway_link_breaker_open", instance="a"),
        A,
        firing="1x70",
        silent="0x70",
    ),
    one(
        "WS402SettlementsWaiting",
        series("ws402_settlements_waiting", instance="a"),
        GATEWAY_PRIVATE,
        firing="0x40 3x30",
        silent="0x55 3x15",
    ),
    Case(
        "WS402GatewayErrors",
        GATEWAY_PRIVATE,
        {
            series("ws402_response_seconds_count", route="/api/ops", code="200"): "0+98x70",
            series("ws402_response_seconds_count", route="/api/ops", code="503"): "0+2x70",
        },
        {
            series("ws402_response_seconds_count", route="/api/ops", code="200"): "0+100x70",
            series("ws402_response_seconds_count", route="/api/ops", code="401"): "0+50x70",
            series("ws402_response_seconds_count", route="/api/ops", code="503"): "0x70",
        },
    ),
    Case("WS402EventLoopSaturated", A, lag("0+120x70", "0+100x70"), lag("0+120x70", "0+120x70")),
    one(
        "WS402WebhookLate",
        series("ws402_webhook_oldest_seconds", endpoint="shop"),
        OF_SHOP,
        firing="0+120x70",
        silent="0+120x28 0x42",
    ),
    one(
        "WS402WebhookDisabled",
        series("ws402_webhook_disabled", endpoint="shop"),
        OF_SHOP,
        firing="1x70",
        silent="0x70",
    ),
    one(
        "WS402WebhookGivenUp",
        series("ws402_webhooks_given_up_total", endpoint="shop"),
        OF_SHOP,
        firing="0x30 1x40",
        silent="1x70",
    ),
    one(
        "WS402DatabaseSaturated",
        series("ws402_database_connections_used", instance="a"),
        A,
        firing="20x70",
        silent="3x70",
    ),
)
