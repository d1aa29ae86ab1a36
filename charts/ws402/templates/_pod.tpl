{{/* What all pods share. Takes (dict "root" $ "component" "server"). */}}

{{- define "ws402.pod.security" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
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
serviceAccountName: {{ include "ws402.name" . }}
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
{{- with $pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
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
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "ws402.selector" $ | nindent 8 }}
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

{{/* Startup, readiness and liveness, each with its own path: (dict "port" "http" "scheme" "HTTP"). */}}
{{- define "ws402.probes" -}}
startupProbe:
  httpGet: {path: /health/startup, port: {{ .port }}, scheme: {{ .scheme }}}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 150
readinessProbe:
  httpGet: {path: /health/ready, port: {{ .port }}, scheme: {{ .scheme }}}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /health/live, port: {{ .port }}, scheme: {{ .scheme }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}
