{{/* gateway.toml, and the pod that both workloads run. */}}

{{/* Seconds that a gateway gets to stop: it answers what was asked (verify waits at most verify_wait_seconds). */}}
{{- define "ws402.gateway.grace" -}}
{{- $verify := get .Values.gateway.settings "verify_wait_seconds" | default 20 | float64 | ceil | int -}}
{{- max 40 (add (include "ws402.preStop" . | int) $verify 5 10) -}}
{{- end }}

{{- define "ws402.gateway.toml" -}}
{{- $source := include "ws402.secrets.source" . -}}
gateway_host = "0.0.0.0"
gateway_port = 4029
{{- if eq .Values.gateway.database.kind "sqlite" }}
database_url = "sqlite:////data/ws402.db"
{{- end }}
{{- if ne .Values.tls.mode "none" }}
gateway_tls_cert_file = "/etc/ws402/tls/tls.crt"
gateway_tls_key_file = "/etc/ws402/tls/tls.key"
{{- if .Values.tls.mutual }}
gateway_tls_client_ca_file = "/etc/ws402/tls/ca.crt"
{{- end }}
{{- end }}
{{- if .Values.metrics.enabled }}
metrics_host = "0.0.0.0"
metrics_port = 9464
{{- end }}
{{- if .Values.devchain.enabled }}
base_network = "base-sepolia"
base_rpc = {{ include "ws402.devchain.url" . | toJson }}
{{- end }}
{{- include "ws402.toml.entries" .Values.gateway.settings }}
{{- if eq .Values.identity.mode "token" }}

[kubernetes_identity]
audience = "ws402-gateway"
allow = [{{ printf "%s/%s" .Release.Namespace (include "ws402.account" (dict "root" . "component" "server")) | toJson }}{{ range .Values.identity.alsoAllow }}, {{ toJson . }}{{ end }}]
ca_file = "/var/run/ws402/kubernetes/ca.crt"
token_file = "/var/run/ws402/kubernetes/token"
{{- with .Values.identity.issuer }}
issuer = {{ toJson . }}
{{- end }}
{{- end }}
{{- if eq $source "vault" }}

[vault]
auth = "kubernetes"
token_file = "/var/run/ws402/vault/token"
{{- with .Values.secrets.vault }}
{{- if or .caBundle .caConfigMap }}
ca_file = "/etc/ws402/vault-ca/ca.crt"
{{- end }}
{{- if and .allowHttp (hasPrefix "http://" .address) }}
allow_http = true
{{- end }}
{{- include "ws402.toml.entries" (omit . "caBundle" "caConfigMap" "audience" "allowHttp") }}
{{- end }}
{{- else if eq $source "aws" }}

[aws]
{{- include "ws402.toml.entries" .Values.secrets.aws }}
{{- end }}
{{- include "ws402.toml.tables" (dict "name" "evm_networks" "list" .Values.networks.evm) }}
{{- include "ws402.toml.tables" (dict "name" "solana_networks" "list" .Values.networks.solana) }}
{{ end }}

{{/* The Secret whose files are settings, if any. */}}
{{- define "ws402.gateway.secret" -}}
{{- $source := include "ws402.secrets.source" . -}}
{{- if eq $source "existingSecret" }}{{ .Values.secrets.existingSecret }}
{{- else if eq $source "dev" }}{{ include "ws402.fullname" . }}-gateway-dev{{ end -}}
{{- end }}

{{- define "ws402.gateway.tlsSecret" -}}
{{- if eq .Values.tls.mode "existingSecret" }}{{ .Values.tls.existingSecret }}{{ else }}{{ include "ws402.fullname" . }}-gateway-tls{{ end -}}
{{- end }}

{{- define "ws402.gateway.pod" -}}
{{- $gateway := dict "root" . "component" "gateway" -}}
{{- $source := include "ws402.secrets.source" . -}}
{{- $secret := include "ws402.gateway.secret" . -}}
{{- $vaultCa := and (eq $source "vault") (or .Values.secrets.vault.caBundle .Values.secrets.vault.caConfigMap) -}}
metadata:
  {{- include "ws402.pod.metadata" (merge (dict "checksum" (include "ws402.gateway.toml" .)) $gateway) | nindent 2 }}
spec:
  {{- include "ws402.pod.spec" $gateway | nindent 2 }}
  terminationGracePeriodSeconds: {{ .Values.gateway.terminationGracePeriodSeconds | default (include "ws402.gateway.grace" .) }}
  containers:
    - {{- include "ws402.container" $gateway | nindent 6 }}
      args: [gateway]
      env:
        - {name: WS402_CONFIG, value: /etc/ws402/config/gateway.toml}
        {{- if $secret }}
        - {name: WS402_SECRETS_DIR, value: /etc/ws402/secrets}
        {{- end }}
        {{- with .Values.gateway.pod.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: api, containerPort: 4029}
        {{- if .Values.metrics.enabled }}
        - {name: metrics, containerPort: 9464}
        {{- end }}
      {{- include "ws402.probes" (merge (dict "port" "api" "scheme" (ternary "HTTP" "HTTPS" (eq .Values.tls.mode "none"))) $gateway) | trim | nindent 6 }}
      {{- include "ws402.lifecycle" . | trim | nindent 6 }}
      volumeMounts:
        - {name: config, mountPath: /etc/ws402/config, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- if eq .Values.gateway.database.kind "sqlite" }}
        - {name: data, mountPath: /data}
        {{- end }}
        {{- if $secret }}
        - {name: secrets, mountPath: /etc/ws402/secrets, readOnly: true}
        {{- end }}
        {{- if ne .Values.tls.mode "none" }}
        - {name: tls, mountPath: /etc/ws402/tls, readOnly: true}
        {{- end }}
        {{- if eq .Values.identity.mode "token" }}
        - {name: kubernetes, mountPath: /var/run/ws402/kubernetes, readOnly: true}
        {{- end }}
        {{- if eq $source "vault" }}
        - {name: vault-token, mountPath: /var/run/ws402/vault, readOnly: true}
        {{- end }}
        {{- if $vaultCa }}
        - {name: vault-ca, mountPath: /etc/ws402/vault-ca, readOnly: true}
        {{- end }}
        {{- with .Values.gateway.pod.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.gateway.pod.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "ws402.name" $gateway }}}
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- if $secret }}
    - name: secrets
      secret: {secretName: {{ $secret }}, defaultMode: 0440}
    {{- end }}
    {{- if ne .Values.tls.mode "none" }}
    - name: tls
      secret: {secretName: {{ include "ws402.gateway.tlsSecret" . }}, defaultMode: 0440}
    {{- end }}
    {{- if eq .Values.identity.mode "token" }}
    # To ask the API server for the keys that servers' tokens are signed with; it grants nothing else.
    - name: kubernetes
      projected:
        defaultMode: 0440
        sources:
          - serviceAccountToken: {path: token, expirationSeconds: 3600}
          - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
    {{- end }}
    {{- if eq $source "vault" }}
    - name: vault-token
      projected:
        defaultMode: 0440
        sources:
          - serviceAccountToken: {path: token, audience: {{ .Values.secrets.vault.audience }}, expirationSeconds: 3600}
    {{- end }}
    {{- if $vaultCa }}
    - name: vault-ca
      configMap: {name: {{ .Values.secrets.vault.caConfigMap | default (printf "%s-vault-ca" (include "ws402.name" $gateway)) }}, items: [{key: ca.crt, path: ca.crt}]}
    {{- end }}
    {{- with .Values.gateway.pod.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
