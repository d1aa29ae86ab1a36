{{/* NetworkPolicies from named peers: {namespace, podLabels} or {cidr, except}, with ports. */}}

{{- define "ws402.peer" -}}
{{- if .cidr -}}
- ipBlock:
    cidr: {{ .cidr }}
    {{- with .except }}
    except:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- else -}}
{{/* One item: the namespace AND the labels. */ -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .namespace }}
  podSelector:
    {{- if .podLabels }}
    matchLabels:
      {{- toYaml .podLabels | nindent 6 }}
    {{- else }} {}
    {{- end }}
{{- end }}
{{- end }}

{{- define "ws402.ports" -}}
{{- range . }}
- {protocol: TCP, port: {{ if kindIs "string" . }}{{ . }}{{ else }}{{ int . }}{{ end }}}
{{- end }}
{{- end }}

{{/* A policy for one component: (dict "root" $ "component" "gateway" "suffix" "to-vault" "peers" list). */}}
{{- define "ws402.allow.egress" -}}
{{- if .peers }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "ws402.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "ws402.identity" . | nindent 6 }}
  policyTypes: [Egress]
  egress:
    {{- range .peers }}
    - to:
        {{- include "ws402.peer" . | nindent 8 }}
      ports:
        {{- include "ws402.ports" .ports | trim | nindent 8 }}
    {{- end }}
{{- end }}
{{- end }}

{{/* Who may call one port of a component: … "suffix" "from-monitoring" "port" 9464 "peers" list. */}}
{{- define "ws402.allow.ingress" -}}
{{- if .peers }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "ws402.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "ws402.identity" . | nindent 6 }}
  policyTypes: [Ingress]
  ingress:
    - from:
        {{- range .peers }}
        {{- include "ws402.peer" . | nindent 8 }}
        {{- end }}
      ports:
        - {protocol: TCP, port: {{ .port }}}
{{- end }}
{{- end }}

{{/* DNS: kube-system AND its label. */}}
{{- define "ws402.allow.dns" -}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "ws402.metadata" (merge (dict "suffix" "to-dns") .) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "ws402.identity" . | nindent 6 }}
  policyTypes: [Egress]
  egress:
    - to:
        {{- range .root.Values.networkPolicy.dns }}
        {{- include "ws402.peer" . | nindent 8 }}
        {{- end }}
      ports:
        - {protocol: UDP, port: 53}
        - {protocol: TCP, port: 53}
{{- end }}

{{/* This release's pods of one component, as a peer. */}}
{{- define "ws402.own" -}}
namespace: {{ include "ws402.namespace" . }}
podLabels:
  {{- include "ws402.identity" . | nindent 2 }}
{{- end }}

{{/* The API server: as named; else what the cluster says; else, without a cluster to ask, private addresses. */}}
{{- define "ws402.apiServer" -}}
peers:
{{- if .Values.gateway.egress.apiServer }}
  {{- toYaml .Values.gateway.egress.apiServer | nindent 2 }}
{{- else }}
{{- $slice := include "ws402.found.apiServer" . | fromJson }}
{{- range $endpoint := $slice.endpoints }}
{{- range $address := $endpoint.addresses }}
  - cidr: {{ $address }}{{ if contains ":" $address }}/128{{ else }}/32{{ end }}
    ports: [{{ range $i, $port := $slice.ports }}{{ if $i }}, {{ end }}{{ $port.port }}{{ end }}]
{{- end }}
{{- else }}
  - {cidr: 10.0.0.0/8, ports: [443, 6443]}
  - {cidr: 172.16.0.0/12, ports: [443, 6443]}
  - {cidr: 192.168.0.0/16, ports: [443, 6443]}
  - {cidr: "fc00::/7", ports: [443, 6443]}
{{- end }}
{{- end }}
{{- end }}
