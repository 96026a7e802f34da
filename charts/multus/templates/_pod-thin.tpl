{{/*
The pod of thin mode, either engine: a program that installs `multus` on the node and keeps its configuration right. The runtime then
calls `multus` itself; nothing of a pod's networking runs in here.
*/}}

{{/* Where the container sees the node's folders: {conf, bin, alsoBin, followed}. */}}
{{- define "multus.thin.paths" -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- $followed := printf "%s/" ($node.followLinks | default "/nowhere") -}}
{{- $paths := dict "conf" "/host/etc/cni/net.d" "bin" "/host/opt/cni/bin" "alsoBin" "" "binOnHost" $node.binDir "alsoBinOnHost" "" -}}
{{- if hasPrefix $followed $node.configDir -}}
{{- $_ := set $paths "conf" $node.configDir -}}
{{- end -}}
{{- if $node.alsoBinDir -}}
{{- /* The folder that stays is the first: what is in it is found after an upgrade of the distribution. */ -}}
{{- $_ := set $paths "binOnHost" $node.alsoBinDir -}}
{{- $_ := set $paths "alsoBinOnHost" $node.binDir -}}
{{- $_ := set $paths "alsoBin" (hasPrefix $followed $node.binDir | ternary $node.binDir "/host/opt/cni/also-bin") -}}
{{- else if hasPrefix $followed $node.binDir -}}
{{- $_ := set $paths "bin" $node.binDir -}}
{{- end -}}
{{- $paths | toJson -}}
{{- end -}}

{{/* The init container that installs the CNI reference plugins; empty where the node has them. */}}
{{- define "multus.referencePluginsContainer" -}}
{{- if include "multus.referencePlugins" . -}}
{{- $plugins := .Values.referencePlugins -}}
- name: reference-plugins
  image: {{ include "multus.imageReference" (dict "root" . "repository" $plugins.image.repository "tag" $plugins.image.tag "digest" $plugins.image.digest) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [/install_plugins]
  args:
    - --to=/host/opt/cni/bin
    {{- with $plugins.include }}
    - --include={{ join "," . }}
    {{- end }}
    {{- $own := empty $plugins.include | ternary (include "multus.node" . | fromJson).ownPlugins list }}
    {{- with concat $own $plugins.exclude | uniq }}
    - --exclude={{ join "," . }}
    {{- end }}
  resources:
    {{- include "multus.resources" . | nindent 4 }}
  securityContext:
    {{- include "multus.unprivileged" (dict "root" .) | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - name: cnibin
      mountPath: /host/opt/cni/bin
{{- end -}}
{{- end -}}

{{/* The init container that installs the program: a dict with `root`, `name`, `volume` and `type`. */}}
{{- define "multus.installContainer" -}}
- name: {{ .name }}
  image: {{ include "multus.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [/usr/src/multus-cni/bin/install_multus]
  args: [-d, /host/opt/cni/bin, -t, {{ .type }}]
  resources:
    {{- include "multus.resources" .root | nindent 4 }}
  securityContext:
    {{- include "multus.unprivileged" (dict "root" .root) | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - name: {{ .volume }}
      mountPath: /host/opt/cni/bin
{{- end -}}

{{/* Flags of both engines. */}}
{{- define "multus.thin.flags" -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- $paths := include "multus.thin.paths" . | fromJson -}}
{{- $config := .Values.config -}}
- --multus-conf-file=auto
- --cni-conf-dir={{ $paths.conf }}
- --cni-bin-dir={{ $paths.bin }}
# The path on the node: multus reads it there.
- --multus-kubeconfig-file-host={{ $node.kubeconfig }}
{{- if ne $paths.binOnHost "/opt/cni/bin" }}
# Where multus looks for plugins first, whatever folders the runtime names.
- --additional-bin-dir={{ $paths.binOnHost }}
{{- end }}
{{- if $config.namespaceIsolation.enabled }}
- --namespace-isolation=true
{{- end }}
{{- with $config.namespaceIsolation.globalNamespaces }}
- --global-namespaces={{ join "," . }}
{{- end }}
{{- if $config.overrideNetworkName }}
- --override-network-name=true
{{- end }}
{{- with $config.readinessIndicatorFile }}
- --readiness-indicator-file={{ . }}
{{- end }}
{{- with $config.log.level }}
- --multus-log-level={{ . }}
{{- end }}
{{- with $config.log.file }}
- --multus-log-file={{ . }}
{{- end }}
{{- if not $config.log.toStderr }}
- --multus-log-to-stderr=false
{{- end }}
{{- end -}}

{{/* Mounts and volumes of both engines. */}}
{{- define "multus.thin.mounts" -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- $paths := include "multus.thin.paths" . | fromJson -}}
{{- if eq $paths.conf "/host/etc/cni/net.d" }}
- name: cni
  mountPath: /host/etc/cni/net.d
{{- end }}
{{- if eq $paths.bin "/host/opt/cni/bin" }}
- name: cnibin
  mountPath: /host/opt/cni/bin
{{- end }}
{{- if eq $paths.alsoBin "/host/opt/cni/also-bin" }}
- name: also-cnibin
  mountPath: /host/opt/cni/also-bin
{{- end }}
{{- with $node.followLinks }}
# Whole and at its own path, so that links in it lead where they lead on the node, also after an upgrade has moved them.
- name: linked
  mountPath: {{ . }}
{{- end }}
# A folder that the program makes, and nobody needs in here.
- name: networks
  mountPath: /host/etc/cni/multus/net.d
{{- end -}}

{{- define "multus.thin.volumes" -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- $paths := include "multus.thin.paths" . | fromJson -}}
{{ include "multus.hostFolder" (dict "name" "cni" "path" $node.configDir) }}
{{ include "multus.hostFolder" (dict "name" "cnibin" "path" $paths.binOnHost) }}
{{- /* Upstream's has an installer of its own for the second folder. */ -}}
{{- if and $paths.alsoBinOnHost (or (eq (include "multus.engine" .) "upstream") (eq $paths.alsoBin "/host/opt/cni/also-bin")) }}
{{ include "multus.hostFolder" (dict "name" "also-cnibin" "path" $paths.alsoBinOnHost) }}
{{- end }}
{{- with $node.followLinks }}
{{ include "multus.hostFolder" (dict "name" "linked" "path" .) }}
{{- end }}
- name: networks
  emptyDir: {}
{{- end -}}
