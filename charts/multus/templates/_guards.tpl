{{/* What cannot work stops the render, with what to do about it. What may surprise is in _warnings.tpl. */}}

{{- define "multus.guards" -}}
{{- include "multus.guard.image" . -}}
{{- end -}}

{{- define "multus.fail" -}}
{{- fail (printf "\n\n%s\n" .) -}}
{{- end -}}

{{/* Engine, mode and version fit together. */}}
{{- define "multus.guard.image" -}}
{{- $image := .Values.image -}}
{{- $engine := include "multus.engine" . -}}
{{- if and $image.digest (not $image.tag) (not (and .Values.engine .Values.mode .Values.engineVersion)) -}}
{{- include "multus.fail" "image.digest: a digest without image.tag does not tell what the image holds.\nSet image.tag as well, or all of `engine`, `mode` and `engineVersion`." -}}
{{- end -}}
{{- if and (eq $engine "multus-rs") (eq .Values.mode "thick") -}}
{{- include "multus.fail" "mode: \"thick\" is not there yet for multus-rs; it comes with a later release.\nLeave `mode` empty: thin mode needs no daemon while pods start. Or set image.repository to ghcr.io/k8snetworkplumbingwg/multus-cni for upstream's thick mode." -}}
{{- end -}}
{{- end -}}
