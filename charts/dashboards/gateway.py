"""Gateways: calls, batches, the chains they watch."""

from charts.dashboards.parts import Dashboard, Row, graph, quantiles

DASHBOARD = Dashboard(
    "gateway",
    "Gateway and chains",
    "How the gateway answers, how the ledger keeps up, and what the chains' endpoints do.",
    (
        Row(
            "Calls",
            (
                graph(
                    "Rate",
                    "Answers by path.",
                    ("sum by (route) (rate(ws402_response_seconds_count[$r]))", "{{route}}"),
                    unit="reqps",
                ),
                graph(
                    "Errors",
                    "Answers of 4xx and 5xx.",
                    (
                        'sum by (route, code) (rate(ws402_response_seconds_count{code=~"[45].."}[$r]))',
                        "{{code}} {{route}}",
                    ),
                    unit="reqps",
                    alert="WS402GatewayErrors",
                ),
                graph(
                    "Time",
                    "By path; verify waits for its payment by design.",
                    *quantiles("ws402_response_seconds", "route"),
                    unit="s",
                ),
                graph(
                    "Valid proofs",
                    "From when a valid proof could be accepted to its answer; the objective is 2 s.",
                    *quantiles("ws402_payment_open_seconds", "network"),
                    unit="s",
                    thresholds=((2, "red"),),
                    alert="WS402OpenFastBurn",
                ),
                graph(
                    "Rejected",
                    "Proofs by code.",
                    ("sum by (code) (rate(ws402_payments_rejected_total[$r]))", "{{code}}"),
                    unit="ops",
                ),
                graph(
                    "Waiting verifications",
                    "Verifications under way, mostly waiting for the chain.",
                    ("sum by (instance) (ws402_verifications_waiting)", "{{instance}}"),
                ),
            ),
        ),
        Row(
            "Ledger",
            (
                graph(
                    "Batch time",
                    "One batch in the ledger, its commit included.",
                    *quantiles("ws402_batch_seconds", "batch"),
                    unit="s",
                ),
                graph("Batch size", "Operations that shared a commit.", *quantiles("ws402_batch_operations", "batch")),
                graph(
                    "Batch queue",
                    "Operations that wait for the next batch.",
                    ("sum by (batch) (ws402_batch_queue_operations)", "{{batch}}"),
                ),
                graph(
                    "Open invoices",
                    "Invoices that can still be paid.",
                    ("max by (network) (ws402_invoices_open)", "{{network}}"),
                ),
                graph(
                    "Sessions in the ledger",
                    "That have not ended: live with a server, or released for a resume.",
                    ("max by (network, state) (ws402_ledger_sessions)", "{{network}} {{state}}"),
                ),
                graph(
                    "Database connections",
                    "In use, by gateway.",
                    ("max by (instance) (ws402_database_connections_used)", "{{instance}}"),
                    alert="WS402DatabaseSaturated",
                ),
            ),
        ),
        Row(
            "Webhooks",
            (
                graph(
                    "Delivered",
                    "Events that receivers took.",
                    ("sum by (endpoint) (rate(ws402_webhooks_delivered_total[$r]))", "{{endpoint}}"),
                    unit="ops",
                ),
                graph(
                    "Failed attempts",
                    "What receivers did not take, by reason; it is tried again.",
                    ("sum by (endpoint, reason) (rate(ws402_webhooks_failed_total[$r]))", "{{endpoint}} {{reason}}"),
                    unit="ops",
                ),
                graph(
                    "Pending",
                    "Events that wait for their endpoint.",
                    ("max by (endpoint) (ws402_webhooks_pending)", "{{endpoint}}"),
                ),
                graph(
                    "Oldest event",
                    "Age of the oldest event that an enabled endpoint has not taken.",
                    ("max by (endpoint) (ws402_webhook_oldest_seconds)", "{{endpoint}}"),
                    unit="s",
                    thresholds=((3600, "red"),),
                    alert="WS402WebhookLate",
                ),
                graph(
                    "Disabled",
                    "1 while an endpoint is sent nothing, because it answered 410.",
                    ("max by (endpoint) (ws402_webhook_disabled)", "{{endpoint}}"),
                    alert="WS402WebhookDisabled",
                ),
                graph(
                    "Given up",
                    "Events that are not tried again.",
                    ("sum by (endpoint) (increase(ws402_webhooks_given_up_total[$r]))", "{{endpoint}}"),
                    alert="WS402WebhookGivenUp",
                ),
            ),
        ),
        Row(
            "Chains",
            (
                graph(
                    "Up",
                    "1 while the chain can be watched.",
                    ("max by (network) (ws402_chain_up)", "{{network}}"),
                    alert="WS402ChainDown",
                ),
                graph(
                    "Lag",
                    "Age of the newest block in the ledger.",
                    ("min by (network) (ws402_chain_head_lag_seconds)", "{{network}}"),
                    unit="s",
                    thresholds=((60, "red"),),
                    alert="WS402ChainLag",
                ),
                graph(
                    "Blocks to finality",
                    "Newest block less newest final block.",
                    (
                        "max by (network) (ws402_chain_head_block) - max by (network) (ws402_chain_final_block)",
                        "{{network}}",
                    ),
                ),
                graph(
                    "RPC calls",
                    "By method.",
                    ("sum by (network, method) (rate(ws402_rpc_calls_total[$r]))", "{{network}} {{method}}"),
                    unit="reqps",
                ),
                graph(
                    "RPC errors",
                    "endpoint: no usable answer; reply: the node's own error.",
                    ("sum by (network, reason) (rate(ws402_rpc_errors_total[$r]))", "{{network}} {{reason}}"),
                    unit="reqps",
                    alert="WS402RpcFailing",
                ),
                graph(
                    "RPC time", "One HTTP request to an endpoint.", *quantiles("ws402_rpc_seconds", "network"), unit="s"
                ),
                graph(
                    "Reorganisations",
                    "That the watcher went through.",
                    ("max by (network) (increase(ws402_chain_reorgs_total[$r]))", "{{network}}"),
                    alert="WS402Reorgs",
                ),
            ),
        ),
    ),
)
