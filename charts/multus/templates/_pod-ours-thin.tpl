{{/* Thin mode of multus-rs: what _pod-thin.tpl has, and what only multus-rs can do. */}}

{{- define "multus.pod.multus-rs.thin" -}}
{{- $journals := .Values.config.raw.cniDir | default "/var/lib/cni/multus" -}}
podSecurityContext:
  seccompProfile:
    type: RuntimeDefault
initContainers:
  {{- include "multus.referencePluginsContainer" . | nindent 2 }}
containers:
  - name: kube-multus
    image: {{ include "multus.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [/usr/src/multus-cni/bin/thin_entrypoint]
    args:
      {{- include "multus.ours.thin.flags" . | nindent 6 }}
      # Its files stay on the node while this DaemonSet exists and covers the node, whatever happens to this pod.
      - --daemonset={{ include "multus.namespace" . }}/{{ include "multus.daemonSetName" . }}
      - --node-name=$(MULTUS_NODE_NAME)
    {{- include "multus.env" (dict "root" . "env" (list (dict "name" "MULTUS_NODE_NAME" "valueFrom" (dict "fieldRef" (dict "fieldPath" "spec.nodeName"))))) | nindent 4 }}
    # Ready: all is in place on the node, and the runtime reads our configuration first. Nothing is restarted for it; what is wrong
    # stands in the pod's events.
    {{- $flags := include "multus.ours.thin.flags" . | fromYamlArray }}
    {{- include "multus.ours.readiness" (concat (list "/usr/src/multus-cni/bin/thin_entrypoint" "--healthy") $flags) | nindent 4 }}
    resources:
      {{- include "multus.resources" . | nindent 6 }}
    securityContext:
      {{- include "multus.unprivileged" (dict "root" .) | nindent 6 }}
    terminationMessagePolicy: FallbackToLogsOnError
    volumeMounts:
      {{- include "multus.thin.mounts" . | nindent 6 }}
      # Statuses that could not be written in time wait here.
      - name: run
        mountPath: /run/multus
      # Whether pods on the node still need the program when it is to be removed.
      - name: journals
        mountPath: {{ $journals }}
        readOnly: true
      - name: results
        mountPath: /var/lib/cni/results
        readOnly: true
      {{- with .Values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  {{- include "multus.thin.volumes" . | nindent 2 }}
  {{- include "multus.hostFolder" (dict "name" "run" "path" "/run/multus") | nindent 2 }}
  {{- include "multus.hostFolder" (dict "name" "journals" "path" $journals) | nindent 2 }}
  {{- include "multus.hostFolder" (dict "name" "results" "path" "/var/lib/cni/results") | nindent 2 }}
{{- end -}}

{{/* Flags that the probe needs as well as the container. */}}
{{- define "multus.ours.thin.flags" -}}
{{- $paths := include "multus.thin.paths" . | fromJson -}}
{{- include "multus.thin.flags" . }}
- --multus-autoconfig-dir={{ $paths.conf }}
{{- with $paths.alsoBin }}
- --additional-cni-bin-dir={{ . }}
{{- end }}
{{- /* Without a name the form follows the default network's: .conf, or .conflist from CNI 1.0.0 on. */ -}}
{{- if ne .Values.cni.configFile "00-multus.conf" }}
- --conf-file-name={{ .Values.cni.configFile }}
{{- end }}
- --owner={{ include "multus.owner" . }}
{{- range .Values.takeOverFrom }}
- --take-over-from={{ . }}
{{- end }}
{{- with .Values.network.defaultNetwork }}
- --default-network={{ . }}
{{- end }}
{{- if .Values.network.requireDefault }}
- --require-default-network=true
{{- end }}
{{- with include "multus.ours.netconf" . }}
- {{ printf "--netconf-merge=%s" . | toJson }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | toJson }}
{{- end }}
{{- end -}}

{{/* Keys of the generated CNI configuration that no flag has, as JSON; empty where there are none. */}}
{{- define "multus.ours.netconf" -}}
{{- $config := .Values.config -}}
{{- $keys := dict -}}
{{- if ne $config.specMode "compat" -}}
{{- $_ := set $keys "specMode" $config.specMode -}}
{{- end -}}
{{- with .Values.network.attachToAll -}}
{{- $_ := set $keys "defaultNetworks" . -}}
{{- end -}}
{{- if or .Values.network.attachToAll (ne (include "multus.namespace" .) "kube-system") -}}
{{- $_ := set $keys "multusNamespace" (include "multus.namespace" .) -}}
{{- end -}}
{{- with $config.systemNamespaces -}}
{{- $_ := set $keys "systemNamespaces" . -}}
{{- end -}}
{{- range $key, $value := $config.raw -}}
{{- $_ := set $keys $key $value -}}
{{- end -}}
{{- if $keys -}}
{{- $keys | toJson -}}
{{- end -}}
{{- end -}}
