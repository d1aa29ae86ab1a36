"""Signing keys, Vault and the audit log."""

from charts.dashboards.parts import Dashboard, Row, graph

DASHBOARD = Dashboard(
    "keys",
    "Vault and keys",
    "Who signs, whether keys and secrets are fresh, and whether Vault answers.",
    (
        Row(
            "Signing keys",
            (
                graph(
                    "Lease",
                    "1 in the gateway that signs a network's refunds.",
                    ("max by (network, instance) (ws402_signer_lease_held)", "{{network}} {{instance}}"),
                    alert="WS402NoLeaseHolder",
                ),
                graph(
                    "Paused",
                    "1 while an operator or a fault keeps a key paused.",
                    ("max by (network) (ws402_signer_paused)", "{{network}}"),
                    thresholds=((1, "red"),),
                    alert="WS402SignerPaused",
                ),
                graph(
                    "Nonce gaps",
                    "Nonces below the next that no delivery has.",
                    ("max by (network) (ws402_signer_nonce_gaps)", "{{network}}"),
                    thresholds=((1, "red"),),
                    alert="WS402NonceGap",
                ),
                graph(
                    "Hourly limit",
                    "1 while it makes refunds wait.",
                    ("max by (network, asset) (ws402_signer_hourly_limit_reached)", "{{network}} {{asset}}"),
                    alert="WS402SignerLimited",
                ),
                graph(
                    "Audit log",
                    "Records added to the hash chain of money operations.",
                    ("sum by (instance) (rate(ws402_audit_log_records_total[$r]))", "{{instance}}"),
                    unit="ops",
                ),
                graph(
                    "Age of the audit log",
                    "How long ago all entries were seen to be in it.",
                    ("time() - max(ws402_audit_log_timestamp_seconds)", "age"),
                    unit="s",
                ),
            ),
        ),
        Row(
            "Vault",
            (
                graph(
                    "Logins",
                    "By result.",
                    ("sum by (result) (increase(ws402_vault_logins_total[$r]))", "{{result}}"),
                    alert="WS402VaultFailing",
                ),
                graph(
                    "Renewals",
                    "By result.",
                    ("sum by (result) (increase(ws402_vault_renewals_total[$r]))", "{{result}}"),
                    alert="WS402VaultFailing",
                ),
                graph(
                    "Token lasts",
                    "How long each gateway's Vault token is still valid.",
                    ("min by (instance) (ws402_vault_token_remaining_seconds)", "{{instance}}"),
                    unit="s",
                    alert="WS402VaultTokenExpiring",
                ),
                graph(
                    "Version in use",
                    "Of each secret; gateways that differ have not looked yet.",
                    ("max by (secret, instance) (ws402_secret_version)", "{{secret}} {{instance}}"),
                ),
                graph(
                    "Age of secrets",
                    "How long ago the version in use was made.",
                    ("max by (secret) (ws402_secret_age_seconds)", "{{secret}}"),
                    unit="s",
                    alert="WS402KeyTooOld",
                ),
                graph(
                    "Last read",
                    "How long ago each secret was read with success.",
                    ("max by (secret) (ws402_secret_checked_seconds)", "{{secret}}"),
                    unit="s",
                    thresholds=((600, "red"),),
                    alert="WS402SecretStale",
                ),
            ),
        ),
    ),
)
