"""Where the money is: in = consumed + refunded + held."""

from charts.dashboards.parts import Dashboard, Row, graph, quantiles

DASHBOARD = Dashboard(
    "money",
    "Money",
    "Every unit that came in is consumed, refunded or held. Amounts are smallest units; the ledger has them exactly.",
    (
        Row(
            "Where it is",
            (
                graph(
                    "Accounts",
                    "What each account of the ledger holds. chain + gas = all the others, for every asset.",
                    (
                        "sum by (network, asset, account) (ws402_ledger_account_units)",
                        "{{network}} {{asset}} {{account}}",
                    ),
                    width=12,
                ),
                graph(
                    "Paid in",
                    "Verified payments, smallest units a second.",
                    ("sum by (network, asset) (rate(ws402_payment_volume_units_total[$r]))", "{{network}} {{asset}}"),
                    width=6,
                ),
                graph(
                    "Consumed",
                    "Metered when sessions end or move, smallest units a second.",
                    ("sum by (network, asset) (rate(ws402_metered_units_total[$r]))", "{{network}} {{asset}}"),
                    width=6,
                ),
                graph(
                    "Imbalance",
                    "What the audit finds: books against the chain, live sessions and unfinished refunds. 0, or page.",
                    (
                        "max by (network, asset, check) (ws402_ledger_imbalance_units)",
                        "{{network}} {{asset}} {{check}}",
                    ),
                    thresholds=((1, "red"),),
                    alert="WS402LedgerImbalance",
                ),
                graph(
                    "Age of the audit",
                    "How long ago the last audit was complete.",
                    ("time() - max(ws402_ledger_audit_timestamp_seconds)", "age"),
                    unit="s",
                    thresholds=((900, "red"),),
                    alert="WS402LedgerNotAudited",
                ),
                graph(
                    "Audits that failed",
                    "A chain or the database was away.",
                    ("sum(increase(ws402_ledger_audit_failures_total[$r]))", "failed"),
                ),
            ),
        ),
        Row(
            "Refunds",
            (
                graph(
                    "Refunds",
                    "Debts recorded; delivered for good; held for an operator; kept as credit.",
                    ("sum by (network) (rate(ws402_refunds_issued_total[$r]))", "issued {{network}}"),
                    ("sum by (network) (rate(ws402_refunds_delivered_total[$r]))", "delivered {{network}}"),
                    ("sum by (network) (rate(ws402_refunds_failed_total[$r]))", "held {{network}}"),
                    ("sum by (network) (rate(ws402_refunds_credited_total[$r]))", "credit {{network}}"),
                    unit="ops",
                ),
                graph(
                    "Time to deliver",
                    "From when a refund was due to its transaction in a block.",
                    *quantiles("ws402_refund_delivery_seconds", "network"),
                    unit="s",
                    thresholds=((300, "red"),),
                    alert="WS402RefundStuck",
                ),
                graph(
                    "Oldest refund",
                    "Age by state.",
                    ("max by (network, state) (ws402_refund_oldest_seconds)", "{{network}} {{state}}"),
                    unit="s",
                    alert="WS402RefundStuck",
                ),
                graph(
                    "Due and not looked at",
                    "For how long the oldest refund has been due that no pass of the engine has looked at.",
                    ("max by (network, asset) (ws402_refund_unconsidered_seconds)", "{{network}} {{asset}}"),
                    unit="s",
                    alert="WS402RefundsNotConsidered",
                ),
                graph(
                    "Backlog",
                    "Refunds that are not final, by state.",
                    ("sum by (network, state) (ws402_refunds_open)", "{{network}} {{state}}"),
                    stacked=True,
                ),
                graph(
                    "Transactions",
                    "Refund transactions by event; bumped: fee raised, foreign: somebody else used the key.",
                    ("sum by (network, event) (rate(ws402_refund_transactions_total[$r]))", "{{network}} {{event}}"),
                    unit="ops",
                ),
                graph(
                    "Settlements",
                    "Sessions ended in the ledger, by reason; server_vanished: the gateway did it itself.",
                    ("sum by (reason) (rate(ws402_sessions_settled_total[$r]))", "{{reason}}"),
                    unit="ops",
                    alert="WS402SessionsVanished",
                ),
            ),
        ),
        Row(
            "Float",
            (
                graph(
                    "Balance of the refund keys",
                    "What each key's account holds, in smallest units.",
                    ("max by (network, asset) (ws402_signer_balance_units)", "{{network}} {{asset}}"),
                ),
                graph(
                    "Deliveries it pays",
                    "Deliveries whose fee the key's coins still pay at today's fee.",
                    ("min by (network) (ws402_signer_refunds_payable)", "{{network}}"),
                    alert="WS402FloatLow",
                ),
                graph(
                    "What it lacks",
                    "What refunds that are due need beyond the balance, in smallest units.",
                    ("max by (network, asset) (ws402_signer_short_units)", "{{network}} {{asset}}"),
                    thresholds=((1, "red"),),
                    alert="WS402FloatShort",
                ),
            ),
        ),
        Row(
            "x402 and MPP",
            (
                graph(
                    "Offers",
                    "Unpaid requests that were told how to pay.",
                    ("sum by (resource) (rate(ws402_offers_total[$r]))", "{{resource}}"),
                    unit="ops",
                ),
                graph(
                    "Signed transfers",
                    "What who showed one was told.",
                    ("sum by (network, state) (rate(ws402_collections_total[$r]))", "{{network}} {{state}}"),
                    unit="ops",
                ),
                graph(
                    "Oldest under way",
                    "Since when the oldest waits to come to the chain; it expires after minutes.",
                    ("max by (network) (ws402_collection_oldest_seconds)", "{{network}}"),
                    unit="s",
                    thresholds=((600, "red"),),
                    alert="WS402CollectionStuck",
                ),
                graph(
                    "Transfers it pays",
                    "Signed transfers whose fee the collector's coins still pay.",
                    ("min by (network) (ws402_collector_transfers_payable)", "{{network}}"),
                    alert="WS402CollectorLow",
                ),
            ),
        ),
    ),
)
