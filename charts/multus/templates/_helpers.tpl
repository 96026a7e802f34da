{{/*
Names, labels and images. Names are upstream's, so that this release can take over from upstream's manifest and give back to it.
*/}}

{{- define "multus.namespace" -}}
{{- .Values.network.namespace | default .Release.Namespace -}}
{{- end -}}

{{- define "multus.daemonSetName" -}}kube-multus-ds{{- end -}}

{{- define "multus.configMapName" -}}multus-daemon-config{{- end -}}

{{- define "multus.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default "multus" -}}
{{- end -}}

{{/* Who the files on the nodes belong to. */}}
{{- define "multus.owner" -}}
{{ .Release.Namespace }}/{{ .Release.Name }}
{{- end -}}

{{/* One map of a list of them, as YAML: of two that have a key the later one is right. Empty where none has one. */}}
{{- define "multus.union" -}}
{{- $union := dict -}}
{{- range . -}}
{{- range $key, $value := . -}}
{{- $_ := set $union $key $value -}}
{{- end -}}
{{- end -}}
{{- if $union -}}{{- toYaml $union -}}{{- end -}}
{{- end -}}

{{/* Labels that every object carries: the user's, and ours, by which objects are found. */}}
{{- define "multus.labels" -}}
{{- $ours := dict
      "app" "multus"
      "tier" "node"
      "app.kubernetes.io/name" "multus"
      "app.kubernetes.io/instance" .Release.Name
      "app.kubernetes.io/managed-by" .Release.Service
      "app.kubernetes.io/version" (.Chart.AppVersion | replace "+" "_")
      "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- include "multus.union" (list .Values.global.commonLabels $ours) -}}
{{- end -}}

{{/*
`metadata` of an object: a dict with `root`, `name` and, for cluster-wide objects, `cluster: true`; `labels` and `annotations` of the
object's own, which count before those of all.
*/}}
{{- define "multus.metadata" -}}
name: {{ .name | toYaml }}
{{- if not .cluster }}
namespace: {{ .namespace | default (include "multus.namespace" .root) | toYaml }}
{{- end }}
labels:
  {{- include "multus.union" (list (include "multus.labels" .root | fromYaml) .labels) | nindent 2 }}
{{- with include "multus.union" (list .root.Values.global.commonAnnotations .annotations) }}
annotations:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
The reference of an image: a dict with `root`, `repository`, `tag` and `digest`. A global registry takes the place of the one
that the repository names.
*/}}
{{- define "multus.imageReference" -}}
{{- $repository := .repository -}}
{{- with .root.Values.global.imageRegistry -}}
{{- $parts := splitList "/" $repository -}}
{{- $first := first $parts -}}
{{- if and (gt (len $parts) 1) (or (contains "." $first) (contains ":" $first) (eq $first "localhost")) -}}
{{- $repository = rest $parts | join "/" -}}
{{- end -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- $repository -}}
{{- with .tag }}:{{ . }}{{ end -}}
{{- with .digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* The image that the engine runs from. */}}
{{- define "multus.image" -}}
{{- include "multus.imageReference" (dict "root" . "repository" .Values.image.repository "tag" (include "multus.tag" .) "digest" .Values.image.digest) -}}
{{- end -}}

{{/* Our own image, for what upstream's cannot do: `helm test`, and choosing the primary network for its old releases. */}}
{{- define "multus.toolsImage" -}}
{{- if eq (include "multus.engine" .) "multus-rs" -}}
{{- include "multus.image" . -}}
{{- else -}}
{{- $image := .Values.toolsImage -}}
{{- include "multus.imageReference" (dict "root" . "repository" $image.repository "tag" ($image.tag | default .Chart.AppVersion) "digest" $image.digest) -}}
{{- end -}}
{{- end -}}

{{- define "multus.imagePullSecrets" -}}
{{- $secrets := concat (.Values.global.imagePullSecrets | default list) .Values.imagePullSecrets -}}
{{- $named := list -}}
{{- range $secrets -}}
{{- $named = append $named (kindIs "string" . | ternary (dict "name" .) .) -}}
{{- end -}}
{{- with $named | uniq -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "multus.rendersQuota" -}}
{{- $wanted := .Values.resourceQuota.enabled | toString -}}
{{- if eq $wanted "auto" -}}
{{- if and (eq (include "multus.node" . | fromJson).platform "gke") (ne (include "multus.namespace" .) "kube-system") -}}true{{- end -}}
{{- else if eq $wanted "true" -}}true{{- end -}}
{{- end -}}
