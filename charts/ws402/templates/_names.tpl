{{/* Names, labels and namespaces. Most helpers take (dict "root" $ "component" "server"). */}}

{{- define "ws402.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name -}}
{{- end -}}
{{- end }}

{{- define "ws402.name" -}}
{{- printf "%s-%s" (include "ws402.fullname" .root) .component -}}
{{- end }}

{{/* The gateway's own namespace. */}}
{{- define "ws402.private" -}}
{{- default (printf "%s-private" .Release.Namespace) .Values.gateway.namespace.name -}}
{{- end }}

{{- define "ws402.namespace" -}}
{{- if eq .component "gateway" }}{{ include "ws402.private" .root }}{{ else }}{{ .root.Release.Namespace }}{{ end -}}
{{- end }}

{{/* What NetworkPolicies and people select by. */}}
{{- define "ws402.identity" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* What workloads, Services and PDBs select by: a test pod may have a server's identity, but gets no traffic. */}}
{{- define "ws402.selector" -}}
{{ include "ws402.identity" . }}
ws402/receives-traffic: "true"
{{- end }}

{{- define "ws402.labels" -}}
{{ include "ws402.identity" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The head of every object: (dict "root" $ "component" "gateway" "suffix" "metrics"). */}}
{{- define "ws402.metadata" -}}
name: {{ include "ws402.name" . }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ include "ws402.namespace" . }}
labels:
  {{- include "ws402.labels" . | nindent 2 }}
{{- end }}

{{/* The ServiceAccount of a component's pods. */}}
{{- define "ws402.account" -}}
{{- default (include "ws402.name" .) ((index .root.Values .component | default dict).serviceAccount | default dict).name -}}
{{- end }}

{{- define "ws402.image" -}}
{{- $image := (index .root.Values .component).image -}}
{{- $image.repository }}:{{ default .root.Chart.AppVersion $image.tag }}{{ with $image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* Address families of a Service; the cluster's own by default. */}}
{{- define "ws402.families" -}}
{{- with .Values.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "ws402.gateway.host" -}}
{{ include "ws402.fullname" . }}-gateway.{{ include "ws402.private" . }}.svc
{{- end }}

{{- define "ws402.gateway.url" -}}
{{ if eq .Values.tls.mode "none" }}http{{ else }}https{{ end }}://{{ include "ws402.gateway.host" . }}:4029
{{- end }}

{{- define "ws402.devchain.url" -}}
http://{{ include "ws402.fullname" . }}-devchain.{{ .Release.Namespace }}.svc:8545
{{- end }}

{{/* Where secrets come from: as chosen, else the dev chain's throw-away ones, else Vault. */}}
{{- define "ws402.secrets.source" -}}
{{- default (ternary "dev" "vault" .Values.devchain.enabled) .Values.secrets.source -}}
{{- end }}
