{{/* What the pods of both engines and modes have in common. The container and volumes: _pod-*.tpl. */}}

{{- define "multus.pod" -}}
{{- $kind := printf "multus.pod.%s.%s" (include "multus.engine" .) (include "multus.mode" .) -}}
{{- $pod := include $kind . | fromYaml -}}
{{- if $pod.Error -}}{{- fail (printf "%s renders no YAML: %s" $kind $pod.Error) -}}{{- end -}}
{{- if eq (include "multus.mode" .) "thick" -}}{{- include "multus.mountLog" (dict "file" .Values.config.log.file "pod" $pod) -}}{{- end -}}
{{- include "multus.guard.names" (dict "root" . "pod" $pod) -}}
metadata:
  labels:
    {{- /* Without versions: an upgrade that changes nothing of the pods leaves them running. */}}
    {{- $names := dict "app" "multus" "name" "multus" "tier" "node" "app.kubernetes.io/name" "multus" "app.kubernetes.io/instance" .Release.Name }}
    {{- include "multus.union" (list .Values.global.commonLabels .Values.podLabels $names) | nindent 4 }}
  annotations:
    {{- /* The node's pods cannot start without it; a scale-down must take it last. */}}
    {{- $ours := dict "cluster-autoscaler.kubernetes.io/enable-ds-eviction" "false" "kubectl.kubernetes.io/default-container" "kube-multus" }}
    {{- include "multus.union" (list $ours .Values.global.commonAnnotations .Values.podAnnotations $pod.annotations) | nindent 4 }}
spec:
  serviceAccountName: {{ include "multus.serviceAccountName" . | toYaml }}
  {{- with include "multus.imagePullSecrets" . }}
  {{- . | nindent 2 }}
  {{- end }}
  # It must run before pods have a network, and makes that network.
  hostNetwork: true
  {{- if $pod.hostPID }}
  hostPID: true
  {{- end }}
  # The node's own resolver: the cluster's needs a pod network.
  dnsPolicy: Default
  priorityClassName: {{ .Values.priorityClassName }}
  terminationGracePeriodSeconds: 60
  securityContext:
    {{- toYaml $pod.podSecurityContext | nindent 4 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with concat ($pod.initContainers | default list) .Values.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    {{- toYaml (concat $pod.containers .Values.extraContainers) | nindent 4 }}
  volumes:
    {{- toYaml (concat $pod.volumes .Values.extraVolumes) | nindent 4 }}
{{- end -}}

{{/*
Gives the daemon the folder of the log `file`, at its own path, unless it has it already; a dict with `file` and `pod`, which is changed.
*/}}
{{- define "multus.mountLog" -}}
{{- $folder := dir (.file | default "/") -}}
{{- $main := first .pod.containers -}}
{{- $there := false -}}
{{- range $main.volumeMounts -}}
{{- if and $.file .readOnly (hasPrefix (printf "%s/" .mountPath) $.file) -}}
{{- include "multus.fail" (printf "config.log.file: %s is below %s, which the daemon may only read.\nChoose another folder, for example /var/log/multus/multus.log." $.file .mountPath) -}}
{{- end -}}
{{- if eq .mountPath $folder -}}{{- $there = true -}}{{- end -}}
{{- end -}}
{{- if and .file (eq $folder "/") -}}
{{- include "multus.fail" (printf "config.log.file: %s is in the node's root, which cannot be given to the daemon.\nChoose a folder, for example /var/log/multus/multus.log." .file) -}}
{{- end -}}
{{- if and .file (not $there) -}}
{{- $_ := set $main "volumeMounts" (append $main.volumeMounts (dict "name" "log" "mountPath" $folder)) -}}
{{- $_ := set .pod "volumes" (concat .pod.volumes (include "multus.hostFolder" (dict "name" "log" "path" $folder) | fromYamlArray)) -}}
{{- end -}}
{{- end -}}

{{/*
The least that can write a folder of the node's: root without a single capability. A dict with `root`.
*/}}
{{- define "multus.unprivileged" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsUser: 0
runAsGroup: 0
capabilities:
  drop: [ALL]
seLinuxOptions:
  type: {{ (include "multus.node" .root | fromJson).seLinuxType }}
{{- end -}}

{{/* A probe of the node's state, by this command. Not more often: each one is a process within the container's own limits. */}}
{{- define "multus.ours.readiness" -}}
readinessProbe:
  exec:
    command:
      {{- toYaml . | nindent 6 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{/* A folder of the node's: a dict with `name` and `path`. */}}
{{- define "multus.hostFolder" -}}
- name: {{ .name }}
  hostPath:
    path: {{ .path }}
    type: DirectoryOrCreate
{{- end -}}

{{/*
What a container gets where the user asks for nothing. Plugins run on the node and not in here, but for upstream's daemon, which runs
every plugin of every pod within its own limits.
*/}}
{{- define "multus.resources" -}}
{{- if .Values.resources -}}
{{- toYaml .Values.resources -}}
{{- else if or (eq (include "multus.mode" .) "thin") (eq (include "multus.engine" .) "multus-rs") -}}
requests:
  cpu: 10m
  memory: 20Mi
limits:
  memory: 100Mi
{{- else -}}
requests:
  cpu: 100m
  memory: 128Mi
limits:
  memory: 1Gi
{{- end -}}
{{- end -}}

{{/* Environment that all have: a dict with `root` and `env`, a list; a variable of the user's takes the place of ours. */}}
{{- define "multus.env" -}}
{{- $env := .env -}}
{{- with .root.Values.apiServer.host -}}
{{- $env = append $env (dict "name" "KUBERNETES_SERVICE_HOST" "value" .) -}}
{{- end -}}
{{- with .root.Values.apiServer.port -}}
{{- $env = append $env (dict "name" "KUBERNETES_SERVICE_PORT" "value" (toString .)) -}}
{{- end -}}
{{- $given := list -}}
{{- range .root.Values.extraEnv -}}
{{- $given = append $given .name -}}
{{- end -}}
{{- $kept := list -}}
{{- range $env -}}
{{- if not (has .name $given) -}}
{{- $kept = append $kept . -}}
{{- end -}}
{{- end -}}
{{- with concat $kept .root.Values.extraEnv -}}
env:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}
