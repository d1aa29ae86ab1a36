{{/* What is asked of the cluster, where no value says it; each answers JSON. `helm template` finds nothing. A lookup that the
account may not make ends the installation, and Helm's error quotes the name of the template that it stands in: so these
names say what to do. */}}

{{- define "ws402.found.apiServer" -}}
{{- $else := "This account may not read the API server's address (EndpointSlice kubernetes in the namespace default). Set gateway.egress.apiServer, such as [{cidr: 10.0.0.1/32, ports: [6443]}]" -}}
{{- include $else . -}}
{{- end }}
{{- define "This account may not read the API server's address (EndpointSlice kubernetes in the namespace default). Set gateway.egress.apiServer, such as [{cidr: 10.0.0.1/32, ports: [6443]}]" -}}
{{- lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "kubernetes" | toJson -}}
{{- end }}

{{- define "ws402.found.certificate" -}}
{{- $else := "This account may not read the certificates that were made before. Let it get Secrets in both namespaces, which must be there, or set tls.mode to certManager or existingSecret" -}}
{{- include $else . -}}
{{- end }}
{{- define "This account may not read the certificates that were made before. Let it get Secrets in both namespaces, which must be there, or set tls.mode to certManager or existingSecret" -}}
{{- lookup "v1" "Secret" .namespace .name | toJson -}}
{{- end }}

{{- define "ws402.found.devSecret" -}}
{{- $else := "This account may not read the Secret of the dev chain's operator. Let it get Secrets in the gateway's namespace, which must be there, or set secrets.source to existingSecret" -}}
{{- include $else . -}}
{{- end }}
{{- define "This account may not read the Secret of the dev chain's operator. Let it get Secrets in the gateway's namespace, which must be there, or set secrets.source to existingSecret" -}}
{{- lookup "v1" "Secret" .namespace .name | toJson -}}
{{- end }}

{{- define "ws402.found.ledger" -}}
{{- $else := "This account may not read the gateway's StatefulSet, so that a change of its volume would end half-way. Let it get StatefulSets in the gateway's namespace" -}}
{{- include $else . -}}
{{- end }}
{{- define "This account may not read the gateway's StatefulSet, so that a change of its volume would end half-way. Let it get StatefulSets in the gateway's namespace" -}}
{{- lookup "apps/v1" "StatefulSet" .namespace .name | toJson -}}
{{- end }}

{{/* The Deployment of the servers. */}}
{{- define "ws402.found.servers" -}}
{{- $else := "This account may not read the servers' Deployment, whose number an autoscaler keeps. Let it get Deployments in the release's namespace, or set server.autoscaling.mode to none" -}}
{{- if .Values.gitops -}}
{}
{{- else -}}
{{- include $else . -}}
{{- end -}}
{{- end }}
{{- define "This account may not read the servers' Deployment, whose number an autoscaler keeps. Let it get Deployments in the release's namespace, or set server.autoscaling.mode to none" -}}
{{- lookup "apps/v1" "Deployment" .Release.Namespace (include "ws402.name" (dict "root" . "component" "server")) | toJson -}}
{{- end }}

{{/* A namespace: (dict "root" $ "name" …). */}}
{{- define "ws402.found.namespace" -}}
{{- $else := "This account may not read the gateway's namespace, or it is not there. Let somebody who may make namespaces make it, then set gateway.namespace.create=false and gateway.namespace.check=false" -}}
{{- if not .root.Values.gateway.namespace.create -}}
{{- $else = "This account may not read the gateway's namespace, or it is not there. When it is there, set gateway.namespace.check=false" -}}
{{- end -}}
{{- if and (not .root.Values.gitops) (or .root.Values.gateway.namespace.create .root.Values.gateway.namespace.check) -}}
{{- include $else . -}}
{{- else -}}
{}
{{- end -}}
{{- end }}
{{- define "This account may not read the gateway's namespace, or it is not there. Let somebody who may make namespaces make it, then set gateway.namespace.create=false and gateway.namespace.check=false" -}}
{{- lookup "v1" "Namespace" "" .name | toJson -}}
{{- end }}
{{- define "This account may not read the gateway's namespace, or it is not there. When it is there, set gateway.namespace.check=false" -}}
{{- lookup "v1" "Namespace" "" .name | toJson -}}
{{- end }}

{{/* Whether a namespace that was found is made by this release, so that the chart goes on writing it. */}}
{{- define "ws402.namespace.owned" -}}
{{- $by := (.found.metadata).annotations | default dict -}}
{{- if and (eq (get $by "meta.helm.sh/release-name") .root.Release.Name) (eq (get $by "meta.helm.sh/release-namespace") .root.Release.Namespace) -}}
yes
{{- end -}}
{{- end }}

{{/* Pod Security labels that the gateway's namespace should have. */}}
{{- define "ws402.namespace.labels" -}}
pod-security.kubernetes.io/enforce: restricted
pod-security.kubernetes.io/audit: restricted
pod-security.kubernetes.io/warn: restricted
{{- end }}
