"""Is money safe, are customers served, what breaks next: one look."""

from charts.dashboards.parts import Dashboard, Row, graph, stat

BUDGET = 0.001
"""Of the objectives: 99.9 %."""

OPEN_BAD = (
    '1 - sum(rate(ws402_payment_open_seconds_bucket{le=~"2(\\\\.0)?"}[$r]))'
    " / sum(rate(ws402_payment_open_seconds_count[$r]))"
)
REFUND_BAD = (
    '1 - sum(rate(ws402_refund_delivery_seconds_bucket{le=~"300(\\\\.0)?"}[$r]))'
    " / sum(rate(ws402_refund_delivery_seconds_count[$r]))"
)

DASHBOARD = Dashboard(
    "overview",
    "Overview",
    "Is money safe, are customers served, what will break next.",
    (
        Row(
            "Now",
            (
                stat("Sessions", "Paid sessions served now.", "sum(ws402_sessions_active)"),
                stat(
                    "Ledger imbalance",
                    "The largest difference that the audit finds, in smallest units: 0, or somebody is paged.",
                    "max(ws402_ledger_imbalance_units)",
                    thresholds=((1, "red"),),
                    alert="WS402LedgerImbalance",
                ),
                stat(
                    "Oldest moving refund",
                    "Age of the oldest refund that should move by itself.",
                    'max(ws402_refund_oldest_seconds{state=~"due|in_flight"})',
                    "s",
                    thresholds=((300, "orange"), (600, "red")),
                    alert="WS402RefundStuck",
                ),
                stat(
                    "Refunds held",
                    "Refunds that wait for an operator.",
                    'sum(ws402_refunds_open{state="held"})',
                    thresholds=((1, "orange"),),
                    alert="WS402RefundsHeld",
                ),
                stat(
                    "Deliveries the float pays",
                    "Of the network that can pay the fewest.",
                    "min(ws402_signer_refunds_payable)",
                    alert="WS402FloatLow",
                ),
                stat(
                    "Chain lag",
                    "Age of the newest block, of the network that is furthest behind.",
                    "max(min by (network) (ws402_chain_head_lag_seconds))",
                    "s",
                    thresholds=((30, "orange"), (60, "red")),
                    alert="WS402ChainLag",
                ),
            ),
        ),
        Row(
            "Objectives",
            (
                graph(
                    "Valid proofs that open late",
                    "Share of valid proofs that took over 2 s from when they could be accepted; at most 0.1 %.",
                    (OPEN_BAD, "late"),
                    unit="percentunit",
                    width=12,
                    thresholds=((BUDGET, "red"),),
                    alert="WS402OpenFastBurn",
                ),
                graph(
                    "Refunds that come late",
                    "Share of refunds that took over 5 minutes from when they were due; the objective is 0.1 %.",
                    (REFUND_BAD, "late"),
                    unit="percentunit",
                    width=12,
                    thresholds=((BUDGET, "red"),),
                    alert="WS402RefundFastBurn",
                ),
            ),
        ),
        Row(
            "Traffic",
            (
                graph(
                    "Sessions by server",
                    "Paid sessions.",
                    ("sum by (instance) (ws402_sessions_active)", "{{instance}}"),
                    stacked=True,
                ),
                graph(
                    "Sessions opened and ended",
                    "Payments that opened a session, resumes, and ends by reason.",
                    ("sum(rate(ws402_sessions_opened_total[$r]))", "opened"),
                    ("sum(rate(ws402_sessions_resumed_total[$r]))", "resumed"),
                    ("sum by (reason) (rate(ws402_sessions_ended_total[$r]))", "ended: {{reason}}"),
                    unit="ops",
                ),
                graph(
                    "Proofs",
                    "Verified, and rejected by code.",
                    ("sum(rate(ws402_payments_verified_total[$r]))", "verified"),
                    ("sum by (code) (rate(ws402_payments_rejected_total[$r]))", "{{code}}"),
                    unit="ops",
                ),
                graph(
                    "Refunds by state",
                    "Refunds that are not final.",
                    ("sum by (state) (ws402_refunds_open)", "{{state}}"),
                    stacked=True,
                ),
                graph(
                    "Draining",
                    "Processes that take no new work because they are going to end.",
                    ("sum by (instance) (ws402_draining)", "{{instance}}"),
                ),
                graph(
                    "What runs",
                    "Processes by component and version.",
                    ("sum by (component, version) (ws402_build_info)", "{{component}} {{version}}"),
                ),
            ),
        ),
    ),
)
