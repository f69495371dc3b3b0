{{- define "bindery.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels that never change, by which Bindery itself knows its pods too. Takes a dict of root and component. */}}
{{- define "bindery.selector" -}}
app.kubernetes.io/name: bindery
app.kubernetes.io/instance: {{ include "bindery.fullname" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "bindery.labels" -}}
{{ include "bindery.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "bindery.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "bindery.secretName" -}}
{{- default (printf "%s-secrets" (include "bindery.fullname" .)) .Values.secrets.existingSecret }}
{{- end }}

{{- define "bindery.databaseSecretName" -}}
{{- default (printf "%s-database" (include "bindery.fullname" .)) .Values.database.existingSecret }}
{{- end }}

{{- define "bindery.databaseUrl" -}}
{{- required "database.url or database.existingSecret is needed: a PostgreSQL, postgresql://user:password@host/name" .Values.database.url }}
{{- end }}

{{/* Whether a Job brings the tables up to date. A database that the chart itself installs is not there before. */}}
{{- define "bindery.migrates" -}}
{{- and .Values.migration.enabled (not .Values.trial.postgresql.enabled) }}
{{- end }}

{{- define "bindery.registryUrl" -}}
{{- if .Values.trial.registry.enabled -}}
{{ include "bindery.fullname" . }}-registry.{{ .Release.Namespace }}.svc:5000
{{- else -}}
{{ required "registry.url is needed: the registry that builds push to and nodes pull from, such as registry.example.org/binder" .Values.registry.url }}
{{- end }}
{{- end }}

{{/* Whether builds reach the registry through the workers. BuildKit and Docker reach it from elsewhere. */}}
{{- define "bindery.relayed" -}}
{{- $build := dig "kubernetes" "build" (dict) (deepCopy .Values.settings) }}
{{- and .Values.builder.relay.enabled (eq (default "buildah" $build.back_end) "buildah") }}
{{- end }}

{{/* Where pods of the service listen, and where those of workers relay to the registry: as the settings say. */}}
{{- define "bindery.port" -}}
{{ default 8585 .Values.settings.port }}
{{- end }}

{{- define "bindery.relayPort" -}}
{{ dig "kubernetes" "build" "relay_port" 8586 .Values.settings }}
{{- end }}

{{/* All settings of the service, as JSON by section: what the chart knows, and .Values.settings over it. */}}
{{- define "bindery.settings" -}}
{{- $pull := list }}
{{- range .Values.imagePullSecrets }}{{ $pull = append $pull .name }}{{ end }}
{{- if .Values.registry.existingSecret }}{{ $pull = append $pull .Values.registry.existingSecret }}{{ end }}
{{- $session := dict "image_pull_secrets" $pull }}
{{- $build := dict "image_pull_secrets" $pull "image" (required "builder.image is needed: the image made of helm/images/builder" .Values.builder.image) }}
{{- if eq (include "bindery.relayed" .) "true" }}
{{- $_ := set $build "relay_address" (printf "%s-worker.%s.svc:%s" (include "bindery.fullname" .) .Release.Namespace (include "bindery.relayPort" .)) }}
{{- end }}
{{- if .Values.priorityClasses.create }}
{{- $_ := set $session "priority_class" (printf "%s-session" (include "bindery.fullname" .)) }}
{{- $_ := set $build "priority_class" (printf "%s-build" (include "bindery.fullname" .)) }}
{{- end }}
{{- $registry := dict "url" (include "bindery.registryUrl" .) }}
{{- if .Values.trial.registry.enabled }}{{ $_ := set $registry "plain_http_hosts" (list (include "bindery.registryUrl" .)) }}{{ end }}
{{- $known := dict
  "engine" "kubernetes"
  "host" "0.0.0.0"
  "port" (include "bindery.port" . | int)
  "data_dir" "/data"
  "log_json" true
  "database" (dict "migrate" (ne (include "bindery.migrates" .) "true"))
  "registry" $registry
  "retention" (dict "high_bytes" .Values.imageCleaner.highBytes "low_bytes" .Values.imageCleaner.lowBytes "check_seconds" .Values.imageCleaner.checkSeconds)
  "shutdown" (dict "delay_seconds" .Values.shutdown.delaySeconds "drain_seconds" .Values.shutdown.drainSeconds)
  "kubernetes" (dict "instance" (include "bindery.fullname" .) "namespace" .Release.Namespace "session" $session "build" $build)
}}
{{- if .Values.sessionHosts.enabled }}
{{- $_ := set $known "session" (dict "host" (printf "{name}.%s" (required "sessionHosts.domain is needed" .Values.sessionHosts.domain))) }}
{{- end }}
{{- mergeOverwrite $known (deepCopy .Values.settings) | toJson }}
{{- end }}

{{/* The Service that carries visitors to their sessions. */}}
{{- define "bindery.carrier" -}}
{{ include "bindery.fullname" . }}-{{ if .Values.proxy.enabled }}proxy{{ else }}web{{ end }}
{{- end }}
