{{/* Names and selectors are those of the official chart's release: a selector cannot be changed afterwards. */}}

{{- define "pod-identity-agent.name" -}}
{{- include "pod-identity-agent.suffixed" (list (.root.Values.nameOverride | default "eks-pod-identity-agent") .suffix) }}
{{- end }}

{{- define "pod-identity-agent.fullname" -}}
{{- $release := .root.Release.Name }}
{{- $name := .root.Values.nameOverride | default "eks-pod-identity-agent" }}
{{- $full := contains $name $release | ternary $release (printf "%s-%s" $release $name) }}
{{- include "pod-identity-agent.suffixed" (list (.root.Values.fullnameOverride | default $full) .suffix) }}
{{- end }}

{{/* A name and a suffix, at most 63 characters long; what is too long is taken off the name. */}}
{{- define "pod-identity-agent.suffixed" -}}
{{- $name := index . 0 }}
{{- $suffix := index . 1 }}
{{- if $suffix }}
{{- printf "%s-%s" (trunc (sub 62 (len $suffix) | int) $name | trimSuffix "-") $suffix }}
{{- else }}
{{- trunc 63 $name | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "pod-identity-agent.selector" -}}
app.kubernetes.io/name: {{ include "pod-identity-agent.name" . }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "pod-identity-agent.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "pod-identity-agent.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app: eks-pod-identity-agent
{{- end }}

{{- define "pod-identity-agent.image" -}}
{{- with .Values.image }}
{{- if .override }}
{{- .override }}
{{- else if and .containerRegistry .tag }}
{{- printf "%s/eks/eks-pod-identity-agent:%s" .containerRegistry .tag }}
{{- else }}
{{- fail "image.override is empty: set it to the agent's image, as in registry.example/pod-identity-agent:0.1.0 (image/build makes one)" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "pod-identity-agent.clusterName" -}}
{{- if has .Values.clusterName (list "" nil "EKS_CLUSTER_NAME") }}
{{- fail "clusterName is not set: set it to the name of the EKS cluster" }}
{{- end }}
{{- .Values.clusterName | toString | quote }}
{{- end }}

{{/* A number of a values file is a float here; as JSON a large one keeps its digits. Nothing is an empty text. */}}
{{- define "pod-identity-agent.quoted" -}}
{{- or (kindIs "string" .) (kindIs "invalid" .) | ternary (. | default "") (toJson .) | quote }}
{{- end }}

{{/* Labels or annotations that ask to be scraped, with the port of the metrics unless they name one. */}}
{{- define "pod-identity-agent.scraped" -}}
{{- $marks := deepCopy (.marks | default dict) }}
{{- if hasKey $marks "prometheus.io/port" }}
{{- if not (index $marks "prometheus.io/port") }}
{{- $_ := unset $marks "prometheus.io/port" }}
{{- end }}
{{- else if hasKey $marks "prometheus.io/scrape" }}
{{- $_ := set $marks "prometheus.io/port" (toString .port) }}
{{- end }}
{{- toJson $marks }}
{{- end }}

{{/* A list, or the text of one, as the official chart's values have it. */}}
{{- define "pod-identity-agent.command" -}}
{{- kindIs "string" . | ternary (fromYamlArray (toString .)) . | toJson }}
{{- end }}

{{/* The arguments of a map: two for each entry. */}}
{{- define "pod-identity-agent.args" -}}
{{- range $flag, $value := . }}
- {{ $flag | quote }}
- {{ include "pod-identity-agent.quoted" $value }}
{{- end }}
{{- end }}

{{/*
A container's security context: everything off except one capability, and what the values say over it.
`privileged` is written out because a field that is left out would keep its old value where another tool's
DaemonSet is taken over.
*/}}
{{- define "pod-identity-agent.securityContext" -}}
{{- $context := dict
  "runAsUser" 0
  "privileged" false
  "allowPrivilegeEscalation" false
  "readOnlyRootFilesystem" true
  "capabilities" (dict "drop" (list "ALL") "add" (list .capability))
  "seccompProfile" (dict "type" "RuntimeDefault") }}
{{- range .over }}
{{- $context = mustMergeOverwrite $context (deepCopy (. | default dict)) }}
{{- end }}
{{- /* The API server refuses a privileged container that may not escalate. */}}
{{- if $context.privileged }}
{{- $_ := set $context "allowPrivilegeEscalation" true }}
{{- end }}
{{- toYaml $context }}
{{- end }}

{{/* Where the certificates come from, as JSON: a volume, its mount, and the file that AWS_CA_BUNDLE names. */}}
{{- define "pod-identity-agent.caBundle" -}}
{{- $bundle := .Values.caBundle }}
{{- $region := .Values.env.AWS_REGION | default "" | toString }}
{{- $file := "/etc/pki/tls/certs/ca-bundle.crt" }}
{{- $hostPath := $bundle.hostPath | default (ternary $file "" (and (contains "-iso" $region) (not $bundle.configMap))) }}
{{- if and $bundle.configMap $bundle.hostPath }}
{{- fail "caBundle.configMap and caBundle.hostPath are both set: name one of them" }}
{{- else if $bundle.configMap }}
{{- $source := dict "name" $bundle.configMap "items" (list (dict "key" $bundle.key "path" "ca-bundle.crt")) }}
{{- toJson (dict
  "volume" (dict "name" "ca-bundle" "configMap" $source)
  "mount" (dict "name" "ca-bundle" "mountPath" "/etc/pod-identity" "readOnly" true)
  "file" "/etc/pod-identity/ca-bundle.crt") }}
{{- else if $hostPath }}
{{- toJson (dict
  "volume" (dict "name" "ca-bundle" "hostPath" (dict "path" $hostPath "type" "File"))
  "mount" (dict "name" "ca-bundle" "mountPath" $file "readOnly" true)
  "file" $file) }}
{{- else }}
{{- toJson dict }}
{{- end }}
{{- end }}

{{/* Empty where pods run as the namespace's default service account. */}}
{{- define "pod-identity-agent.serviceAccount" -}}
{{- $account := .Values.serviceAccount }}
{{- if $account.create }}
{{- $account.name | default (include "pod-identity-agent.fullname" (dict "root" . "suffix" "")) }}
{{- else if $account.name }}
{{- $account.name }}
{{- else if .Values.startupTaint.enabled }}
{{- fail "startupTaint.enabled needs a service account of its own, or every pod of the namespace could change nodes: set serviceAccount.create, or serviceAccount.name" }}
{{- else if .Values.podLivenessCheck.enabled }}
{{- fail "podLivenessCheck.enabled needs a service account of its own, or every pod of the namespace could read the pods of the cluster: set serviceAccount.create, or serviceAccount.name" }}
{{- end }}
{{- end }}

{{/*
What a new agent needs to take over from the old one beside it, as JSON: the socket of its own probes. Empty for
the official image, which knows none of it.
*/}}
{{- define "pod-identity-agent.handover" -}}
{{- $folder := "/run/pod-identity-agent" }}
{{- if and .Values.agent.reusePort .Values.image.override }}
{{- toJson (dict "folder" $folder "socket" (printf "%s/probes.sock" $folder)) }}
{{- else }}
{{- toJson dict }}
{{- end }}
{{- end }}

{{/*
The values' strategy, as JSON. The API server takes either a surge or unavailable pods. A surge needs two agents that
share addresses, and no declared port; where that is not so, the old pod ends first. The other field is 0 then, and not
left out, because it would keep its old value where another tool's DaemonSet is taken over.
*/}}
{{- define "pod-identity-agent.updateStrategy" -}}
{{- $values := .root.Values }}
{{- $strategy := deepCopy ($values.updateStrategy | default dict) }}
{{- with $strategy.rollingUpdate }}
{{- $unavailable := not (include "pod-identity-agent.isNone" .maxUnavailable) }}
{{- $shares := and (include "pod-identity-agent.handover" $.root | fromJson) (include "pod-identity-agent.oldShares" $) }}
{{- if or $unavailable (include "pod-identity-agent.isNone" .maxSurge) (not $shares) $values.agent.advertiseProxyPort }}
{{- $_ := set . "maxSurge" 0 }}
{{- if not $unavailable }}
{{- $_ := set . "maxUnavailable" "10%" }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $strategy }}
{{- end }}

{{/* Whether a number of pods, or a part of them, is none. */}}
{{- define "pod-identity-agent.isNone" -}}
{{- has (toString .) (list "0" "0%" "<nil>" "") | ternary "yes" "" }}
{{- end }}

{{/*
Whether every agent that is replaced lets another one listen at its addresses, or there is none. The kernel shares an
address only between processes of one user. The template of the old DaemonSet says so, but only of the pods that are
made from it: while an update that does not surge is under way, others are left that may not share. One that surges is
made only where all do. Without a cluster to look at, as in `helm template`, there is no old DaemonSet.
*/}}
{{- define "pod-identity-agent.oldShares" -}}
{{- $old := lookup "apps/v1" "DaemonSet" .root.Release.Namespace .name | default dict }}
{{- $shares := true }}
{{- range dig "spec" "template" "spec" "containers" list $old }}
{{- $user := dig "securityContext" "runAsUser" "" . | toString }}
{{- $shares = and (has "--reuse-port=true" (.args | default list)) (eq $user (toString $.user)) }}
{{- end }}
{{- $surges := not (include "pod-identity-agent.isNone" (dig "spec" "updateStrategy" "rollingUpdate" "maxSurge" 0 $old)) }}
{{- $status := $old.status | default dict }}
{{- $seen := ge (int64 $status.observedGeneration) (dig "metadata" "generation" 0 $old | int64) }}
{{- $complete := and $seen (ge (int64 $status.updatedNumberScheduled) (int64 $status.desiredNumberScheduled)) }}
{{- and $shares (or $surges $complete) | ternary "yes" "" }}
{{- end }}

{{/*
How kubelet asks a path of the probes. The other way is null: a probe has only one, and where another tool's DaemonSet
is taken over, a field that is left out would keep its old value.
*/}}
{{- define "pod-identity-agent.probe" -}}
{{- $socket := (include "pod-identity-agent.handover" .root | fromJson).socket }}
{{- if and $socket (has .path (list "/healthz" "/readyz")) }}
exec:
  command: [/eks-pod-identity-agent, probe, {{ trimPrefix "/" .path }}, --socket, {{ $socket }}]
httpGet: null
{{- else }}
exec: null
httpGet:
  host: 127.0.0.1
  path: {{ .path }}
  port: {{ .root.Values.agent.probePort }}
  scheme: HTTP
{{- end }}
{{- end }}
