{{/*
Thick mode of upstream's image: its manifest of v4.3.0 with the node's paths. The daemon runs the plugins itself, in a chroot of the
node's root; so it is privileged, and plugins must lie at the same path inside as outside.
*/}}

{{- define "multus.pod.upstream.thick" -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- $paths := include "multus.thin.paths" . | fromJson -}}
annotations:
  checksum/daemon-config: {{ include "multus.daemonConfig.upstream" . | sha256sum }}
hostPID: true
podSecurityContext: {}
initContainers:
  {{- include "multus.installContainer" (dict "root" . "name" "install-multus" "volume" "cnibin" "type" "thick") | nindent 2 }}
  {{- if $paths.alsoBinOnHost }}
  {{- include "multus.installContainer" (dict "root" . "name" "install-multus-also" "volume" "also-cnibin" "type" "thick") | nindent 2 }}
  {{- end }}
  {{- include "multus.referencePluginsContainer" . | nindent 2 }}
containers:
  - name: kube-multus
    image: {{ include "multus.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [/usr/src/multus-cni/bin/multus-daemon]
    {{- with .Values.extraArgs }}
    args:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- include "multus.env" (dict "root" . "env" (list (dict "name" "MULTUS_NODE_NAME" "valueFrom" (dict "fieldRef" (dict "fieldPath" "spec.nodeName"))))) | nindent 4 }}
    resources:
      {{- include "multus.resources" . | nindent 6 }}
    securityContext:
      privileged: true
    terminationMessagePolicy: FallbackToLogsOnError
    volumeMounts:
      - name: cni
        mountPath: /host/etc/cni/net.d
      {{- if $node.hostLinks }}
      - name: linked
        mountPath: {{ $node.hostLinks }}
        readOnly: true
      {{- end }}
      {{- if not (hasPrefix (printf "%s/" ($node.hostLinks | default "/nowhere")) $paths.binOnHost) }}
      - name: cnibin
        mountPath: {{ $paths.binOnHost }}
      {{- end }}
      - name: host-run
        mountPath: /host/run
      - name: host-var-lib-cni-multus
        mountPath: /var/lib/cni/multus
      - name: host-var-lib-kubelet
        mountPath: /var/lib/kubelet
        mountPropagation: HostToContainer
      - name: host-run-k8s-cni-cncf-io
        mountPath: /run/k8s.cni.cncf.io
      - name: host-run-netns
        mountPath: /run/netns
        mountPropagation: HostToContainer
      - name: multus-daemon-config
        mountPath: /etc/cni/net.d/multus.d
        readOnly: true
      - name: hostroot
        mountPath: /hostroot
        mountPropagation: HostToContainer
      - name: multus-conf-dir
        mountPath: /etc/cni/multus/net.d
      {{- with .Values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  {{- include "multus.hostFolder" (dict "name" "cni" "path" $node.configDir) | nindent 2 }}
  {{- include "multus.hostFolder" (dict "name" "cnibin" "path" $paths.binOnHost) | nindent 2 }}
  {{- with $paths.alsoBinOnHost }}
  {{- include "multus.hostFolder" (dict "name" "also-cnibin" "path" .) | nindent 2 }}
  {{- end }}
  {{- with $node.hostLinks }}
  {{- include "multus.hostFolder" (dict "name" "linked" "path" .) | nindent 2 }}
  {{- end }}
  - name: hostroot
    hostPath:
      path: /
  - name: multus-daemon-config
    configMap:
      name: {{ include "multus.configMapName" . }}
      items:
        - key: daemon-config.json
          path: daemon-config.json
  - name: host-run
    hostPath:
      path: /run
  {{- include "multus.hostFolder" (dict "name" "host-var-lib-cni-multus" "path" "/var/lib/cni/multus") | nindent 2 }}
  {{- include "multus.hostFolder" (dict "name" "host-var-lib-kubelet" "path" $node.kubeletDir) | nindent 2 }}
  {{- include "multus.hostFolder" (dict "name" "host-run-k8s-cni-cncf-io" "path" "/run/k8s.cni.cncf.io") | nindent 2 }}
  {{- include "multus.hostFolder" (dict "name" "host-run-netns" "path" $node.netnsDir) | nindent 2 }}
  {{- include "multus.hostFolder" (dict "name" "multus-conf-dir" "path" "/etc/cni/multus/net.d") | nindent 2 }}
{{- end -}}

{{/* The daemon's configuration. Its folders are as the container sees them, binDir as the node does. */}}
{{- define "multus.daemonConfig.upstream" -}}
{{- $config := .Values.config -}}
{{- $paths := include "multus.thin.paths" . | fromJson -}}
{{- $keys := dict
      "chrootDir" "/hostroot"
      "cniVersion" "0.3.1"
      "logLevel" ($config.log.level | default "verbose")
      "logToStderr" $config.log.toStderr
      "cniConfigDir" "/host/etc/cni/net.d"
      "multusAutoconfigDir" "/host/etc/cni/net.d"
      "multusConfigFile" "auto"
      "socketDir" "/host/run/multus/" -}}
{{- if ne $paths.binOnHost "/opt/cni/bin" -}}
{{- $_ := set $keys "binDir" $paths.binOnHost -}}
{{- end -}}
{{- with include "multus.upstream.primaryFile" . -}}
{{- $_ := set $keys "multusMasterCNI" . -}}
{{- end -}}
{{- with $config.log.file -}}
{{- /* As the node has it: the shim logs to it as well. The pod has its folder at the same path. */ -}}
{{- $_ := set $keys "logFile" . -}}
{{- end -}}
{{- if $config.namespaceIsolation.enabled -}}
{{- $_ := set $keys "namespaceIsolation" true -}}
{{- end -}}
{{- with $config.namespaceIsolation.globalNamespaces -}}
{{- $_ := set $keys "globalNamespaces" (join "," .) -}}
{{- end -}}
{{- if $config.overrideNetworkName -}}
{{- $_ := set $keys "overrideNetworkName" true -}}
{{- end -}}
{{- with $config.readinessIndicatorFile -}}
{{- /* The daemon alone waits for it, and sees the node's files elsewhere. */ -}}
{{- $here := eq (dir .) (include "multus.node" $ | fromJson).configDir | ternary (printf "/host/etc/cni/net.d/%s" (base .)) (printf "/hostroot%s" .) -}}
{{- $_ := set $keys "readinessindicatorfile" $here -}}
{{- end -}}
{{- with $config.systemNamespaces -}}
{{- $_ := set $keys "systemNamespaces" . -}}
{{- end -}}
{{- with .Values.network.attachToAll -}}
{{- $_ := set $keys "defaultNetworks" . -}}
{{- end -}}
{{- with .Values.metrics.port -}}
{{- $_ := set $keys "metricsPort" (int .) -}}
{{- end -}}
{{- if ne (include "multus.namespace" .) "kube-system" -}}
{{- $_ := set $keys "multusNamespace" (include "multus.namespace" .) -}}
{{- end -}}
{{- range $key, $value := $config.raw -}}
{{- $_ := set $keys $key $value -}}
{{- end -}}
{{- $keys | toPrettyJson -}}
{{- end -}}
