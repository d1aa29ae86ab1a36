"""Every metric, once. docs/metrics.md is written from here by docs/generate.py.

Names follow Prometheus and OpenMetrics: prefix `ws402_`, base units, `_total` on counters (added by the exposition).
Labels are few and bounded: network, asset, state, reason, code, method and the like; never a payer, a reference, a
session or anything else that a client can choose. Amounts are smallest units (wei, lamports); a float holds them to 15
digits, which is enough to watch; the ledger has them exactly. A process is one target: a gateway or server is never
more than one process, and is scaled by replicas.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from ws402.observability.instruments import MINUTES, SIZES, counter, gauge, histogram

PROCESS: Final = CollectorRegistry()
"""What every process exports."""
GATEWAY: Final = CollectorRegistry()
"""What a gateway adds."""
SERVER: Final = CollectorRegistry()
"""What a WS402 server adds."""

ProcessCollector(registry=PROCESS)
PlatformCollector(registry=PROCESS)
GCCollector(registry=PROCESS)


# --- every process ---------------------------------------------------------------------------------------------------

BUILD_INFO = gauge(PROCESS, "ws402_build_info", "Always 1; its labels say what runs.", "component", "version")
DRAINING = gauge(PROCESS, "ws402_draining", "1 while the process takes no new work because it is going to end.")
LOOP_LAG = histogram(
    PROCESS,
    "ws402_event_loop_lag_seconds",
    "How much later than planned the event loop woke, sampled twice a second: the process is saturated when it grows.",
)
LOG_RECORDS = counter(PROCESS, "ws402_log_records", "Log records at warning and above.", "level")
JOB_SUCCESS = gauge(
    PROCESS,
    "ws402_job_success_timestamp_seconds",
    "When a background job last did its work without an error.",
    "job",
)
JOB_FAILURES = counter(PROCESS, "ws402_job_failures", "Tries of background jobs that failed.", "job")
SPANS_EXPORTED = counter(PROCESS, "ws402_spans_exported", "Spans that the OTLP endpoint took.")

# --- WS402 server: sessions ------------------------------------------------------------------------------------------

SESSIONS_ACTIVE = gauge(SERVER, "ws402_sessions_active", "Paid sessions that this server serves now.")
SOCKETS_UNPAID = gauge(SERVER, "ws402_sockets_unpaid", "Open sockets that have not paid yet.")
SESSIONS_OPENED = counter(SERVER, "ws402_sessions_opened", "Sessions that a payment opened here.")
SESSIONS_RESUMED = counter(SERVER, "ws402_sessions_resumed", "Sessions that were taken over here by a resume.")
SESSIONS_ENDED = counter(SERVER, "ws402_sessions_ended", "Sessions that ended or left here.", "reason")
PROOFS_REFUSED = counter(
    SERVER, "ws402_proofs_refused", "Payment proofs and resumes that opened nothing, by the code told.", "code"
)
SESSION_OPEN_SECONDS = histogram(
    SERVER,
    "ws402_session_open_seconds",
    "From a payment proof or resume to session_started; includes waiting for the chain's confirmations.",
)
USAGE_UPDATES = counter(SERVER, "ws402_usage_updates", "usage_update messages sent.")
OFFERS = counter(SERVER, "ws402_offers", "Unpaid HTTP requests that were told how to pay (x402, MPP).", "resource")
METERED_SECONDS = counter(
    SERVER, "ws402_metered_seconds", "Seconds of use that were metered here, counted when a session ends or leaves."
)
METERED_UNITS = counter(
    SERVER,
    "ws402_metered_units",
    "Smallest units consumed here, counted when a session ends or leaves.",
    "network",
    "asset",
)
TRANSFERRED_BYTES = counter(
    SERVER, "ws402_transferred_bytes", "Bytes of clients' messages and HTTP bodies, counted when a session ends."
)
MESSAGES = counter(SERVER, "ws402_messages", "Messages of clients in sessions, counted when a session ends.")
SETTLEMENTS_WAITING = gauge(
    SERVER, "ws402_settlements_waiting", "Ended sessions that the gateway has not answered for: it is away."
)

# --- WS402 server: its link to the gateway ---------------------------------------------------------------------------

LINK_SECONDS = histogram(
    SERVER,
    "ws402_gateway_link_seconds",
    "One HTTP call to the gateway. Lanes: operations, verifications, waiting (verifications of payments that are not "
    "confirmed; up to 2 s by design), single.",
    "lane",
)
LINK_ERRORS = counter(SERVER, "ws402_gateway_link_errors", "HTTP calls to the gateway that failed.", "code")
LINK_BATCH = histogram(
    SERVER, "ws402_gateway_link_batch_operations", "Operations in one call to the gateway.", "lane", bounds=SIZES
)
LINK_QUEUE = gauge(SERVER, "ws402_gateway_link_queue_operations", "Operations that wait for a call.", "lane")
LINK_OPEN = gauge(
    SERVER, "ws402_gateway_link_breaker_open", "1 while the gateway is left alone after it failed repeatedly."
)

# --- gateway: payments -----------------------------------------------------------------------------------------------

PAYMENTS_VERIFIED = counter(
    GATEWAY, "ws402_payments_verified", "Proofs that opened or topped up a session.", "network", "asset"
)
PAYMENTS_REJECTED = counter(GATEWAY, "ws402_payments_rejected", "Proofs that were refused, by code.", "code")
PAYMENT_VOLUME = counter(
    GATEWAY, "ws402_payment_volume_units", "Smallest units of verified payments.", "network", "asset"
)
PAYMENT_OPEN_SECONDS = histogram(
    GATEWAY,
    "ws402_payment_open_seconds",
    "From when a valid proof could be accepted (it had come, and the chain's clock had confirmed its payment) to its "
    "answer: the objective is 2 s.",
    "network",
)
RESPONSE_SECONDS = histogram(
    GATEWAY, "ws402_response_seconds", "Time to answer a call, by path and HTTP status.", "route", "code"
)
VERIFICATIONS_WAITING = gauge(
    GATEWAY, "ws402_verifications_waiting", "Verifications under way, mostly waiting for the chain."
)
BATCH_OPERATIONS = histogram(
    GATEWAY, "ws402_batch_operations", "Operations that shared one commit.", "batch", bounds=SIZES
)
BATCH_SECONDS = histogram(GATEWAY, "ws402_batch_seconds", "One batch in the ledger, its commit included.", "batch")
BATCH_QUEUE = gauge(GATEWAY, "ws402_batch_queue_operations", "Operations that wait for the next batch.", "batch")
INVOICES_OPEN = gauge(GATEWAY, "ws402_invoices_open", "Invoices that can still be paid.", "network")
LEDGER_SESSIONS = gauge(
    GATEWAY,
    "ws402_ledger_sessions",
    "Sessions in the ledger that have not ended: live or released.",
    "network",
    "state",
)
SESSIONS_SETTLED = counter(
    GATEWAY, "ws402_sessions_settled", "Settlements made; server_vanished: the gateway made it itself.", "reason"
)

# --- gateway: refunds ------------------------------------------------------------------------------------------------

REFUNDS_ISSUED = counter(
    GATEWAY, "ws402_refunds_issued", "Debts to payers recorded, each delivered later.", "network", "asset"
)
REFUNDS_DELIVERED = counter(GATEWAY, "ws402_refunds_delivered", "Refunds that are final on the chain.", "network")
REFUNDS_FAILED = counter(
    GATEWAY, "ws402_refunds_failed", "Refunds held for an operator: the recipient cannot take them.", "network"
)
REFUNDS_CREDITED = counter(
    GATEWAY, "ws402_refunds_credited", "Refunds kept as credit, too small to send alone.", "network"
)
REFUND_DELIVERY_SECONDS = histogram(
    GATEWAY,
    "ws402_refund_delivery_seconds",
    "From when a refund was due (its payment final) to when its transaction was in a block: the objective is 300 s.",
    "network",
    bounds=MINUTES,
)
REFUND_TRANSACTIONS = counter(
    GATEWAY,
    "ws402_refund_transactions",
    "Refund transactions by event: signed, included, reverted, bumped, resent, refused, cancelled, reorged, foreign.",
    "network",
    "event",
)
REFUNDS_OPEN = gauge(
    GATEWAY,
    "ws402_refunds_open",
    "Refunds that are not final, by state; told by the lease's holder.",
    "network",
    "state",
)
REFUND_OLDEST = gauge(
    GATEWAY,
    "ws402_refund_oldest_seconds",
    "Age of the oldest refund in a state; told by the lease's holder.",
    "network",
    "state",
)

REFUND_UNCONSIDERED = gauge(
    GATEWAY,
    "ws402_refund_unconsidered_seconds",
    "For how long the oldest refund has been due that no pass has looked at; told by the lease's holder.",
    "network",
    "asset",
)
UNCLAIMED_RETURNED = counter(
    GATEWAY,
    "ws402_unclaimed_returned",
    "Payments that nobody showed in time and that went back by themselves.",
    "network",
    "asset",
)
UNCLAIMED_NAMELESS = counter(
    GATEWAY,
    "ws402_unclaimed_nameless",
    "Transfers to us that name no invoice: nobody but an operator can say whose money it is.",
    "network",
    "asset",
)

# --- gateway: signing keys -------------------------------------------------------------------------------------------

LEASE_HELD = gauge(
    GATEWAY, "ws402_signer_lease_held", "1 in the gateway that signs a network's refunds; 0 in the others.", "network"
)
SIGNER_PAUSED = gauge(GATEWAY, "ws402_signer_paused", "1 while an operator or a fault keeps the key paused.", "network")
LEDGER_RESTORED = gauge(
    GATEWAY,
    "ws402_ledger_restored",
    "1 while the ledger is a restored copy that was not reconciled with the network: no refund is sent.",
    "network",
)
SIGNER_BALANCE = gauge(GATEWAY, "ws402_signer_balance_units", "What the refund key holds.", "network", "asset")
SIGNER_SHORT = gauge(
    GATEWAY, "ws402_signer_short_units", "What the refund key lacks for the refunds that are due.", "network", "asset"
)
SIGNER_PAYABLE = gauge(
    GATEWAY, "ws402_signer_refunds_payable", "Deliveries whose fee the key's coins still pay at today's fee.", "network"
)
SIGNER_LIMITED = gauge(
    GATEWAY, "ws402_signer_hourly_limit_reached", "1 while an hourly limit makes refunds wait.", "network", "asset"
)
NONCE_GAPS = gauge(
    GATEWAY,
    "ws402_signer_nonce_gaps",
    "Nonces below the ledger's next that no delivery has: all above them are stuck.",
    "network",
)

# --- gateway: collecting ---------------------------------------------------------------------------------------------

COLLECTIONS = counter(
    GATEWAY,
    "ws402_collections",
    "Answers to signed transfers that were shown (x402, MPP): open, known (shown again), pending, refused, failed.",
    "network",
    "state",
)
COLLECTIONS_WAITING = gauge(
    GATEWAY, "ws402_collections_waiting", "Signed transfers that are to come to the chain.", "network"
)
COLLECTION_OLDEST = gauge(
    GATEWAY, "ws402_collection_oldest_seconds", "Age of the oldest of them; they expire after minutes.", "network"
)
COLLECTOR_BALANCE = gauge(
    GATEWAY, "ws402_collector_balance_units", "What the collector's account holds of the network's coin.", "network"
)
COLLECTOR_PAYABLE = gauge(
    GATEWAY, "ws402_collector_transfers_payable", "Transfers whose fee these coins pay at today's highest.", "network"
)

# --- gateway: the ledger ---------------------------------------------------------------------------------------------

ACCOUNT_UNITS = gauge(
    GATEWAY,
    "ws402_ledger_account_units",
    "What each account holds, such as credit, session_escrow, payer_due, refund_in_flight, revenue.",
    "network",
    "asset",
    "account",
)
IMBALANCE = gauge(
    GATEWAY,
    "ws402_ledger_imbalance_units",
    "Absolute difference found by the audit, 0 or page. Checks: chain (books against our addresses), escrow (against "
    "live sessions), owed (against unfinished refunds).",
    "network",
    "asset",
    "check",
)
AUDIT_TIME = gauge(GATEWAY, "ws402_ledger_audit_timestamp_seconds", "When the last audit was complete.")
AUDIT_FAILURES = counter(
    GATEWAY, "ws402_ledger_audit_failures", "Audits that could not be completed: a chain or the database was away."
)
CONNECTIONS = gauge(GATEWAY, "ws402_database_connections_used", "Connections to the database in use.")
LEDGER_BYTES = gauge(GATEWAY, "ws402_ledger_bytes", "Size of an SQLite ledger, its write-ahead log included.")
VOLUME_FREE = gauge(GATEWAY, "ws402_ledger_volume_free_bytes", "Free on the volume of an SQLite ledger.")
VOLUME_SIZE = gauge(GATEWAY, "ws402_ledger_volume_bytes", "Size of the volume of an SQLite ledger.")
CLOCK_SKEW = gauge(
    GATEWAY,
    "ws402_ledger_clock_skew_seconds",
    "By how much the database's clock was ahead of what this gateway had taken it for, at the last look.",
)
AUDIT_LOG_RECORDS = counter(GATEWAY, "ws402_audit_log_records", "Records that this process added to the audit log.")
AUDIT_LOG_TIME = gauge(
    GATEWAY, "ws402_audit_log_timestamp_seconds", "When this process last saw that all entries are in the audit log."
)

# --- gateway: chains -------------------------------------------------------------------------------------------------

CHAIN_UP = gauge(GATEWAY, "ws402_chain_up", "1 while the chain can be watched.", "network")
CHAIN_HEAD = gauge(GATEWAY, "ws402_chain_head_block", "Newest block in the ledger.", "network")
CHAIN_FINAL = gauge(GATEWAY, "ws402_chain_final_block", "Newest final block.", "network")
CHAIN_LAG = gauge(
    GATEWAY, "ws402_chain_head_lag_seconds", "Now less the time of the newest block in the ledger.", "network"
)
ENDPOINT_BEHIND = gauge(
    GATEWAY,
    "ws402_rpc_endpoint_behind_blocks",
    "Blocks that an RPC endpoint was behind the newest of them when heads were compared last.",
    "network",
    "endpoint",
)
ENDPOINT_LAGGING = gauge(
    GATEWAY,
    "ws402_rpc_endpoint_lagging",
    "1 while an RPC endpoint stands still or has fallen behind the others, and is asked last.",
    "network",
    "endpoint",
)
CHAIN_REORGS = counter(GATEWAY, "ws402_chain_reorgs", "Reorganisations that the watcher went through.", "network")
RPC_CALLS = counter(GATEWAY, "ws402_rpc_calls", "JSON-RPC calls sent.", "network", "method")
RPC_ERRORS = counter(
    GATEWAY,
    "ws402_rpc_errors",
    "JSON-RPC calls that failed. Reasons: endpoint (no usable answer), reply (the node's own error).",
    "network",
    "method",
    "reason",
)
RPC_SECONDS = histogram(
    GATEWAY,
    "ws402_rpc_seconds",
    "One HTTP request to an endpoint, by its method, or `batch`.",
    "network",
    "method",
)

# --- gateway: webhooks -----------------------------------------------------------------------------------------------

WEBHOOKS_DELIVERED = counter(GATEWAY, "ws402_webhooks_delivered", "Events that a receiver took.", "endpoint")
WEBHOOKS_FAILED = counter(
    GATEWAY,
    "ws402_webhooks_failed",
    "Attempts that a receiver did not take. Reasons: 4xx, 5xx, gone, redirect, timeout, connect, tls, broken, 1xx.",
    "endpoint",
    "reason",
)
WEBHOOKS_GIVEN_UP = counter(
    GATEWAY, "ws402_webhooks_given_up", "Events that are not tried again, after three days of attempts.", "endpoint"
)
WEBHOOKS_PENDING = gauge(
    GATEWAY,
    "ws402_webhooks_pending",
    "Events that an endpoint has not taken; told by the lease's holder.",
    "endpoint",
)
WEBHOOK_OLDEST = gauge(
    GATEWAY,
    "ws402_webhook_oldest_seconds",
    "Age of the oldest event that an enabled endpoint has not taken; told by the lease's holder.",
    "endpoint",
)
WEBHOOK_DISABLED = gauge(
    GATEWAY,
    "ws402_webhook_disabled",
    "1 while an endpoint is sent nothing, because it answered 410 (Gone); told by the lease's holder.",
    "endpoint",
)

# --- gateway: Vault and secrets --------------------------------------------------------------------------------------

VAULT_LOGINS = counter(GATEWAY, "ws402_vault_logins", "Logins at Vault: ok or error.", "result")
VAULT_RENEWALS = counter(GATEWAY, "ws402_vault_renewals", "Renewals of the Vault token: ok or error.", "result")
VAULT_REMAINING = gauge(GATEWAY, "ws402_vault_token_remaining_seconds", "How long the Vault token is still valid.")
SECRET_VERSION = gauge(GATEWAY, "ws402_secret_version", "Version in use of a secret in Vault.", "secret")
SECRET_AGE = gauge(GATEWAY, "ws402_secret_age_seconds", "How long ago this version of a secret was made.", "secret")
SECRET_CHECKED = gauge(
    GATEWAY, "ws402_secret_checked_seconds", "How long ago a secret was last read with success.", "secret"
)
SECRET_FAILURES = counter(
    GATEWAY, "ws402_secret_failures", "Looks for secrets, or signatures by Vault, that failed, by reason.", "reason"
)

# --- gateway: keys at their keepers ----------------------------------------------------------------------------------

KMS_SIGNATURES = counter(
    GATEWAY,
    "ws402_kms_signatures",
    "Signatures by keys that never leave their keeper: ok, or why there was none.",
    "keeper",
    "result",
)
KMS_SIGN_SECONDS = histogram(
    GATEWAY, "ws402_kms_sign_seconds", "How long such a signature took, the wait for a free worker included.", "keeper"
)
