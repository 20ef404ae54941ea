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

{{/* What serving jobs needs in a namespace. No Secret is read: worker pods mount them by name. */}}
{{- define "steno.jobRules" -}}
- apiGroups: [steno.dev]
  resources: [transcriptionjobs, ocrjobs]
  verbs: [get, list, watch, delete]  # delete: ttlPolicy DeleteResource
- apiGroups: [steno.dev]
  resources: [transcriptionjobs/status, ocrjobs/status]
  verbs: [get, patch]
# Children name their owner with blockOwnerDeletion; OpenShift asks for this then.
- apiGroups: [steno.dev]
  resources: [transcriptionjobs/finalizers, ocrjobs/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# It tells a job's story, and reads why Kubernetes could not create or start a pod.
- apiGroups: [""]
  resources: [events]
  verbs: [get, list, watch, create, patch]
{{- end -}}
