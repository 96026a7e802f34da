{{/* What a person reads after an install or an upgrade. */}}

{{- define "multus.notes" -}}
{{- include "multus.defaults" . -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- $namespace := include "multus.namespace" . -}}
{{- $upstream := eq (include "multus.engine" .) "upstream" -}}
{{- $owner := include "multus.crdOwner" . -}}
{{- $helm := printf "-n %s" .Release.Namespace -}}
{{ $upstream | ternary "Upstream's Multus" "multus-rs" }} {{ include "multus.engineVersion" . }} in {{ include "multus.mode" . }} mode, release {{ .Release.Name }}.

  namespace        {{ $namespace }}{{ if ne $namespace .Release.Namespace }} (network.namespace); the release itself is in {{ .Release.Namespace }}{{ end }}
  image            {{ include "multus.image" . }}
  platform         {{ $node.platform }}: {{ $node.platformReason }}
  configurations   {{ $node.configDir }}
  programs         {{ $node.binDir }}{{ with $node.alsoBinDir }}, and {{ . }}{{ end }}
  default network  {{ include "multus.notes.primary" . }}
  plugins          {{ if include "multus.referencePlugins" . }}the node's own, and beside them the reference plugins {{ .Values.referencePlugins.image.tag }}{{ else }}the node's own{{ end }}
  CRD              {{ if include "multus.rendersCrd" . }}of this release; it stays on uninstall, and NADs with it{{ else if $owner }}of {{ eq $owner "us" | ternary "this release" $owner }}, left as it is{{ else }}not installed (crds.install){{ end }}
{{- with include "multus.warnings" . | fromJsonArray }}

BEFORE YOU GO ON
{{- range . }}
  * {{ . | replace "\n" "\n    " }}
{{- end }}
{{- end }}

See that it runs:
  kubectl get daemonset -n {{ $namespace }} | grep multus
  kubectl get pods -n {{ $namespace }} | grep multus
  kubectl get configmap -n {{ $namespace }} | grep multus
{{- if .Values.tests.enabled }}
  helm test {{ .Release.Name }} {{ $helm }}
{{- end }}

Uninstall:
  helm uninstall {{ .Release.Name }} {{ $helm }}
{{- if and $upstream (eq (include "multus.mode" .) "thin") (not (include "multus.upstreamFollowsPrimary" .)) }}
and then, on each node, or no pod starts there: rm {{ $node.configDir }}/00-multus.conf*
{{- else }}
Nodes then work as before Multus.
{{- end }}
NADs{{ with .Values.networkAttachmentDefinitions }} other than the {{ len . }} of this release{{ end }} and their CRD stay; to remove them too:
  kubectl delete crd {{ include "multus.crdName" . }}
{{ end -}}

{{/* In NOTES: which network every pod gets first. */}}
{{- define "multus.notes.primary" -}}
{{- $wanted := .Values.network.defaultNetwork -}}
{{- $upstream := eq (include "multus.engine" .) "upstream" -}}
{{- $file := "" -}}
{{- if $upstream -}}{{- $file = include "multus.upstream.primaryFile" . -}}{{- end -}}
{{- $follows := or (eq (include "multus.mode" .) "thick") (include "multus.upstreamFollowsPrimary" .) -}}
{{- if $file -}}
the one in {{ $file }}
{{- else if and $upstream $follows -}}
the first file in {{ (include "multus.node" . | fromJson).configDir }} that is not Multus's own
{{- else if and $wanted .Values.network.requireDefault -}}
{{ $wanted }}; Multus waits for it
{{- else if $wanted -}}
{{ $wanted }}, where there is a network of that name, file or type; else the one the runtime would use by itself
{{- else -}}
the one the runtime would use by itself
{{- end -}}
{{- end -}}
