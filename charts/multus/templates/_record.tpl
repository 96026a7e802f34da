{{/* The install record: what a person, or a program, reads to know what this release is. Keys are only ever added. */}}
{{- define "multus.record" -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- $primary := dict "defaultNetwork" .Values.network.defaultNetwork "required" .Values.network.requireDefault "attachToAll" .Values.network.attachToAll -}}
{{- $cni := dict "configDir" $node.configDir "binDir" $node.binDir "alsoBinDir" $node.alsoBinDir "configFile" .Values.cni.configFile "kubeconfig" $node.kubeconfig -}}
{{- dict
      "format" 1
      "chart" (dict "name" .Chart.Name "version" .Chart.Version)
      "release" (dict "name" .Release.Name "namespace" .Release.Namespace)
      "owner" (include "multus.owner" .)
      "namespace" (include "multus.namespace" .)
      "daemonSet" (include "multus.daemonSetName" .)
      "engine" (include "multus.engine" .)
      "mode" (include "multus.mode" .)
      "engineVersion" (include "multus.engineVersion" .)
      "image" (include "multus.image" .)
      "platform" $node.platform
      "platformReason" $node.platformReason
      "cni" $cni
      "network" $primary
      "referencePlugins" (include "multus.referencePlugins" . | eq "true")
      "specMode" .Values.config.specMode
    | toPrettyJson -}}
{{- end -}}
