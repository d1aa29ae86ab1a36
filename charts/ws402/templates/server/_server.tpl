{{/* server.toml, resources.toml, and how long a server may take to stop. */}}

{{/* preStop + drain_seconds + settlement of those that stayed + margin, in seconds. */}}
{{- define "ws402.server.grace" -}}
{{- $drain := 20 -}}
{{- $set := get .Values.server.settings "drain_seconds" -}}
{{- if and (hasKey .Values.server.settings "drain_seconds") (not (kindIs "invalid" $set)) }}{{ $drain = $set | toString | float64 | ceil | int }}{{ end -}}
{{- add (include "ws402.preStop" . | int) $drain 10 10 -}}
{{- end }}

{{/* From SIGTERM to SIGKILL, in seconds: the server refuses a drain that does not fit, whatever set it. */}}
{{- define "ws402.server.stop" -}}
{{- sub (.Values.server.terminationGracePeriodSeconds | default (include "ws402.server.grace" .) | int) (include "ws402.preStop" . | int) -}}
{{- end }}

{{/* The Deployment's own number of pods, if the chart says it. When an autoscaler takes over from a fixed number, and ever
after, the number is the one that the cluster has: without it Helm would take the field away, and Kubernetes would go on with
one pod. A Deployment that never had a fixed number never gets one, so that a rollback does not either. */}}
{{- define "ws402.server.replicas" -}}
{{- if eq .Values.server.autoscaling.mode "none" -}}
{{ .Values.server.replicas }}
{{- else -}}
{{- $old := include "ws402.found.servers" . | fromJson -}}
{{- if eq "chart" (get (($old.metadata).annotations | default dict) "ws402/replicas") -}}
{{ $old.spec.replicas }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Settings in the pod's environment would go before what the chart computes its grace period from. */}}
{{- define "ws402.checks.environment" -}}
{{- if hasKey .Values.server.settings "stop_seconds" -}}
{{- fail "server.settings.stop_seconds is computed by the chart, from server.settings.drain_seconds and server.terminationGracePeriodSeconds. Take it away." -}}
{{- end -}}
{{- $kept := dict "server" (list "DRAIN_SECONDS" "STOP_SECONDS" "WS402_CONFIG") "gateway" (list "VERIFY_WAIT_SECONDS" "WS402_CONFIG") -}}
{{- range $component, $names := $kept -}}
{{- range (index $.Values $component).pod.extraEnv -}}
{{- $name := upper (toString .name) -}}
{{- if has $name $names -}}
{{- if has $name (list "DRAIN_SECONDS" "VERIFY_WAIT_SECONDS") -}}
{{- fail (printf "%s.pod.extraEnv sets %s, and the pod's grace period would not know: write it as %s.settings.%s." $component .name $component (lower $name)) -}}
{{- else -}}
{{- fail (printf "%s.pod.extraEnv sets %s, which the chart sets: take it away. Settings have their place in %s.settings." $component .name $component) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Whether servers show a certificate: for mutual TLS, and before it is turned on. */}}
{{- define "ws402.tls.client" -}}
{{- if or .Values.tls.mutual .Values.tls.clientCertificate }}true{{ end -}}
{{- end }}

{{- define "ws402.server.toml" -}}
host = "0.0.0.0"
port = 4030
gateway_url = {{ include "ws402.gateway.url" . | toJson }}
resources_file = "/etc/ws402/resources/resources.toml"
{{- if ne .Values.tls.mode "none" }}
gateway_ca_file = "/etc/ws402/gateway-ca/ca.crt"
{{- if include "ws402.tls.client" . }}
gateway_client_cert_file = "/etc/ws402/client-tls/tls.crt"
gateway_client_key_file = "/etc/ws402/client-tls/tls.key"
{{- end }}
{{- end }}
{{- if eq .Values.identity.mode "token" }}
gateway_token_file = "/var/run/ws402/gateway/token"
{{- end }}
{{- if .Values.metrics.enabled }}
metrics_host = "0.0.0.0"
metrics_port = 9464
{{- end }}
{{- include "ws402.toml.entries" .Values.server.settings }}
{{ end }}

{{- define "ws402.resources.toml" -}}
# What the servers sell; read anew when it changes, without a restart.
{{- include "ws402.toml.tables" (dict "name" "resources" "list" .Values.resources) }}
{{ end }}

{{/* The volumes of whoever calls the gateway as a server does, and where they are mounted. */}}
{{- define "ws402.caller.mounts" -}}
{{- if eq .Values.identity.mode "token" }}
- {name: gateway-token, mountPath: /var/run/ws402/gateway, readOnly: true}
{{- end }}
{{- if ne .Values.tls.mode "none" }}
- {name: gateway-ca, mountPath: /etc/ws402/gateway-ca, readOnly: true}
{{- if include "ws402.tls.client" . }}
- {name: client-tls, mountPath: /etc/ws402/client-tls, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- define "ws402.caller.volumes" -}}
{{- $name := include "ws402.name" (dict "root" . "component" "server") -}}
{{- if eq .Values.identity.mode "token" }}
- name: gateway-token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, audience: ws402-gateway, expirationSeconds: 3600}
{{- end }}
{{- if ne .Values.tls.mode "none" }}
- name: gateway-ca
  configMap: {name: {{ .Values.tls.caConfigMap | default (printf "%s-gateway-ca" $name) }}, items: [{key: ca.crt, path: ca.crt}]}
{{- if include "ws402.tls.client" . }}
- name: client-tls
  secret: {secretName: {{ .Values.tls.clientExistingSecret | default (printf "%s-client-tls" $name) }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- end }}
