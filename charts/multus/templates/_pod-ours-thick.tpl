{{/*
Thick mode of multus-rs: the runtime calls `multus-shim` on the node, which does the work there and asks the daemon in this pod for
networks, and hands it what is to be written. No plugin runs in here, so nothing needs a capability, the node's processes or its root.

Two containers: the daemon reads the cluster and the node's plugins and writes the node's configuration; `shim` writes the plugins'
folder, and speaks to nobody but the API server.
*/}}

{{- define "multus.pod.multus-rs.thick" -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- $paths := include "multus.ours.thick.paths" . | fromJson -}}
{{- $name := list (dict "name" "MULTUS_NODE_NAME" "valueFrom" (dict "fieldRef" (dict "fieldPath" "spec.nodeName"))) -}}
annotations:
  checksum/daemon-config: {{ include "multus.daemonConfig.multus-rs" . | sha256sum }}
podSecurityContext:
  seccompProfile:
    type: RuntimeDefault
initContainers:
  {{- include "multus.ours.install" . | nindent 2 }}
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
    {{- include "multus.env" (dict "root" . "env" $name) | nindent 4 }}
    # Ready: networks can be looked up, and the runtime calls the shim. Else the reason stands in the pod's events.
    {{- include "multus.ours.readiness" (list "/usr/src/multus-cni/bin/multus-daemon" "-probe=node") | nindent 4 }}
    livenessProbe:
      exec:
        command: [/usr/src/multus-cni/bin/multus-daemon, -probe=healthz]
      initialDelaySeconds: 30
      periodSeconds: 60
      timeoutSeconds: 10
      failureThreshold: 3
    resources:
      {{- include "multus.resources" . | nindent 6 }}
    securityContext:
      {{- include "multus.unprivileged" (dict "root" .) | nindent 6 }}
    terminationMessagePolicy: FallbackToLogsOnError
    volumeMounts:
      {{- include "multus.ours.thick.mounts" (dict "paths" $paths "writes" "conf") | nindent 6 }}
      # The socket that the shim asks at, and what it leaves there to be written later.
      - name: run
        mountPath: /run/multus
      - name: journals
        mountPath: {{ $paths.journals }}
        readOnly: true
      # Which devices the kubelet has given to a pod.
      - name: pod-resources
        mountPath: /var/lib/kubelet/pod-resources
        readOnly: true
      - name: multus-daemon-config
        mountPath: /etc/cni/net.d/multus.d
        readOnly: true
      {{- with $paths.indicator }}
      - name: indicator
        mountPath: {{ dir .here }}
        readOnly: true
      {{- end }}
      {{- with .Values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  # Keeps the shim where the runtime looks for it, and takes it away when Multus is uninstalled.
  - name: shim
    image: {{ include "multus.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [/usr/src/multus-cni/bin/install_multus]
    args:
      - --keep
      {{- include "multus.ours.keep" . | nindent 6 }}
    {{- include "multus.env" (dict "root" . "env" $name) | nindent 4 }}
    {{- $flags := include "multus.ours.keep" . | fromYamlArray }}
    {{- include "multus.ours.readiness" (concat (list "/usr/src/multus-cni/bin/install_multus" "--healthy") $flags) | nindent 4 }}
    resources:
      {{- include "multus.resources" . | nindent 6 }}
    securityContext:
      {{- include "multus.unprivileged" (dict "root" .) | nindent 6 }}
    terminationMessagePolicy: FallbackToLogsOnError
    volumeMounts:
      {{- include "multus.ours.thick.mounts" (dict "paths" $paths "writes" "bin") | nindent 6 }}
      # Whether pods on the node still need the shim when it is to be removed.
      - name: journals
        mountPath: {{ $paths.journals }}
        readOnly: true
      - name: results
        mountPath: /var/lib/cni/results
        readOnly: true
volumes:
  {{- include "multus.ours.thick.volumes" . | nindent 2 }}
{{- end -}}

{{/*
What is where: {conf, bins, journals, mounts, indicator}. `bins` are the plugins' folders as the containers see them, that first which stays where it is; `mounts` what
they are seen through: {name, path, mountPath}.
*/}}
{{- define "multus.ours.thick.paths" -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- $thin := include "multus.thin.paths" . | fromJson -}}
{{- $followed := printf "%s/" ($node.followLinks | default "/nowhere") -}}
{{- $bins := list -}}
{{- $mounts := list -}}
{{- range $name, $dir := dict "also-cnibin" $thin.alsoBinOnHost "cnibin" $thin.binOnHost -}}
{{- if not $dir -}}
{{- else if hasPrefix $followed $dir -}}
{{- $bins = append $bins $dir -}}
{{- else -}}
{{- $bins = append $bins (printf "/host%s" $dir) -}}
{{- if and (hasSuffix "/cni/bin" $dir) (not (hasPrefix "/var/lib/cni/" $dir)) -}}
{{- /* /opt/cni holds nothing but the folder of the plugins; through it, one that is put in its place is seen. */ -}}
{{- $mounts = append $mounts (dict "name" (printf "%s-parent" $name) "path" (dir $dir) "mountPath" (printf "/host%s" (dir $dir))) -}}
{{- else -}}
{{- $mounts = append $mounts (dict "name" $name "path" $dir "mountPath" (printf "/host%s" $dir)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $node.followLinks -}}
{{- $mounts = append $mounts (dict "name" "linked" "path" . "mountPath" .) -}}
{{- end -}}
{{- $indicator := dict -}}
{{- with .Values.config.readinessIndicatorFile -}}
{{- if eq (dir .) $node.configDir -}}
{{- $indicator = dict "file" (printf "%s/%s" $thin.conf (base .)) -}}
{{- else -}}
{{- $indicator = dict "file" (printf "/host/readiness-indicator/%s" (base .)) "here" (printf "/host/readiness-indicator/%s" (base .)) "path" (dir .) -}}
{{- end -}}
{{- end -}}
{{- dict "conf" $thin.conf "confIsLinked" (ne $thin.conf "/host/etc/cni/net.d") "bins" (reverse $bins) "mounts" $mounts "journals" (.Values.config.raw.cniDir | default "/var/lib/cni/multus") "indicator" $indicator | toJson -}}
{{- end -}}

{{/* Mounts of the folders that a runtime reads; a dict with `paths` and `writes`: "conf" or "bin". */}}
{{- define "multus.ours.thick.mounts" -}}
{{- $writesBin := eq .writes "bin" -}}
{{- if not .paths.confIsLinked -}}
- name: cni
  mountPath: {{ .paths.conf }}
  {{- if $writesBin }}
  readOnly: true
  {{- end }}
{{- end }}
{{- range .paths.mounts }}
- name: {{ .name }}
  mountPath: {{ .mountPath }}
  {{- if not (or $writesBin (and $.paths.confIsLinked (eq .name "linked"))) }}
  readOnly: true
  {{- end }}
{{- end }}
{{- end -}}

{{- define "multus.ours.thick.volumes" -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- $paths := include "multus.ours.thick.paths" . | fromJson -}}
{{- $thin := include "multus.thin.paths" . | fromJson -}}
{{- if not $paths.confIsLinked -}}
{{ include "multus.hostFolder" (dict "name" "cni" "path" $node.configDir) }}
{{- end }}
{{- range $name, $dir := dict "cnibin" $thin.binOnHost "also-cnibin" $thin.alsoBinOnHost }}
{{- with $dir }}
{{ include "multus.hostFolder" (dict "name" $name "path" .) }}
{{- end }}
{{- end }}
{{- range $paths.mounts }}
{{- if not (has .name (list "cnibin" "also-cnibin")) }}
{{ include "multus.hostFolder" . }}
{{- end }}
{{- end }}
{{ include "multus.hostFolder" (dict "name" "run" "path" "/run/multus") }}
{{ include "multus.hostFolder" (dict "name" "journals" "path" $paths.journals) }}
{{ include "multus.hostFolder" (dict "name" "results" "path" "/var/lib/cni/results") }}
{{ include "multus.hostFolder" (dict "name" "pod-resources" "path" (printf "%s/pod-resources" $node.kubeletDir)) }}
- name: multus-daemon-config
  configMap:
    name: {{ include "multus.configMapName" . }}
    items:
      - key: daemon-config.json
        path: daemon-config.json
{{- with $paths.indicator.path }}
{{ include "multus.hostFolder" (dict "name" "indicator" "path" .) }}
{{- end }}
{{- end -}}

{{/* The init container that puts the shim where the runtime looks for plugins; each folder is made where it is missing. */}}
{{- define "multus.ours.install" -}}
{{- $thin := include "multus.thin.paths" . | fromJson -}}
- name: install-multus
  image: {{ include "multus.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [/usr/src/multus-cni/bin/install_multus]
  args:
    - --type=thick
    - --dest-dir=/host/opt/cni/bin
    {{- if $thin.alsoBinOnHost }}
    - --dest-dir=/host/opt/cni/also-bin
    {{- end }}
  resources:
    {{- include "multus.resources" . | nindent 4 }}
  securityContext:
    {{- include "multus.unprivileged" (dict "root" .) | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - name: cnibin
      mountPath: /host/opt/cni/bin
    {{- if $thin.alsoBinOnHost }}
    - name: also-cnibin
      mountPath: /host/opt/cni/also-bin
    {{- end }}
{{- end -}}

{{/* Flags of the container `shim` that its probe needs as well. */}}
{{- define "multus.ours.keep" -}}
{{- $paths := include "multus.ours.thick.paths" . | fromJson -}}
- --type=thick
{{- range $paths.bins }}
- --dest-dir={{ . }}
{{- end }}
- --cni-conf-dir={{ $paths.conf }}
- --owner={{ include "multus.owner" . }}
- --daemonset={{ include "multus.namespace" . }}/{{ include "multus.daemonSetName" . }}
- --node-name=$(MULTUS_NODE_NAME)
{{- if ne $paths.journals "/var/lib/cni/multus" }}
- --journals={{ $paths.journals }}
{{- end }}
{{- end -}}

{{/* The daemon's configuration. What is not the daemon's own goes into the CNI configuration, with paths as the node has them. */}}
{{- define "multus.daemonConfig.multus-rs" -}}
{{- $config := .Values.config -}}
{{- $paths := include "multus.ours.thick.paths" . | fromJson -}}
{{- $binOnHost := (include "multus.thin.paths" . | fromJson).binOnHost -}}
{{- $keys := dict
      "cniConfigDir" $paths.conf
      "configFileName" (eq .Values.cni.configFile "00-multus.conf" | ternary "auto" .Values.cni.configFile)
      "shimDir" (first $paths.bins)
      "socketDir" "/run/multus"
      "daemonSet" (printf "%s/%s" (include "multus.namespace" .) (include "multus.daemonSetName" .))
      "owner" (include "multus.owner" .)
      "events" (eq $config.events "none" | ternary "off" $config.events)
      "logLevel" ($config.log.level | default "verbose")
      "logToStderr" $config.log.toStderr
      "logFormat" $config.log.format -}}
{{- if ne $binOnHost "/opt/cni/bin" -}}
{{- $_ := set $keys "binDir" $binOnHost -}}
{{- end -}}
{{- with .Values.takeOverFrom -}}
{{- $_ := set $keys "takeOverFrom" . -}}
{{- end -}}
{{- with .Values.network.defaultNetwork -}}
{{- $_ := set $keys "defaultNetwork" . -}}
{{- end -}}
{{- if .Values.network.requireDefault -}}
{{- $_ := set $keys "requireDefaultNetwork" true -}}
{{- end -}}
{{- with $config.log.file -}}
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
{{- with $paths.indicator.file -}}
{{- $_ := set $keys "readinessindicatorfile" . -}}
{{- end -}}
{{- if .Values.metrics.port -}}
{{- $_ := set $keys "metricsPort" (int .Values.metrics.port) -}}
{{- with .Values.metrics.address -}}
{{- $_ := set $keys "metricsAddress" . -}}
{{- end -}}
{{- end -}}
{{- with include "multus.ours.netconf" . -}}
{{- range $key, $value := fromJson . -}}
{{- $_ := set $keys $key $value -}}
{{- end -}}
{{- end -}}
{{- $keys | toPrettyJson -}}
{{- end -}}
