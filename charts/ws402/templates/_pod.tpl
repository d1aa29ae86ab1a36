{{/* What all pods share. Takes (dict "root" $ "component" "server"). */}}

{{- define "ws402.pod.security" -}}
runAsNonRoot: true
{{- range $name, $id := .root.Values.securityContext }}
{{- if not (kindIs "invalid" $id) }}
{{ $name }}: {{ int64 $id }}
{{- end }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "ws402.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Labels and annotations of a pod template; "checksum": text whose change must restart the pods. */}}
{{- define "ws402.pod.metadata" -}}
{{- $pod := (index .root.Values .component).pod -}}
labels:
  {{- include "ws402.selector" . | nindent 2 }}
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with $pod.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  kubectl.kubernetes.io/default-container: {{ .component }}
  {{- with .checksum }}
  checksum/config: {{ sha256sum . }}
  {{- end }}
  {{- with $pod.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The pod's own fields, before its containers. */}}
{{- define "ws402.pod.spec" -}}
{{- $pod := (index .root.Values .component).pod -}}
serviceAccountName: {{ include "ws402.account" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "ws402.pod.security" . | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $field := list "tolerations" "hostAliases" "dnsConfig" "initContainers" }}
{{- with index $pod $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with $pod.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
affinity:
  {{- if $pod.affinity }}
  {{- toYaml $pod.affinity | nindent 2 }}
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "ws402.selector" . | nindent 14 }}
  {{- end }}
topologySpreadConstraints:
  {{- if $pod.topologySpreadConstraints }}
  {{- range $pod.topologySpreadConstraints }}
  {{- $own := dict "labelSelector" (dict "matchLabels" (include "ws402.selector" $ | fromYaml)) }}
  - {{- toYaml (merge (deepCopy .) $own) | nindent 4 }}
  {{- end }}
  {{- else }}
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "ws402.selector" $ | nindent 8 }}
  {{- end }}
  {{- end }}
{{- end }}

{{/* The container's fields that do not depend on what it runs. */}}
{{- define "ws402.container" -}}
{{- $values := index .root.Values .component -}}
name: {{ .component }}
image: {{ include "ws402.image" . | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
securityContext:
  {{- include "ws402.container.security" . | nindent 2 }}
resources:
  {{- toYaml $values.pod.resources | nindent 2 }}
{{- with $values.pod.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* preStop: time for proxies to forget the pod, without a shell. Kubernetes 1.29 does not have it. */}}
{{- define "ws402.lifecycle" -}}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ include "ws402.preStop" . }}
{{- end }}
{{- end }}

{{- define "ws402.preStop" -}}5{{- end }}

{{/* How a rollout replaces pods; Recreate has no numbers. */}}
{{- define "ws402.strategy" -}}
{{- $strategy := (index .root.Values .component).strategy -}}
{{- toYaml (ternary (pick $strategy "type") $strategy (eq $strategy.type "Recreate")) -}}
{{- end }}

{{/* Startup, readiness and liveness, each with its own path: (dict "root" $ "component" "server" "port" "http" "scheme" "HTTP"). */}}
{{- define "ws402.probes" -}}
{{- $own := (index .root.Values .component).pod.probes -}}
{{- $defaults := dict
  "startup" (dict "periodSeconds" 1 "timeoutSeconds" 3 "failureThreshold" 300)
  "readiness" (dict "periodSeconds" 5 "timeoutSeconds" 3 "failureThreshold" 2)
  "liveness" (dict "periodSeconds" 10 "timeoutSeconds" 5 "failureThreshold" 6) -}}
{{- range $i, $name := list "startup" "readiness" "liveness" }}
{{- $path := get (dict "startup" "startup" "readiness" "ready" "liveness" "live") $name }}
{{ $name }}Probe:
  {{- if $.scheme }}
  httpGet: {path: /health/{{ $path }}, port: {{ $.port }}, scheme: {{ $.scheme }}}
  {{- else }}
  tcpSocket: {port: {{ $.port }}}
  {{- end }}
  {{- toYaml (merge (deepCopy (get $own $name)) (get $defaults $name)) | nindent 2 }}
{{- end }}
{{- end }}
