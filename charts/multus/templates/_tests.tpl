{{/* What the objects of `helm test` have in common. They are made for the test and are gone after it, unless it fails. */}}

{{/* Annotations: a dict with `weight` and, for pods, `networks`. Those of one weight are made together, the smallest first. */}}
{{- define "multus.test.annotations" -}}
{{- $annotations := dict "helm.sh/hook" "test" "helm.sh/hook-weight" (toString .weight) "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" -}}
{{- with .networks -}}
{{- $_ := set $annotations "k8s.v1.cni.cncf.io/networks" . -}}
{{- end -}}
{{- $annotations | toJson -}}
{{- end -}}

{{/* `metadata`: a dict with `root`, `name`, `weight` and `networks`. Not labelled app: multus, which is the DaemonSet's. */}}
{{- define "multus.test.metadata" -}}
name: {{ .name }}
namespace: {{ include "multus.namespace" .root | toYaml }}
labels:
  {{- omit (include "multus.labels" .root | fromYaml) "app" "tier" | toYaml | nindent 2 }}
annotations:
  {{- include "multus.test.annotations" . | fromJson | toYaml | nindent 2 }}
{{- end -}}

{{/*
Those of the DaemonSet, less those of a node's own state: the DaemonSet runs on nodes that are cordoned or not ready, a test pod would
wait there. What tolerates all taints becomes the taints of nodes for the control plane.
*/}}
{{- define "multus.test.tolerations" -}}
{{- $all := list -}}
{{- range .Values.tolerations -}}
{{- if not .key -}}
{{- $all = append $all (merge (dict "key" "node-role.kubernetes.io/control-plane") .) -}}
{{- $all = append $all (merge (dict "key" "CriticalAddonsOnly") .) -}}
{{- else if not (hasPrefix "node.kubernetes.io/" .key) -}}
{{- $all = append $all . -}}
{{- end -}}
{{- end -}}
{{- $all | uniq | toYaml -}}
{{- end -}}

{{/* `spec` of a pod: a dict with `root`, `arguments` and, where the pod has its own, `spec` and `container`. */}}
{{- define "multus.test.spec" -}}
restartPolicy: Never
{{- with .spec }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with include "multus.imagePullSecrets" .root }}
{{- . | nindent 0 }}
{{- end }}
securityContext:
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "multus.test.tolerations" .root | fromYamlArray }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: test
    image: {{ include "multus.toolsImage" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [/usr/src/multus-cni/bin/chart_test]
    args:
      {{- toYaml .arguments | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      {{- if ne (include "multus.node" .root | fromJson).platform "openshift" }}
      {{- /* There the constraint says it, where one counts: in kube-system none does. */}}
      runAsNonRoot: true
      runAsUser: 65534
      runAsGroup: 65534
      {{- end }}
      capabilities:
        drop: [ALL]
    resources:
      requests:
        cpu: 10m
        memory: 16Mi
      limits:
        memory: 64Mi
    terminationMessagePolicy: FallbackToLogsOnError
    {{- with .container }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
