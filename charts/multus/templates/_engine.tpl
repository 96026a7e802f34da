{{/*
What runs: the engine, its mode and its version. The repository's base name chooses the engine, the tag the mode and the version;
`engine`, `mode` and `engineVersion` say it where the names do not. The tag is never altered.
*/}}

{{/* The newest release of upstream's that this chart was tried with; what moving tags count as. */}}
{{- define "multus.newestUpstream" -}}4.3.0{{- end -}}

{{- define "multus.imageBaseName" -}}
{{- splitList "/" .Values.image.repository | last -}}
{{- end -}}

{{- define "multus.engine" -}}
{{- $base := include "multus.imageBaseName" . -}}
{{- if .Values.engine -}}
{{- .Values.engine -}}
{{- else if eq $base "multus-rs" -}}
multus-rs
{{- else if eq $base "multus-cni" -}}
upstream
{{- else -}}
{{- fail (printf "\n\nimage.repository: %q tells neither that it holds multus-rs nor that it holds upstream's Multus.\nSet `engine` to \"multus-rs\" or to \"upstream\".\n" .Values.image.repository) -}}
{{- end -}}
{{- end -}}

{{/* The tag as the user wrote it; without one (and without a digest) the one that belongs to this chart. */}}
{{- define "multus.tag" -}}
{{- if or .Values.image.tag .Values.image.digest -}}
{{- .Values.image.tag -}}
{{- else if eq (include "multus.engine" .) "multus-rs" -}}
{{- .Chart.AppVersion -}}
{{- else -}}
v{{ .Values.engineVersion | default (include "multus.newestUpstream" .) | trimPrefix "v" }}{{ eq .Values.mode "thick" | ternary "-thick" "" }}
{{- end -}}
{{- end -}}

{{- define "multus.mode" -}}
{{- if .Values.mode -}}
{{- .Values.mode -}}
{{- else if eq (include "multus.engine" .) "multus-rs" -}}
thick
{{- else -}}
{{- hasSuffix "-thick" (include "multus.tag" .) | ternary "thick" "thin" -}}
{{- end -}}
{{- end -}}

{{/* The version without "v". */}}
{{- define "multus.engineVersion" -}}
{{- $tag := include "multus.tag" . -}}
{{- $inTag := regexFind "^v?[0-9]+\\.[0-9]+(\\.[0-9]+)?" $tag | trimPrefix "v" -}}
{{- if .Values.engineVersion -}}
{{- .Values.engineVersion | trimPrefix "v" -}}
{{- else if $inTag -}}
{{- regexMatch "^[0-9]+\\.[0-9]+$" $inTag | ternary (printf "%s.0" $inTag) $inTag -}}
{{- else if eq (include "multus.engine" .) "multus-rs" -}}
{{- .Chart.AppVersion | trimPrefix "v" -}}
{{- else if include "multus.tagMoves" . -}}
{{- include "multus.newestUpstream" . -}}
{{- else -}}
{{- fail (printf "\n\nimage.tag: %q does not tell which version of upstream's Multus it is.\nSet `engineVersion`, for example to \"%s\".\n" $tag (include "multus.newestUpstream" .)) -}}
{{- end -}}
{{- end -}}

{{/* "true" where the tag names another image tomorrow. */}}
{{- define "multus.tagMoves" -}}
{{- if regexMatch "^(snapshot|stable|latest|edge|main|master)($|-)" (include "multus.tag" .) -}}true{{- end -}}
{{- end -}}

{{/* "true" where upstream's thin_entrypoint finds the primary network, follows it and cleans up properly: from 4.1. */}}
{{- define "multus.upstreamFollowsPrimary" -}}
{{- if semverCompare ">=4.1.0-0" (include "multus.engineVersion" .) -}}true{{- end -}}
{{- end -}}
