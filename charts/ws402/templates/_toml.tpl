{{/* Values as TOML. JSON strings are TOML strings; whole numbers stay whole, whichever way Helm read them. */}}

{{- define "ws402.toml.value" -}}
{{- if kindIs "string" . -}}
{{- toJson . | replace "\u007f" "\\u007f" -}}
{{- else if kindIs "bool" . -}}
{{- . -}}
{{- else if kindIs "slice" . -}}
[{{ range $i, $each := . }}{{ if $i }}, {{ end }}{{ include "ws402.toml.value" $each }}{{ end }}]
{{- else if kindIs "map" . -}}
{{- $entries := list -}}
{{- range $key := keys . | sortAlpha -}}
{{- $value := get $ $key -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $entries = append $entries (printf "%s = %s" (toJson $key) (include "ws402.toml.value" $value)) -}}
{{- end -}}
{{- end -}}
{ {{ join ", " $entries }} }
{{- else if kindIs "invalid" . -}}
{{- fail "A list among the settings, resources or networks has an empty entry (null). Take it away." -}}
{{- else if kindIs "float64" . -}}
{{- if gt . 9007199254740991.0 -}}
{{- fail (printf "The number %.0f is too large for YAML to keep exactly. Write it in quotes: \"%.0f\"" . .) -}}
{{- end -}}
{{- if eq . (floor .) }}{{ printf "%.0f" . }}{{ else }}{{ printf "%v" . }}{{ end -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end }}

{{/* `name = value` for each entry that is set. */}}
{{- define "ws402.toml.entries" -}}
{{- range $name := keys . | sortAlpha }}
{{- $value := get $ $name }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }} = {{ include "ws402.toml.value" $value }}
{{- end }}
{{- end }}
{{- end }}

{{/* (dict "name" "resources" "list" .Values.resources) as [[resources]]. */}}
{{- define "ws402.toml.tables" -}}
{{- range .list }}

[[{{ $.name }}]]
{{- include "ws402.toml.entries" . }}
{{- end }}
{{- end }}
