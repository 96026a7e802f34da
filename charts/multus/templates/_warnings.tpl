{{/*
What works, but perhaps not as the user expects: a JSON list of texts, for NOTES.txt. What cannot work is in _guards.tpl.
*/}}

{{- define "multus.warnings" -}}
{{- $all := list -}}
{{- range $part := list "image" "folders" "platform" "engine" "openshift" "nodes" "resources" "networks" -}}
{{- $all = concat $all (include (printf "multus.warnings.%s" $part) $ | fromJsonArray) -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{- define "multus.warnings.image" -}}
{{- $all := list -}}
{{- $tag := include "multus.tag" . -}}
{{- $version := include "multus.engineVersion" . -}}
{{- $upstream := eq (include "multus.engine" .) "upstream" -}}
{{- if include "multus.tagMoves" . -}}
{{- $all = append $all (printf "image.tag: %s is another image tomorrow, and each node has the one of the day it pulled. Set a version." $tag) -}}
{{- end -}}
{{- if and $upstream (eq $version "4.0.0") -}}
{{- $all = append $all (printf "If %s cannot be pulled: v4.0.2 is the oldest of\nupstream's images that is known to be there, v%s the newest that this chart was tried with." (include "multus.image" .) (include "multus.newestUpstream" .)) -}}
{{- end -}}
{{- if and $upstream (eq $version "4.2.1") -}}
{{- $all = append $all "Upstream's image v4.2.1 is reported to lack its installer (k8snetworkplumbingwg/multus-cni#1436). Use v4.2.2 or later." -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Folders that the container runtime of this cluster does not read. */}}
{{- define "multus.warnings.folders" -}}
{{- $all := list -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- $k3s := contains "+k3s" .Capabilities.KubeVersion.Version -}}
{{- /* With `platform` set, k3s' data directory may be elsewhere. */ -}}
{{- if and $k3s (not .Values.platform) (not .Values.k3s.disableFlannel) (not (hasPrefix "/var/lib/rancher/k3s/" $node.configDir)) -}}
{{- $all = append $all (printf "This is k3s, and with its own Flannel it reads CNI configurations from /var/lib/rancher/k3s/agent/etc/cni/net.d only.\ncni.configDir is %s: Multus will wait there for a network that does not come, and pods get no further networks.\nLeave cni.configDir and cni.binDir empty, or add -f values-multus-k3s.yaml. If k3s runs with --flannel-backend=none, set\nk3s.disableFlannel: true; if its --data-dir is elsewhere, platform: k3s." $node.configDir) -}}
{{- end -}}
{{- if and (not $k3s) (contains "+" .Capabilities.KubeVersion.Version | or (include "multus.live" .)) (hasPrefix "k3s" $node.platform) (not .Values.platform) -}}
{{- $all = append $all (printf "cni.configDir or cni.binDir is one of k3s' folders, but the cluster's version (%s) is not k3s'. Elsewhere they are /etc/cni/net.d and\n/opt/cni/bin; leave them empty to let the chart choose." .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and $node.lacksPlugins (not (include "multus.referencePlugins" .)) -}}
{{- $all = append $all (printf "%s comes without macvlan, ipvlan, static, dhcp and other CNI plugins, and referencePlugins.enabled is false. NADs that use them\nwork only if you install them in %s." $node.platform $node.binDir) -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Nodes of a platform that nobody named and that the version does not tell; needs a cluster. */}}
{{- define "multus.warnings.platform" -}}
{{- include "multus.warnings.platformOf" (dict "root" . "nodes" ((lookup "v1" "Node" "" "").items | default list)) -}}
{{- end -}}

{{/* The same for these `nodes`. */}}
{{- define "multus.warnings.platformOf" -}}
{{- $all := list -}}
{{- $chosen := (include "multus.node" .root | fromJson).platform -}}
{{- $found := dict -}}
{{- if not .root.Values.platform -}}
{{- range $node := .nodes -}}
{{- with include "multus.platformOfNode" $node -}}
{{- if ne . $chosen -}}{{- $_ := set $found . $node.metadata.name -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $platform, $name := $found -}}
{{- $all = append $all (printf "platform is empty, and so the folders and plugins are those of %s; but node %s is one of %s.\nSet platform: %s" $chosen $name $platform $platform) -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* What upstream's program does that ours does not. */}}
{{- define "multus.warnings.engine" -}}
{{- $all := list -}}
{{- $node := include "multus.node" . | fromJson -}}
{{- if eq (include "multus.engine" .) "upstream" -}}
{{- $thick := eq (include "multus.mode" .) "thick" -}}
{{- $follows := include "multus.upstreamFollowsPrimary" . -}}
{{- if not (or $thick $follows) -}}
{{- $all = append $all (printf "Upstream's Multus before 4.1 writes its token to the node once. Kubernetes lets it expire, in a year at most and in an hour on\nsome clusters; pods then fail with \"Unauthorized\" until the DaemonSet is restarted:\n  kubectl -n %s rollout restart daemonset %s" (include "multus.namespace" .) (include "multus.daemonSetName" .)) -}}
{{- $all = append $all "For a default network of CNI version 1.0.0 (k3s' Flannel is one) it writes 00-multus.conflist instead of 00-multus.conf." -}}
{{- end -}}
{{- if or $thick $follows -}}
{{- $all = append $all "Upstream's Multus removes its file from the node whenever its pod stops: pods that start during an upgrade or a restart of it run\nwithout their further networks, and nothing tells. multus-rs keeps it." -}}
{{- end -}}
{{- if and $thick (eq (include "multus.engineBefore" .) "multus-rs") -}}
{{- $all = append $all (printf "multus-rs ran here until now, and its file may stay beside upstream's, which the runtime reads first: %s/00-multus.conflist.\nIt does no harm while upstream's Multus runs. Remove it from the nodes when you uninstall." $node.configDir) -}}
{{- end -}}
{{- if hasSuffix "/data/current/bin" $node.binDir -}}
{{- $all = append $all "After an upgrade of k3s, restart the DaemonSet: the folder data/current is another one then, and upstream's Multus does not notice." -}}
{{- end -}}
{{- if and (not (regexMatch "^([^/]+\\.conf(list)?)?$" .Values.network.defaultNetwork)) (or $thick $follows) -}}
{{- $all = append $all (printf "network.defaultNetwork: %q is not the name of a file (10-flannel.conflist), and upstream's Multus knows no other way.\nIt takes %s." .Values.network.defaultNetwork (include "multus.upstream.primaryFile" . | default "the first file in the folder")) -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{- define "multus.warnings.openshift" -}}
{{- $all := list -}}
{{- if and (.Capabilities.APIVersions.Has "security.openshift.io/v1") (ne .Values.platform "openshift") -}}
{{- $all = append $all "This is OpenShift, whose network operator already runs Multus. Use that one, unless you have switched it off; then set\nplatform: openshift." -}}
{{- else if eq .Values.platform "openshift" -}}
{{- $all = append $all "OpenShift's network operator already runs Multus unless it is switched off (disableMultiNetwork: true in its configuration)." -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Nodes that nodeSelector chooses and tolerations leave out; needs a cluster. */}}
{{- define "multus.warnings.nodes" -}}
{{- $all := list -}}
{{- $left := list -}}
{{- range (lookup "v1" "Node" "" "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- $chosen := true -}}
{{- range $key, $value := $.Values.nodeSelector -}}
{{- if ne (get $labels $key | toString) ($value | toString) -}}{{- $chosen = false -}}{{- end -}}
{{- end -}}
{{- $covered := true -}}
{{- range $taint := .spec.taints -}}
{{- /* Those of the node's own state every DaemonSet tolerates. */ -}}
{{- $state := hasPrefix "node.kubernetes.io/" $taint.key -}}
{{- $tolerated := or $state (eq $taint.effect "PreferNoSchedule") -}}
{{- range $toleration := $.Values.tolerations -}}
{{- $effect := or (not $toleration.effect) (eq $toleration.effect $taint.effect) -}}
{{- $exists := eq ($toleration.operator | default "Equal") "Exists" -}}
{{- $key := or (and $exists (not $toleration.key)) (eq ($toleration.key | default "") $taint.key) -}}
{{- $value := or $exists (eq ($toleration.value | default "") ($taint.value | default "")) -}}
{{- if and $effect $key $value -}}{{- $tolerated = true -}}{{- end -}}
{{- end -}}
{{- if not $tolerated -}}{{- $covered = false -}}{{- end -}}
{{- end -}}
{{- if and $chosen (not $covered) -}}
{{- $left = append $left .metadata.name -}}
{{- end -}}
{{- end -}}
{{- with $left -}}
{{- $shown := gt (len .) 5 | ternary (printf "%s and %d more" (slice . 0 (min 5 (len .) | int) | join ", ") (sub (len .) 5)) (join ", " .) -}}
{{- $all = append $all (printf "tolerations: these nodes have taints that are not tolerated, so Multus does not run there, and pods on them get no further\nnetworks: %s. Without the value, all taints are tolerated." $shown) -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Upstream's daemon runs every CNI plugin inside its own limits. */}}
{{- define "multus.warnings.resources" -}}
{{- $all := list -}}
{{- $upstreamThick := and (eq (include "multus.engine" .) "upstream") (eq (include "multus.mode" .) "thick") -}}
{{- with and $upstreamThick .Values.resources.limits -}}
{{- if .cpu -}}
{{- $all = append $all (printf "resources.limits.cpu: upstream's daemon runs every plugin of every pod within it; with 100m an ADD takes 4 to 7 times\nas long (docs/performance.md). It is %s. Leave it out: --set resources.limits.cpu=null" (toString .cpu)) -}}
{{- end -}}
{{- if and .memory (regexMatch "^[0-9]{1,2}Mi$" (toString .memory)) -}}
{{- $all = append $all (printf "resources.limits.memory: upstream's daemon runs every plugin of every pod within it, and %s is soon too little: it is killed\nwhen many pods start at once. Set 512Mi or more." (toString .memory)) -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{- define "multus.warnings.networks" -}}
{{- $all := list -}}
{{- if and .Values.networkAttachmentDefinitions (not (include "multus.rendersNads" .)) -}}
{{- $all = append $all (printf "networkAttachmentDefinitions: %d are not created yet, since their API is not served before the CRD is there. Run the same again:\n  helm upgrade %s …" (len .Values.networkAttachmentDefinitions) .Release.Name) -}}
{{- end -}}
{{- if and (include "multus.live" .) (not (include "multus.rendersCrd" .)) (not (include "multus.crdOwner" .)) -}}
{{- $all = append $all "crds.install is false and the CRD is not in the cluster: nobody can create NADs until somebody installs it (chart multus-crds)." -}}
{{- end -}}
{{- if not .Values.rbac.create -}}
{{- $all = append $all (printf "rbac.create is false: until somebody binds the service account %s to what templates/rbac.yaml has, no pod that asks for a network\nstarts." (include "multus.serviceAccountName" .)) -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}
