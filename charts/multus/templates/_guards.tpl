{{/* What cannot work stops the render, with what to do about it. What may surprise is in _warnings.tpl. */}}

{{- define "multus.guards" -}}
{{- include "multus.guard.renamed" . -}}
{{- include "multus.guard.image" . -}}
{{- include "multus.guard.k3s" . -}}
{{- include "multus.guard.engineCannot" . -}}
{{- include "multus.guard.lists" . -}}
{{- include "multus.guard.nads" . -}}
{{- include "multus.guard.cluster" . -}}
{{- end -}}

{{- define "multus.fail" -}}
{{- fail (printf "\n\n%s\n" .) -}}
{{- end -}}

{{/* Keys of other charts. */}}
{{- define "multus.guard.renamed" -}}
{{- range $old, $new := .Files.Get "files/renamed.yaml" | fromYaml -}}
{{- $at := $.Values -}}
{{- range $part := splitList "." $old -}}
{{- $at = kindIs "map" $at | ternary (get (kindIs "map" $at | ternary $at dict) $part) "" -}}
{{- end -}}
{{- if not (kindIs "invalid" $at | or (eq (toString $at) "")) -}}
{{- include "multus.fail" (printf "%s: this chart has no such value. Set %s." $old $new) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Engine, mode and version fit together. */}}
{{- define "multus.guard.image" -}}
{{- $image := .Values.image -}}
{{- $engine := include "multus.engine" . -}}
{{- $base := include "multus.imageBaseName" . -}}
{{- if and (eq $engine "upstream") (eq $base "multus-rs") -}}
{{- include "multus.fail" (printf "engine: upstream contradicts image.repository: %q, which holds multus-rs.\nSet image.repository: ghcr.io/k8snetworkplumbingwg/multus-cni, or a mirror of it; then engine can be left out." $image.repository) -}}
{{- end -}}
{{- /* A mirror of ours may be called so. */ -}}
{{- if and (eq $engine "multus-rs") (hasSuffix "k8snetworkplumbingwg/multus-cni" $image.repository) -}}
{{- include "multus.fail" (printf "engine: multus-rs contradicts image.repository: %q, which holds upstream's Multus.\nSet image.repository: ghcr.io/multus-rs/multus-rs, or a mirror of it, or leave engine out." $image.repository) -}}
{{- end -}}
{{- if and $image.digest (not $image.tag) (not (and .Values.engine .Values.mode .Values.engineVersion)) -}}
{{- include "multus.fail" "image.digest: a digest without image.tag does not tell what the image holds.\nSet image.tag as well, or all of engine, mode and engineVersion." -}}
{{- end -}}
{{- if eq $engine "multus-rs" -}}
{{- if hasSuffix "-thick" $image.tag -}}
{{- include "multus.fail" (printf "image.tag: %q is a tag of upstream's; multus-rs has one image for both modes.\nSet image.tag: %s" $image.tag (trimSuffix "-thick" $image.tag)) -}}
{{- end -}}
{{- else -}}
{{- $version := include "multus.engineVersion" . -}}
{{- if semverCompare "<4.0.0-0" $version -}}
{{- include "multus.fail" (printf "image.tag: upstream's Multus %s is too old: images before v4.0 are laid out in another way.\nSet image.tag to v4.0.2 or later." $version) -}}
{{- end -}}
{{- $tag := include "multus.tag" . -}}
{{- if and .Values.mode $image.tag (eq (include "multus.imageBaseName" .) "multus-cni") -}}
{{- $inTag := hasSuffix "-thick" $tag | ternary "thick" "thin" -}}
{{- if ne $inTag .Values.mode -}}
{{- include "multus.fail" (printf "mode: %q contradicts image.tag: %q, which is upstream's %s image.\nSet image.tag: %s, or leave mode empty." .Values.mode $tag $inTag (eq .Values.mode "thick" | ternary (printf "%s-thick" $tag) (trimSuffix "-thick" $tag))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "multus.guard.k3s" -}}
{{- range $key := list "configDir" "binDir" -}}
{{- $dir := get $.Values.cni $key -}}
{{- if and $.Values.k3s.disableFlannel (hasPrefix "/var/lib/rancher/k3s/" $dir) -}}
{{- include "multus.fail" (printf "k3s.disableFlannel: true says that k3s runs with --flannel-backend=none; then its runtime reads\n/etc/cni/net.d and /opt/cni/bin, but cni.%s is %s.\nSet k3s.disableFlannel: false where Flannel is the network, or leave cni.%s empty." $key $dir $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Values that only the other engine or mode can do something about. */}}
{{- define "multus.guard.engineCannot" -}}
{{- $upstream := eq (include "multus.engine" .) "upstream" -}}
{{- $thin := eq (include "multus.mode" .) "thin" -}}
{{- $network := .Values.network -}}
{{- $ours := "Use multus-rs (image.repository: ghcr.io/multus-rs/multus-rs), or leave it out." -}}
{{- $oursOrThick := "Use multus-rs (image.repository: ghcr.io/multus-rs/multus-rs) or upstream's thick mode, or leave it out." -}}
{{- if and $upstream (ne .Values.cni.configFile "00-multus.conf") -}}
{{- include "multus.fail" (printf "cni.configFile: upstream's Multus calls its file 00-multus.conf, and cannot be told to call it %s.\n%s" .Values.cni.configFile $ours) -}}
{{- end -}}
{{- if and $upstream .Values.takeOverFrom -}}
{{- include "multus.fail" (printf "takeOverFrom: upstream's Multus does not look whose file it replaces.\n%s" $ours) -}}
{{- end -}}
{{- if and $upstream (ne .Values.config.specMode "compat") -}}
{{- include "multus.fail" (printf "config.specMode: upstream's Multus has one mode only.\n%s" $ours) -}}
{{- end -}}
{{- if and $upstream $thin $network.attachToAll -}}
{{- include "multus.fail" (printf "network.attachToAll: upstream's thin mode attaches no pod to networks that it does not name.\n%s" $oursOrThick) -}}
{{- end -}}
{{- if and $upstream $thin .Values.config.systemNamespaces -}}
{{- include "multus.fail" (printf "config.systemNamespaces: upstream's thin mode cannot be told.\n%s" $oursOrThick) -}}
{{- end -}}
{{- if and $upstream $thin .Values.config.raw -}}
{{- include "multus.fail" (printf "config.raw: upstream's thin mode writes its configuration from flags alone.\n%s" $oursOrThick) -}}
{{- end -}}
{{- $oursThick := "Use multus-rs in thick mode, or leave it out." -}}
{{- if and .Values.metrics.port $thin -}}
{{- include "multus.fail" "metrics.port: in thin mode no program runs on that could serve metrics.\nUse thick mode, or leave it out." -}}
{{- end -}}
{{- if and .Values.metrics.address (not .Values.metrics.port) -}}
{{- include "multus.fail" "metrics.address: nothing is served there without metrics.port.\nSet metrics.port, for example to 9091." -}}
{{- end -}}
{{- range $key, $other := dict "metrics.address" (and .Values.metrics.address $upstream) "config.events" (and (ne .Values.config.events "each") (or $upstream $thin)) "config.log.format" (and (ne .Values.config.log.format "text") (or $upstream $thin)) -}}
{{- if $other -}}
{{- include "multus.fail" (printf "%s: only the daemon of multus-rs can be told.\n%s" $key $oursThick) -}}
{{- end -}}
{{- end -}}
{{- if not $upstream -}}
{{- range $key := keys .Values.config.raw | sortAlpha -}}
{{- if has (lower $key) (list "type" "name" "cniversion" "cniversions" "delegates" "clusternetwork" "plugins" "prevresult" "auxiliarycnichainname") -}}
{{- include "multus.fail" (printf "config.raw.%s: the configuration is made for the default network, and this key would make it another one's.\nLeave it out; network.defaultNetwork chooses the default network." $key) -}}
{{- end -}}
{{- if has (lower $key) (list "chrootdir" "cniconfigdir" "multusautoconfigdir" "multusconfigfile" "multusmastercni" "configfilename" "socketdir" "daemonsocketdir" "shimdir" "bindir" "daemonset" "owner" "kubeconfig") -}}
{{- include "multus.fail" (printf "config.raw.%s: the chart derives it from where it mounts the node's folders and from the release.\nLeave it out; cni.configDir, cni.binDir, cni.configFile and network.defaultNetwork are the values for it." $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $network.requireDefault (not $network.defaultNetwork) -}}
{{- include "multus.fail" "network.requireDefault: true needs to know which network to wait for.\nSet network.defaultNetwork, for example to 10-flannel.conflist or to the network's name." -}}
{{- end -}}
{{- if and $upstream $network.requireDefault (not (regexMatch "^[^/]+\\.conf(list)?$" $network.defaultNetwork)) -}}
{{- include "multus.fail" (printf "network.requireDefault: upstream's Multus can wait for a file only, and network.defaultNetwork is %q.\nSet it to the file's name (10-flannel.conflist). Or: %s" $network.defaultNetwork $ours) -}}
{{- end -}}
{{- end -}}

{{/* A list with two elements for one name is refused by the API server, in words that name no value. */}}
{{- define "multus.guard.lists" -}}
{{- range $key, $field := dict "extraEnv" "name" "extraVolumes" "name" "extraVolumeMounts" "mountPath" "extraContainers" "name" "extraInitContainers" "name" -}}
{{- $seen := list -}}
{{- range $element := get $.Values $key -}}
{{- $name := get $element $field -}}
{{- if has $name $seen -}}
{{- include "multus.fail" (printf "%s: %q is there twice. Leave one of them." $key $name) -}}
{{- end -}}
{{- $seen = append $seen $name -}}
{{- end -}}
{{- end -}}
{{- $plugins := .Values.referencePlugins -}}
{{- if and $plugins.include $plugins.exclude -}}
{{- include "multus.fail" "referencePlugins: include and exclude are both set. Set one of them." -}}
{{- end -}}
{{- with .Values.updateStrategy -}}
{{- if and (eq (.type | default "RollingUpdate") "OnDelete") .rollingUpdate -}}
{{- include "multus.fail" "updateStrategy: type OnDelete has no rollingUpdate. Leave rollingUpdate out, or set type: RollingUpdate." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The user's volumes, mounts and containers beside ours: a dict with `root` and `pod`. */}}
{{- define "multus.guard.names" -}}
{{- $containers := concat .pod.containers (.pod.initContainers | default list) -}}
{{- $taken := dict "extraVolumes" .pod.volumes "extraContainers" $containers "extraInitContainers" (concat $containers .root.Values.extraContainers) -}}
{{- range $key, $others := $taken -}}
{{- $names := list -}}
{{- range $others -}}{{- $names = append $names .name -}}{{- end -}}
{{- range get $.root.Values $key -}}
{{- if has .name $names -}}
{{- include "multus.fail" (printf "%s: the pod has %q without it. Choose another name." $key .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $seen := list -}}
{{- range (first .pod.containers).volumeMounts -}}
{{- if has .mountPath $seen -}}
{{- include "multus.fail" (printf "extraVolumeMounts: the chart mounts %s itself. Choose another path." .mountPath) -}}
{{- end -}}
{{- $seen = append $seen .mountPath -}}
{{- end -}}
{{- end -}}

{{/* A NAD that no pod could use. */}}
{{- define "multus.guard.nads" -}}
{{- $seen := list -}}
{{- range $index, $nad := .Values.networkAttachmentDefinitions -}}
{{- $name := printf "%s/%s" ($nad.namespace | default "default") $nad.name -}}
{{- if has $name $seen -}}
{{- include "multus.fail" (printf "networkAttachmentDefinitions: %s is there twice. Leave one of them." $name) -}}
{{- end -}}
{{- $seen = append $seen $name -}}
{{- if $nad.config -}}
{{- $config := kindIs "string" $nad.config | ternary ($nad.config | toString | fromJson) $nad.config -}}
{{- if $config.Error -}}
{{- include "multus.fail" (printf "networkAttachmentDefinitions[%d].config (%s) is no JSON: %s" $index $name $config.Error) -}}
{{- end -}}
{{- if not (or $config.type $config.plugins) -}}
{{- include "multus.fail" (printf "networkAttachmentDefinitions[%d].config (%s) has neither \"type\" nor \"plugins\": it names no CNI plugin." $index $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What is in the cluster already; says nothing where no cluster answers. */}}
{{- define "multus.guard.cluster" -}}
{{- $namespace := include "multus.namespace" . -}}
{{- if and (include "multus.live" .) (ne $namespace .Release.Namespace) (not (lookup "v1" "Namespace" "" $namespace)) -}}
{{- include "multus.fail" (printf "network.namespace: there is no namespace %q, and this chart creates none.\nCreate it (kubectl create namespace %s), or set network.namespace: kube-system." $namespace $namespace) -}}
{{- end -}}
{{- if not .Values.ignoreOtherInstalls -}}
{{- with include "multus.otherInstall" . -}}
{{- include "multus.fail" . -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The text for another Multus in the cluster; empty where there is none. */}}
{{- define "multus.otherInstall" -}}
{{- include "multus.otherInstallOf" (dict "root" . "daemonSets" ((lookup "apps/v1" "DaemonSet" "" "").items | default list)) -}}
{{- end -}}

{{/* The same where these `daemonSets` are there. */}}
{{- define "multus.otherInstallOf" -}}
{{- $root := .root -}}
{{- $images := list "multus-cni" "multus-rs" "multus" "hardened-multus-cni" -}}
{{- $found := "" -}}
{{- range .daemonSets -}}
{{- $meta := .metadata -}}
{{- $annotations := $meta.annotations | default dict -}}
{{- $release := get $annotations "meta.helm.sh/release-name" | default "" -}}
{{- $releaseNamespace := get $annotations "meta.helm.sh/release-namespace" | default "" -}}
{{- $here := and (eq $meta.name (include "multus.daemonSetName" $root)) (eq $meta.namespace (include "multus.namespace" $root)) -}}
{{- $mine := and (eq $release $root.Release.Name) (eq $releaseNamespace $root.Release.Namespace) -}}
{{- $runs := $here -}}
{{- range .spec.template.spec.containers -}}
{{- $base := regexReplaceAll "[:@].*$" (splitList "/" .image | last) "" -}}
{{- if has $base $images -}}{{- $runs = true -}}{{- end -}}
{{- end -}}
{{- if and $runs (not $mine) (not $found) -}}
{{- $where := printf "the DaemonSet %s in namespace %s" $meta.name $meta.namespace -}}
{{- $anyway := $here | ternary "" "\nTo install all the same: --set ignoreOtherInstalls=true" -}}
{{- if $release -}}
{{- $found = printf "Multus is in this cluster already: %s, of the Helm release %q in namespace %q.\nTwo of them overwrite each other's files on the nodes. Upgrade that release, or uninstall it first; save\nthe NADs before, see docs/install.md: with some charts they go as well.\n  helm -n %s uninstall %s%s" $where $release $releaseNamespace $releaseNamespace $release $anyway -}}
{{- else if $here -}}
{{- $found = printf "Multus is in this cluster already: %s, which was not installed by Helm.\nTo move it to this chart without an interruption:\n  kubectl -n %s delete daemonset %s --cascade=orphan\n  helm install %s … --take-ownership        (Helm 4: and --force-conflicts)\n  kubectl -n %s rollout restart daemonset %s\nThe new DaemonSet adopts the pods that run; the restart replaces them one by one." $where $meta.namespace $meta.name $root.Release.Name $meta.namespace $meta.name -}}
{{- else -}}
{{- $found = printf "Multus is in this cluster already: %s, which was not installed by Helm.\nTwo of them overwrite each other's files on the nodes. Remove it the way it was installed (an operator, a manifest).%s" $where $anyway -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found -}}
{{- end -}}
