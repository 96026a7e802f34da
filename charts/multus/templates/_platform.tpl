{{/*
Where the node's CNI folders are. What the user wrote wins; else the platform says, from files/platforms.yaml; the platform is the one
that is set, or that cni.configDir and cni.binDir lie in, or that the cluster's version names, or "generic".
*/}}

{{/* {name, reason} as JSON. */}}
{{- define "multus.platform" -}}
{{- $version := .Capabilities.KubeVersion.Version -}}
{{- $dirs := list .Values.cni.configDir .Values.cni.binDir -}}
{{- $name := "" -}}
{{- $reason := "" -}}
{{- if .Values.platform -}}
{{- $name = .Values.platform -}}
{{- $reason = "platform is set" -}}
{{- else -}}
{{- range $dirs -}}
{{- if and (not $name) (hasPrefix "/var/lib/rancher/k3s/" .) -}}
{{- $name = "k3s" -}}
{{- $reason = printf "%s is one of its folders" . -}}
{{- else if and (not $name) (hasPrefix "/var/lib/rancher/rke2/" .) -}}
{{- $name = "rke2" -}}
{{- $reason = printf "%s is one of its folders" . -}}
{{- end -}}
{{- end -}}
{{- range $mark, $platform := dict "+k3s" "k3s" "+rke2" "rke2" "+k0s" "k0s" "-gke." "gke" "-eks-" "eks" -}}
{{- if and (not $name) (contains $mark $version) -}}
{{- $name = $platform -}}
{{- $reason = printf "the cluster's version is %s" $version -}}
{{- end -}}
{{- end -}}
{{- if not $name -}}
{{- $name = "generic" -}}
{{- $reason = printf "nothing says otherwise; the cluster's version is %s" $version -}}
{{- end -}}
{{- end -}}
{{- if and (eq $name "k3s") (contains "+k3s" $version) (include "multus.oldK3s" .) -}}
{{- $name = "k3s-legacy" -}}
{{- $reason = printf "%s; a release from before the folder data/cni" $reason -}}
{{- end -}}
{{- dict "name" $name "reason" $reason | toJson -}}
{{- end -}}

{{/*
The platform whose marks a Node object carries; empty where it carries none. It never chooses: what is rendered does not depend on
whether a cluster answers.
*/}}
{{- define "multus.platformOfNode" -}}
{{- $labels := .metadata.labels | default dict -}}
{{- $os := dig "status" "nodeInfo" "osImage" "" . -}}
{{- if hasPrefix "kind://" (dig "spec" "providerID" "" .) -}}kind
{{- else if hasPrefix "Talos (" $os -}}talos
{{- else if hasPrefix "Bottlerocket OS " $os -}}bottlerocket
{{- else if hasKey $labels "microk8s.io/cluster" -}}microk8s
{{- else if hasKey $labels "kubernetes.azure.com/cluster" -}}aks
{{- end -}}
{{- end -}}

{{/* "true" for releases of k3s whose plugins lie behind the link data/current: before 1.28.15, 1.29.10, 1.30.6 and 1.31.2. */}}
{{- define "multus.oldK3s" -}}
{{- $version := regexFind "[0-9]+\\.[0-9]+\\.[0-9]+" .Capabilities.KubeVersion.Version -}}
{{- if or (semverCompare "<1.28.15" $version) (semverCompare ">=1.29.0 <1.29.10" $version) (semverCompare ">=1.30.0 <1.30.6" $version) (semverCompare ">=1.31.0 <1.31.2" $version) -}}true{{- end -}}
{{- end -}}

{{/* All that templates need to know of the node, as JSON. */}}
{{- define "multus.node" -}}
{{- $platform := include "multus.platform" . | fromJson -}}
{{- $platforms := .Files.Get "files/platforms.yaml" | fromYaml -}}
{{- $facts := get $platforms $platform.name -}}
{{- if not $facts -}}
{{- fail (printf "\n\nplatform: %q is not known.\nKnown are: %s.\nLeave it empty to let the chart choose, or use \"generic\" with cni.configDir and cni.binDir.\n" $platform.name (keys $platforms | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $node := deepCopy $facts -}}
{{- $_ := set $node "platform" $platform.name -}}
{{- $_ := set $node "platformReason" $platform.reason -}}
{{- if .Values.k3s.disableFlannel -}}
{{- /* By hand: merge takes what is empty for what is missing. */ -}}
{{- range $key, $value := omit (get $platforms "generic") "lacksPlugins" -}}
{{- $_ := set $node $key $value -}}
{{- end -}}
{{- end -}}
{{- $_ := set $node "usualConfigDir" $node.configDir -}}
{{- range $key := list "configDir" "binDir" -}}
{{- with get $.Values.cni $key -}}
{{- $_ := set $node $key (trimSuffix "/" .) -}}
{{- end -}}
{{- end -}}
{{- /* k3s' data directory, wherever it is: data/cni stays, data/current is another folder after each upgrade. */ -}}
{{- with regexFind "^/.*/data/(cni|current/bin)$" $node.binDir -}}
{{- $data := regexFind "^/.*/data/" . | trimSuffix "/" -}}
{{- if $node.alsoBinDir -}}{{- $_ := set $node "alsoBinDir" (printf "%s/cni" $data) -}}{{- end -}}
{{- if $node.hostLinks -}}{{- $_ := set $node "hostLinks" $data -}}{{- end -}}
{{- if hasSuffix "/current/bin" . -}}{{- $_ := set $node "followLinks" $data -}}{{- end -}}
{{- end -}}
{{- if eq $node.alsoBinDir $node.binDir -}}
{{- $_ := set $node "alsoBinDir" "" -}}
{{- end -}}
{{- if and $node.followLinks (not (hasPrefix (printf "%s/" $node.followLinks) $node.binDir)) -}}
{{- $_ := set $node "followLinks" "" -}}
{{- end -}}
{{- $_ := set $node "kubeconfig" (printf "%s/multus.d/multus.kubeconfig" $node.configDir) -}}
{{- $_ := set $node "seLinuxType" (.Values.security.seLinuxType | default $node.seLinuxType) -}}
{{- $node | toJson -}}
{{- end -}}

{{/* "true" where the chart brings the CNI reference plugins. */}}
{{- define "multus.referencePlugins" -}}
{{- $wanted := .Values.referencePlugins.enabled | toString -}}
{{- if eq $wanted "auto" -}}
{{- if (include "multus.node" . | fromJson).lacksPlugins -}}true{{- end -}}
{{- else if eq $wanted "true" -}}true{{- end -}}
{{- end -}}
