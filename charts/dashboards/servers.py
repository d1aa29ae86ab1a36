"""WS402 servers: sessions, metering, and the link to the gateway."""

from charts.dashboards.parts import Dashboard, Row, graph, quantiles

DASHBOARD = Dashboard(
    "servers",
    "Servers",
    "Sessions for each server, how they open and end, and how well the gateway is reached.",
    (
        Row(
            "Sessions",
            (
                graph(
                    "Active",
                    "Paid sessions by server; the autoscaler follows their average.",
                    ("sum by (instance) (ws402_sessions_active)", "{{instance}}"),
                    stacked=True,
                ),
                graph(
                    "Opened",
                    "Sessions that a payment opened, and resumes, by server.",
                    ("sum by (instance) (rate(ws402_sessions_opened_total[$r]))", "opened {{instance}}"),
                    ("sum by (instance) (rate(ws402_sessions_resumed_total[$r]))", "resumed {{instance}}"),
                    unit="ops",
                ),
                graph(
                    "Ended",
                    "By reason.",
                    ("sum by (reason) (rate(ws402_sessions_ended_total[$r]))", "{{reason}}"),
                    unit="ops",
                ),
                graph(
                    "Time to open",
                    "From proof to session_started; includes waiting for the chain's confirmations.",
                    *quantiles("ws402_session_open_seconds"),
                    unit="s",
                    alert="WS402OpenFastBurn",
                ),
                graph(
                    "Unpaid sockets",
                    "Open sockets that have not paid: a flood shows here.",
                    ("sum by (instance) (ws402_sockets_unpaid)", "{{instance}}"),
                ),
                graph(
                    "Refused",
                    "Proofs and resumes that opened nothing, by the code told.",
                    ("sum by (code) (rate(ws402_proofs_refused_total[$r]))", "{{code}}"),
                    unit="ops",
                ),
                graph(
                    "Draining",
                    "Servers that take no new sessions because they are going to end.",
                    ("max by (instance) (ws402_draining)", "{{instance}}"),
                ),
            ),
        ),
        Row(
            "Use",
            (
                graph(
                    "Metered seconds",
                    "Seconds of use, counted when sessions end or move.",
                    ("sum by (instance) (rate(ws402_metered_seconds_total[$r]))", "{{instance}}"),
                ),
                graph(
                    "Bytes",
                    "Of clients' messages and HTTP bodies, counted when sessions end.",
                    ("sum by (instance) (rate(ws402_transferred_bytes_total[$r]))", "{{instance}}"),
                    unit="Bps",
                ),
                graph(
                    "Messages",
                    "Updates sent, and clients' messages.",
                    ("sum(rate(ws402_usage_updates_total[$r]))", "updates"),
                    ("sum(rate(ws402_messages_total[$r]))", "of clients"),
                    unit="ops",
                ),
            ),
        ),
        Row(
            "Link to the gateway",
            (
                graph(
                    "Time of a call",
                    "By lane; `waiting` waits for payments by design.",
                    *quantiles("ws402_gateway_link_seconds", "lane"),
                    unit="s",
                ),
                graph(
                    "Operations in a call",
                    "How well calls are batched, 99th percentile and median.",
                    *quantiles("ws402_gateway_link_batch_operations", "lane"),
                ),
                graph(
                    "Waiting operations",
                    "Operations that wait for a call.",
                    ("sum by (lane) (ws402_gateway_link_queue_operations)", "{{lane}}"),
                ),
                graph(
                    "Failed calls",
                    "By code.",
                    ("sum by (code) (rate(ws402_gateway_link_errors_total[$r]))", "{{code}}"),
                    unit="ops",
                    alert="WS402GatewayLinkBroken",
                ),
                graph(
                    "Breaker",
                    "1 while a server leaves the gateway alone after repeated failures.",
                    ("max by (instance) (ws402_gateway_link_breaker_open)", "{{instance}}"),
                    thresholds=((1, "red"),),
                    alert="WS402GatewayLinkBroken",
                ),
                graph(
                    "Settlements waiting",
                    "Ended sessions that the gateway has not answered for.",
                    ("sum by (instance) (ws402_settlements_waiting)", "{{instance}}"),
                    alert="WS402SettlementsWaiting",
                ),
            ),
        ),
    ),
)
