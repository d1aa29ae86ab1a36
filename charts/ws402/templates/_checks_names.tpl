{{/* Names, labels and namespaces that Kubernetes would refuse after half of the installation. */}}

{{- define "ws402.checks.names" -}}
{{- if .Values.gitops -}}
{{- if eq .Values.tls.mode "generated" -}}
{{- fail "gitops: tls.mode 'generated' draws new keys whenever it finds none. Set tls.mode to certManager or existingSecret." -}}
{{- end -}}
{{- if eq (include "ws402.secrets.source" .) "dev" -}}
{{- fail "gitops: secrets.source 'dev' draws an operator's key. Set secrets.source to existingSecret, with merchant_private_key and gateway_admin_key." -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (eq .Values.identity.mode "token") (not .Values.gateway.egress.apiServer) -}}
{{- fail "gitops: the API server's address is not looked up. Set gateway.egress.apiServer, such as [{cidr: 10.0.0.1/32, ports: [6443]}]." -}}
{{- end -}}
{{- end -}}
{{- $name := include "ws402.fullname" . -}}
{{- if gt (len $name) 40 -}}
{{- fail (printf "'%s' is too long a name: objects begin with it, so it has at most 40 characters. Set fullnameOverride, such as '%s'; two releases in one namespace need two." $name ($name | trunc 40 | trimAll "-.")) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "'%s' cannot begin the name of a Service: it must begin with a letter and have letters, digits and hyphens only. Set fullnameOverride." $name) -}}
{{- end -}}
{{- $private := include "ws402.private" . -}}
{{- if gt (len $private) 63 -}}
{{- fail (printf "'%s' is too long for a namespace, which has at most 63 characters. Set gateway.namespace.name." $private) -}}
{{- end -}}
{{- if eq $private .Release.Namespace -}}
{{- fail (printf "The gateway must not share the namespace '%s' with the public servers. Set gateway.namespace.name to another one." $private) -}}
{{- end -}}

{{- $labels := dict "commonLabels" .Values.commonLabels "metrics.monitors.labels" .Values.metrics.monitors.labels "metrics.rules.labels" .Values.metrics.rules.labels "metrics.dashboards.labels" .Values.metrics.dashboards.labels "gateway.namespace.labels" .Values.gateway.namespace.labels -}}
{{- range $component := list "server" "gateway" "devchain" -}}
{{- $_ := set $labels (printf "%s.pod.labels" $component) (index $.Values $component).pod.labels -}}
{{- range $key, $_ := (index $.Values $component).pod.annotations -}}
{{- if has $key (list "checksum/config" "kubectl.kubernetes.io/default-container") -}}
{{- fail (printf "%s.pod.annotations: '%s' is set by the chart. Take it away." $component $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $path, $each := $labels -}}
{{- range $key, $_ := $each -}}
{{- if or (has $key (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart")) (hasPrefix "ws402/" $key) -}}
{{- fail (printf "%s: the label '%s' is set by the chart, and its Services and NetworkPolicies select by it. Take it away." $path $key) -}}
{{- end -}}
{{- if and (ne $path "commonLabels") (hasKey $.Values.commonLabels $key) -}}
{{- fail (printf "%s: the label '%s' is among commonLabels as well. Take one of them away." $path $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $found := include "ws402.found.namespace" (dict "root" . "name" $private) | fromJson -}}
{{- if eq ((($found.status).phase) | default "") "Terminating" -}}
{{- fail (printf "The namespace '%s' is being deleted. Wait until it is gone." $private) -}}
{{- end -}}
{{- if and (not .Values.gateway.namespace.create) (not $found) -}}
{{- if include "ws402.found.namespace" (dict "root" . "name" .Release.Namespace) | fromJson -}}
{{- fail (printf "The namespace '%s' is not there, and gateway.namespace.create is false. Make it, or let the chart make it." $private) -}}
{{- end -}}
{{- end -}}
{{- end }}
