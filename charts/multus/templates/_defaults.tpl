{{/*
Takes out what somebody took away with null, and puts back the chart's own default, which null removes as well. Every template begins
with it. The file is made of values.yaml by `cargo xtask chart`.
*/}}

{{- define "multus.defaults" -}}
{{- /* In these a null says something: it takes a key away on the node, or belongs to an object or a chart that is not ours. */ -}}
{{- range $key, $value := omit $.Values "config" "extraObjects" "global" "networkAttachmentDefinitions" -}}
{{- include "multus.dropNulls" $value -}}
{{- end -}}
{{- with $.Values.global -}}
{{- include "multus.dropNulls" (list .commonLabels .commonAnnotations) -}}
{{- end -}}
{{- range $.Values.networkAttachmentDefinitions -}}
{{- include "multus.dropNulls" (list .labels .annotations) -}}
{{- end -}}
{{- range $path, $default := $.Files.Get "files/defaults.json" | fromJson -}}
{{- $parts := splitList "." $path -}}
{{- $section := $.Values -}}
{{- range initial $parts -}}
{{- if not (kindIs "map" (get $section .)) -}}
{{- $_ := set $section . dict -}}
{{- end -}}
{{- $section = get $section . -}}
{{- end -}}
{{- $key := last $parts -}}
{{- if not (hasKey $section $key) -}}
{{- $_ := set $section $key $default -}}
{{- else if kindIs "invalid" (index $section $key) -}}
{{- $_ := set $section $key $default -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Takes every key whose value is null out of a map or a list, and of all in it: `--set resources.limits.cpu=null` is how a value of an
earlier file is taken back, and the API server reads a null that is rendered as a zero, or refuses it.
*/}}
{{- define "multus.dropNulls" -}}
{{- $all := . -}}
{{- if kindIs "map" $all -}}
{{- range $key := keys $all -}}
{{- if kindIs "invalid" (index $all $key) -}}
{{- $_ := unset $all $key -}}
{{- else -}}
{{- include "multus.dropNulls" (index $all $key) -}}
{{- end -}}
{{- end -}}
{{- else if kindIs "slice" $all -}}
{{- range $all -}}
{{- include "multus.dropNulls" . -}}
{{- end -}}
{{- end -}}
{{- end -}}
