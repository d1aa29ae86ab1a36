{{/* For `ws402 ops --kube`: how the gateway is called and where things lie that it needs. Names only, nothing secret. */}}
{{- define "ws402.ops.annotations" -}}
{{- $server := include "ws402.name" (dict "root" . "component" "server") -}}
{{- $generated := or (eq .Values.tls.mode "generated") (eq .Values.tls.mode "certManager") -}}
ws402/scheme: {{ ternary "http" "https" (eq .Values.tls.mode "none") }}
{{- if ne .Values.tls.mode "none" }}
ws402/ca: {{ .Release.Namespace }}/{{ include "ws402.ops.ca" . }}
{{- if and .Values.tls.mutual (or .Values.tls.clientExistingSecret $generated) }}
ws402/client-tls: {{ .Release.Namespace }}/{{ .Values.tls.clientExistingSecret | default (printf "%s-client-tls" $server) }}
{{- end }}
{{- end }}
{{- with include "ws402.gateway.secret" . }}
ws402/operator-key: {{ . }}
{{- end }}
{{- end }}

{{/* The ConfigMap, in the release's namespace, of the authority that signs the gateway's certificate. */}}
{{- define "ws402.ops.ca" -}}
{{ .Values.tls.caConfigMap | default (printf "%s-gateway-ca" (include "ws402.name" (dict "root" . "component" "server"))) }}
{{- end }}
