{{/*
Puts back what somebody took away with null, which removes the chart's own default as well. Every template begins with it. The file is
made of values.yaml by `cargo xtask chart`.
*/}}

{{- define "multus.defaults" -}}
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
