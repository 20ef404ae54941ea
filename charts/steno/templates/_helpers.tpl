{{- define "steno.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The operator's name: its Deployment, Services, Lease. */}}
{{- define "steno.operator" -}}
{{- include "steno.fullname" . -}}-operator
{{- end -}}

{{/* Names of what is cluster-scoped: releases that serve different namespaces must not share them. */}}
{{- define "steno.clusterName" -}}
{{- include "steno.operator" . -}}{{- if .Values.watchNamespaces -}}-{{ .Release.Namespace }}{{- end -}}
{{- end -}}

{{/* The report endpoint, as pods of the cluster reach it. */}}
{{- define "steno.reportURL" -}}
http{{ if .Values.reports.tls.enabled }}s{{ end }}://{{ include "steno.operator" . }}.{{ .Release.Namespace }}.svc:8080
{{- end -}}

{{/* The gateway's name: its Deployment, Service, ServiceAccount, and the label of what it creates. */}}
{{- define "steno.gateway" -}}
{{- include "steno.fullname" . -}}-gateway
{{- end -}}

{{- define "steno.gatewaySelector" -}}
app.kubernetes.io/name: steno-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "steno.gatewayLabels" -}}
{{ include "steno.gatewaySelector" . }}
app.kubernetes.io/part-of: steno
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "steno.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "steno.operator" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name the ServiceAccount to use, or set serviceAccount.create" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "steno.selector" -}}
app.kubernetes.io/name: steno-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "steno.labels" -}}
{{ include "steno.selector" . }}
app.kubernetes.io/part-of: steno
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image's reference; takes (list $ <image values>). */}}
{{- define "steno.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- if $image.reference -}}
{{- $image.reference -}}
{{- else if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The queue server's settings, as the operator reads them. */}}
{{- define "steno.queue" -}}
{{- $queue := dict -}}
{{- range $name := list "kind" "url" "deadLetterURL" "region" "allowPlaintext" "visibilitySeconds" "maxReceives" -}}
{{- with get $.Values.queue $name }}{{ $_ := set $queue $name . }}{{ end -}}
{{- end -}}
{{- toJson $queue -}}
{{- end -}}

{{/* Keys of Secrets that jobs and pools use. */}}
{{- define "steno.secretKeys" -}}
["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL",
"allowedPrefix", "allowPlainHTTP", "steno-http-token", "steno-http-username", "steno-http-password", "steno-source-uri",
"HF_TOKEN"]
{{- end -}}

{{/* What serving jobs and streams needs in a namespace. No Secret is read: pods mount them by name. */}}
{{- define "steno.jobRules" -}}
- apiGroups: [steno.dev]
  resources: [transcriptionjobs, ocrjobs, streamsessions, runtimepools]
  verbs: [get, list, watch]
- apiGroups: [steno.dev]
  resources: [transcriptionjobs, ocrjobs, streamsessions]
  verbs: [delete]  # ttlPolicy DeleteResource, a session's ttlSecondsAfterFinished
- apiGroups: [steno.dev]
  resources: [runtimepools]
  verbs: [create]  # a namespace's pool `default`, when a session names it
- apiGroups: [steno.dev]
  resources: [transcriptionjobs/status, ocrjobs/status, streamsessions/status, runtimepools/status]
  verbs: [get, patch]
# Children name their owner with blockOwnerDeletion; OpenShift asks for this then.
- apiGroups: [steno.dev]
  resources: [transcriptionjobs/finalizers, ocrjobs/finalizers, streamsessions/finalizers, runtimepools/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# A pool's servers; what they leave behind goes by owner reference.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
# A session's token, written and never read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# It tells a job's story, and reads why Kubernetes could not create or start a pod.
- apiGroups: [""]
  resources: [events]
  verbs: [get, list, watch, create, patch]
{{- end -}}
