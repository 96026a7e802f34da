{{/*
What the live cluster has. Without one at hand (`helm template`, GitOps) nothing is found, and each question has a value that answers
it instead.
*/}}

{{/* "true" where a cluster answers. */}}
{{- define "multus.live" -}}
{{- if lookup "v1" "Namespace" "" "kube-system" -}}true{{- end -}}
{{- end -}}

{{- define "multus.crdName" -}}network-attachment-definitions.k8s.cni.cncf.io{{- end -}}

{{/* Who owns the CRD: "" (it is not there), "us", or the owner as a person would name it. */}}
{{- define "multus.crdOwner" -}}
{{- $crd := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" (include "multus.crdName" .) -}}
{{- if $crd -}}
{{- $annotations := $crd.metadata.annotations | default dict -}}
{{- $release := get $annotations "meta.helm.sh/release-name" | default "" -}}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" | default "" -}}
{{- if and (eq $release .Release.Name) (eq $namespace .Release.Namespace) -}}
us
{{- else if $release -}}
Helm release {{ $namespace }}/{{ $release }}
{{- else -}}
somebody who did not use Helm
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "multus.rendersCrd" -}}
{{- $install := .Values.crds.install | toString -}}
{{- if eq $install "auto" -}}
{{- if has (include "multus.crdOwner" .) (list "" "us") -}}true{{- end -}}
{{- else if eq $install "true" -}}true{{- end -}}
{{- end -}}

{{/* NADs need the API that the CRD brings: a first install that brings the CRD too cannot create them. */}}
{{- define "multus.rendersNads" -}}
{{- if .Capabilities.APIVersions.Has "k8s.cni.cncf.io/v1" -}}true
{{- else if and (not (include "multus.live" .)) (eq (.Values.crds.install | toString) "false") -}}true
{{- end -}}
{{- end -}}

{{/* The engine that this release has run until now; empty where it is new, or no cluster answers. */}}
{{- define "multus.engineBefore" -}}
{{- $config := lookup "v1" "ConfigMap" (include "multus.namespace" .) (include "multus.configMapName" .) | default dict -}}
{{- $record := get ($config.data | default dict) "install.json" | default "{}" | fromJson -}}
{{- if eq ($record.owner | default "") (include "multus.owner" .) -}}
{{- $record.engine -}}
{{- end -}}
{{- end -}}
