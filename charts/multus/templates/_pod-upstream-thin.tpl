{{/*
Thin mode of upstream's image. From 4.1 its entrypoint follows the primary network and the token; before, it is kept from its own
faults: it takes the first file of a folder for the primary, its own included, so it is given a folder with the primary alone; and it
never removes its file, since the flag for that makes it spin.
*/}}

{{/* The primary network's file, where it is known; empty: the first in the folder. */}}
{{- define "multus.upstream.primaryFile" -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- $wanted := .Values.network.defaultNetwork -}}
{{- if regexMatch "^[^/]+\\.conf(list)?$" $wanted -}}
{{- $wanted -}}
{{- else if eq $node.configDir $node.usualConfigDir -}}
{{- $node.primaryFile -}}
{{- end -}}
{{- end -}}

{{- define "multus.pod.upstream.thin" -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- $paths := include "multus.thin.paths" . | fromJson -}}
{{- $primary := include "multus.upstream.primaryFile" . -}}
{{- $follows := include "multus.upstreamFollowsPrimary" . -}}
podSecurityContext:
  seccompProfile:
    type: RuntimeDefault
initContainers:
  {{- include "multus.installContainer" (dict "root" . "name" "install-multus" "volume" "cnibin" "type" "thin") | nindent 2 }}
  {{- if $paths.alsoBinOnHost }}
  {{- include "multus.installContainer" (dict "root" . "name" "install-multus-also" "volume" "also-cnibin" "type" "thin") | nindent 2 }}
  {{- end }}
  {{- include "multus.referencePluginsContainer" . | nindent 2 }}
  {{- if not (or $follows $primary) }}
  - name: choose-primary
    image: {{ include "multus.toolsImage" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [/usr/src/multus-cni/bin/copy_primary]
    args:
      - --from=/host/etc/cni/net.d
      - --to=/primary
      {{- with .Values.network.defaultNetwork }}
      - --default-network={{ . }}
      {{- end }}
      {{- if .Values.network.requireDefault }}
      - --require-default-network=true
      {{- end }}
    resources:
      {{- include "multus.resources" . | nindent 6 }}
    securityContext:
      {{- include "multus.unprivileged" (dict "root" .) | nindent 6 }}
    terminationMessagePolicy: FallbackToLogsOnError
    volumeMounts:
      - name: cni
        mountPath: /host/etc/cni/net.d
        readOnly: true
      - name: primary
        mountPath: /primary
  {{- end }}
containers:
  - name: kube-multus
    image: {{ include "multus.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [/usr/src/multus-cni/bin/thin_entrypoint]
    args:
      {{- include "multus.thin.flags" . | nindent 6 }}
      {{- if $follows }}
      - --multus-autoconfig-dir={{ $paths.conf }}
      # Also what makes it follow the primary network and renew its token.
      - --cleanup-config-on-exit=true
      {{- with $primary }}
      - --multus-master-cni-file-name={{ . }}
      {{- end }}
      {{- else }}
      - --multus-autoconfig-dir=/primary
      {{- end }}
      {{- range .Values.extraArgs }}
      - {{ . | toJson }}
      {{- end }}
    {{- with include "multus.env" (dict "root" . "env" list) }}
    {{- . | nindent 4 }}
    {{- end }}
    resources:
      {{- include "multus.resources" . | nindent 6 }}
    securityContext:
      {{- include "multus.unprivileged" (dict "root" .) | nindent 6 }}
    terminationMessagePolicy: FallbackToLogsOnError
    volumeMounts:
      {{- include "multus.thin.mounts" . | nindent 6 }}
      {{- if not $follows }}
      - name: primary
        mountPath: {{ empty $primary | ternary "/primary" (printf "/primary/%s" $primary) }}
        readOnly: true
      {{- end }}
      {{- with .Values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  {{- include "multus.thin.volumes" . | nindent 2 }}
  {{- if not $follows }}
  - name: primary
    {{- if $primary }}
    # The pod waits for this file, and kubectl describe pod says so.
    hostPath:
      path: {{ $node.configDir }}/{{ $primary }}
      type: File
    {{- else }}
    emptyDir: {}
    {{- end }}
  {{- end }}
{{- end -}}
