{{/* What the schema cannot see. Each refusal says what to do. */}}

{{- define "ws402.checks" -}}
{{- $source := include "ws402.secrets.source" . -}}
{{- $networks := or .Values.networks.evm .Values.networks.solana -}}
{{- $private := include "ws402.private" . -}}

{{- if and (not .Values.devchain.enabled) (not $networks) (ne $source "existingSecret") -}}
{{- fail "No chain to be paid on. For a trial without an account, keys or Vault: --set devchain.enabled=true. For real use: set networks, and secrets.vault (see examples/single-region)." -}}
{{- end -}}

{{- if and .Values.devchain.enabled $networks -}}
{{- fail "devchain.enabled gives a chain of its own, whose keys everybody knows; it does not go together with networks. Take one of them away." -}}
{{- end -}}
{{- if and (eq $source "existingSecret") $networks -}}
{{- fail "With secrets.source 'existingSecret' the networks are in that Secret, together with their keys: base_rpc and merchant_private_key (gateway.settings.base_network says which), solana_rpc and solana_private_key, or evm_networks and solana_networks in JSON. Leave networks empty." -}}
{{- end -}}
{{- $short := list "base_network" "merchant_wallet" "solana_network" "solana_wallet" -}}
{{- range concat $short (list "base_rpc" "solana_rpc" "evm_networks" "solana_networks") -}}
{{- if and (hasKey $.Values.gateway.settings .) (or $.Values.devchain.enabled (ne $source "existingSecret") (not (has . $short))) -}}
{{- fail (printf "gateway.settings.%s: write it as an entry of networks.evm or networks.solana." .) -}}
{{- end -}}
{{- end -}}
{{- range $component := list "server" "gateway" -}}
{{- range $name, $_ := (index $.Values $component).settings -}}
{{- if has $name (list "merchant_private_key" "solana_private_key" "gateway_api_key" "gateway_admin_key" "database_url" "status_key" "sentry_dsn" "audit_log_key" "webhook_secrets") -}}
{{- fail (printf "%s.settings.%s is a secret, and values are not kept secret. Put it into Vault or a Secret (secrets.*, server.existingSecret)." $component $name) -}}
{{- end -}}
{{- if has $name (list "host" "port" "gateway_host" "gateway_port" "metrics_host" "metrics_port" "provider" "resources" "resources_file" "gateway_url" "vault" "aws" "kubernetes_identity") -}}
{{- fail (printf "%s.settings.%s is set by the chart; it has values of its own for that." $component $name) -}}
{{- end -}}
{{- if regexMatch "^gateway_(ca|token|client|tls)_" $name -}}
{{- fail (printf "%s.settings.%s is set by the chart; use tls and identity." $component $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq $source "dev") (not .Values.devchain.enabled) -}}
{{- fail "secrets.source 'dev' has keys that everybody knows; it needs devchain.enabled=true. Use 'vault', 'aws' or 'existingSecret'." -}}
{{- end -}}

{{- if and (eq $source "vault") (not .Values.secrets.vault.address) -}}
{{- fail "The keys come from Vault, and secrets.vault.address is not set. Set it, or another secrets.source." -}}
{{- end -}}
{{- if and (hasPrefix "http://" .Values.secrets.vault.address) (not .Values.secrets.vault.allowHttp) -}}
{{- fail (printf "secrets.vault.address is %s: the keys would pass in the clear. Give Vault a certificate and an address with https://, or, for a trial with keys that nobody will miss, set secrets.vault.allowHttp=true." .Values.secrets.vault.address) -}}
{{- end -}}
{{- if and (eq $source "existingSecret") (not .Values.secrets.existingSecret) -}}
{{- fail (printf "secrets.source is 'existingSecret': set secrets.existingSecret to the name of a Secret in the namespace %s." $private) -}}
{{- end -}}

{{- if .Values.networkPolicy.enabled -}}
{{- if and (eq $source "vault") (not .Values.gateway.egress.vault) -}}
{{- fail "The gateway may call only what is named: set gateway.egress.vault, such as [{namespace: vault, ports: [8200]}]." -}}
{{- end -}}
{{- if and (eq $source "aws") (not .Values.gateway.egress.extra) -}}
{{- fail "The gateway may call only what is named: set gateway.egress.extra to AWS's endpoint, such as [{cidr: 10.0.8.0/24, ports: [443]}]." -}}
{{- end -}}
{{- range $network := concat (.Values.networks.evm | default list) (.Values.networks.solana | default list) -}}
{{- range $key := concat (list $network.signer $network.collector_signer) ($network.earlier_signers | default list) -}}
{{- if and (regexMatch "^(aws-kms|google-kms|azure-keyvault):" ($key | default "" | toString)) (not $.Values.gateway.egress.extra) -}}
{{- fail (printf "The gateway may call only what is named: set gateway.egress.extra to the keeper of %s's key, such as [{cidr: 10.0.8.0/24, ports: [443]}]." $network.network) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (not .Values.devchain.enabled) (not .Values.gateway.egress.rpc) -}}
{{- fail "The gateway may call only what is named: set gateway.egress.rpc to your chain endpoints, such as [{cidr: 203.0.113.7/32, ports: [443]}]." -}}
{{- end -}}
{{- if and (get .Values.gateway.settings "webhooks") (not .Values.gateway.egress.webhooks) (not .Values.gateway.egress.extra) -}}
{{- fail "The gateway may call only what is named: set gateway.egress.webhooks to the receivers of gateway.settings.webhooks, such as [{cidr: 203.0.113.7/32, ports: [443]}]." -}}
{{- end -}}
{{- if and (eq .Values.gateway.database.kind "postgresql") (not .Values.gateway.egress.database) -}}
{{- fail "The gateway may call only what is named: set gateway.egress.database, such as [{namespace: postgres, ports: [5432]}]." -}}
{{- end -}}
{{- if and (or .Values.server.ingress.enabled .Values.server.httpRoute.enabled) (not .Values.server.clients) -}}
{{- fail "Nobody may call the servers yet: set server.clients to your ingress controller, such as [{namespace: ingress-nginx}]." -}}
{{- end -}}
{{- end -}}

{{- if and (eq .Values.gateway.database.kind "sqlite") (ne (int .Values.gateway.replicas) 1) -}}
{{- fail "An SQLite ledger has exactly one gateway. Set gateway.replicas=1, or gateway.database.kind=postgresql." -}}
{{- end -}}
{{- if and (eq .Values.gateway.database.kind "postgresql") (eq $source "dev") -}}
{{- fail "The dev chain's throw-away secrets have no database URL. Set gateway.database.kind=sqlite, or secrets.source to where database_url is." -}}
{{- end -}}

{{- if and .Values.gateway.backup.enabled (eq .Values.gateway.database.kind "postgresql") -}}
{{- fail "gateway.backup copies an SQLite ledger. Set gateway.backup.enabled=false, and back PostgreSQL up by its own means (pg_dump, or your provider's)." -}}
{{- end -}}
{{- if eq .Values.gateway.database.kind "sqlite" -}}
{{- $name := include "ws402.name" (dict "root" . "component" "gateway") -}}
{{- $there := include "ws402.found.ledger" (dict "namespace" $private "name" $name) | fromJson -}}
{{- range (($there.spec).volumeClaimTemplates) -}}
{{- $size := .spec.resources.requests.storage -}}
{{- if ne (include "ws402.mebibytes" $size) (include "ws402.mebibytes" $.Values.gateway.database.size) -}}
{{- fail (printf "gateway.database.size: the ledger's volume was made with %s, and Kubernetes changes it in no StatefulSet. Nothing was changed. To make it larger: kubectl -n %s patch pvc data-%s-0 -p '{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"%s\"}}}}', then kubectl -n %s delete statefulset %s --cascade=orphan, then this again (docs/operations.md, A larger volume)." $size $private $name $.Values.gateway.database.size $private $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- range $component := list "server" "gateway" -}}
{{- $needed := include (printf "ws402.%s.grace" $component) $ | int -}}
{{- $set := (index $.Values $component).terminationGracePeriodSeconds -}}
{{- if and $set (lt (int $set) $needed) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds=%d would cut off its drain. Leave it unset, or set at least %d." $component (int $set) $needed) -}}
{{- end -}}
{{- end -}}

{{- if and (ne .Values.tls.mode "generated") (ne .Values.tls.mode "none") (not .Values.tls.caBundle) (not .Values.tls.caConfigMap) -}}
{{- fail (printf "tls.mode '%s': the servers must know who signs the gateway's certificate. Set tls.caBundle, or tls.caConfigMap in the namespace %s." .Values.tls.mode .Release.Namespace) -}}
{{- end -}}
{{- if and .Values.tls.clientCertificate (eq .Values.tls.mode "existingSecret") (not .Values.tls.clientExistingSecret) -}}
{{- fail (printf "tls.clientCertificate: set tls.clientExistingSecret to the servers' TLS Secret in the namespace %s." .Release.Namespace) -}}
{{- end -}}
{{- if and (eq .Values.identity.mode "apiKeys") (not .Values.server.existingSecret) -}}
{{- fail (printf "identity.mode is 'apiKeys': set server.existingSecret to a Secret in the namespace %s whose key gateway_api_key holds one of the gateway's API keys." .Release.Namespace) -}}
{{- end -}}
{{- if and (eq .Values.server.autoscaling.mode "keda") (not .Values.server.autoscaling.keda.serverAddress) -}}
{{- fail "server.autoscaling.mode is 'keda': set server.autoscaling.keda.serverAddress to your Prometheus, such as http://prometheus.monitoring.svc:9090." -}}
{{- end -}}
{{- if and (ne .Values.server.autoscaling.mode "none") (lt (int .Values.server.autoscaling.maxReplicas) (int .Values.server.autoscaling.minReplicas)) -}}
{{- fail "server.autoscaling.maxReplicas is below minReplicas." -}}
{{- end -}}
{{- end }}

{{/* A size in Mi, as the schema lets it be written, or as the API server writes it then. */}}
{{- define "ws402.mebibytes" -}}
{{- if hasSuffix "Ti" . }}{{ mul (trimSuffix "Ti" . | int64) 1048576 }}
{{- else if hasSuffix "Gi" . }}{{ mul (trimSuffix "Gi" . | int64) 1024 }}
{{- else }}{{ trimSuffix "Mi" . }}{{ end -}}
{{- end }}
