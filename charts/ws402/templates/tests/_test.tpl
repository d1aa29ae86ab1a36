{{/* A hook pod: (dict "root" $ "name" "connection" "component" "server|test" "image" "server" "account" "server|test"). */}}

{{- define "ws402.test.head" -}}
name: {{ include "ws402.fullname" .root }}-test-{{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "ws402.labels" . | nindent 2 }}
annotations:
  helm.sh/hook: test
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- define "ws402.test.spec" -}}
restartPolicy: Never
activeDeadlineSeconds: 180
serviceAccountName: {{ include "ws402.account" (dict "root" .root "component" .account) }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "ws402.pod.security" . | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "ws402.test.container" -}}
{{- $values := index .root.Values .image -}}
name: {{ .name }}
image: {{ include "ws402.image" (dict "root" .root "component" .image) | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
securityContext:
  {{- include "ws402.container.security" . | nindent 2 }}
resources:
  {{- toYaml .root.Values.tests.resources | nindent 2 }}
{{- end }}
