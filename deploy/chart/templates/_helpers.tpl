{{/* Names and labels are those of upstream's chart: a selector cannot be changed by an upgrade. */}}

{{- define "volsync.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "volsync.fullname" -}}
{{- $name := include "volsync.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "volsync.selector" -}}
control-plane: {{ include "volsync.fullname" . }}-controller
app.kubernetes.io/name: {{ include "volsync.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "volsync.labels" -}}
app.kubernetes.io/name: {{ include "volsync.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "volsync.account" -}}
{{- default (ternary (include "volsync.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{/* The reference of one image; takes the root and the image's values. */}}
{{- define "volsync.image" -}}
{{- $root := index . 0 }}{{- $image := index . 1 }}
{{- $image.image | default (printf "%s:%v" $image.repository ($image.tag | default $root.Chart.AppVersion)) }}
{{- end }}
