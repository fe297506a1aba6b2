{{- define "testkit.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "testkit.selector" . }}
{{- end }}

{{- define "testkit.selector" -}}
app.kubernetes.io/name: pod-identity-testkit
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "testkit.image" -}}
{{- .Values.image.testkit | default "" | required "image.testkit is empty: set it to the image of the testkit, as in registry.example/pod-identity-testkit:0.1.0" | quote }}
{{- end }}

{{- define "testkit.configMap" -}}
{{- .Values.associationsConfigMap | default "pod-identity-associations" }}
{{- end }}

{{/*
The webhook's certificate, its key and its authority, each in base64, as JSON. Those that are there are kept: a new
authority would be ahead of the new certificate, which kubelet brings later.
*/}}
{{- define "testkit.certificate" -}}
{{- $old := lookup "v1" "Secret" .Release.Namespace "pod-identity-webhook" }}
{{- if .Values.webhook.certificateSecret }}
{{- $ca := .Values.webhook.caBundle | required "webhook.certificateSecret needs webhook.caBundle, the authority that signed it, in PEM" }}
{{- toJson (dict "ca" ($ca | b64enc)) }}
{{- else if and $old (dig "data" "ca.crt" "" $old) }}
{{- toJson (dict "ca" (index $old.data "ca.crt") "crt" (index $old.data "tls.crt") "key" (index $old.data "tls.key")) }}
{{- else }}
{{- $name := printf "pod-identity-webhook.%s.svc" .Release.Namespace }}
{{- $ca := genCA "pod-identity-webhook" 3650 }}
{{- $made := genSignedCert $name nil (list $name) 3650 $ca }}
{{- toJson (dict "ca" ($ca.Cert | b64enc) "crt" ($made.Cert | b64enc) "key" ($made.Key | b64enc)) }}
{{- end }}
{{- end }}
