{{/* The pod of one role. Takes a dict of root, role, and values: that role's own. */}}
{{- define "bindery.pod" -}}
{{- $root := .root }}
{{- $full := include "bindery.fullname" $root }}
metadata:
  labels:
    {{- include "bindery.labels" (dict "root" $root "component" .role) | nindent 4 }}
    {{- with .values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if or .values.podAnnotations $root.Values.database.url }}
  annotations:
    {{- with $root.Values.database.url }}
    # The start of its sum, so that pods start anew that have the former URL. Of a list of passwords it tells nobody which
    # one is right: one in 65,536 has the same.
    checksum/database: {{ sha256sum . | trunc 4 | quote }}
    {{- end }}
    {{- with .values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  serviceAccountName: {{ $full }}-{{ .role }}
  automountServiceAccountToken: {{ ne .role "proxy" }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "bindery.grace" . }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- $class := .values.priorityClassName }}
  {{- if and (not $class) $root.Values.priorityClasses.create }}{{ $class = printf "%s-service" $full }}{{ end }}
  {{- with $class }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- include "bindery.podSecurity" . | nindent 4 }}
  containers:
    - name: {{ .role }}
      image: {{ include "bindery.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [serve]
      env:
        - name: BINDERY_ROLE
          value: {{ .role }}
        {{- include "bindery.settingsEnv" (dict "root" $root "more" .values.extraEnv) | nindent 8 }}
        {{- include "bindery.secretEnv" $root | nindent 8 }}
        {{- with .values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: http
          containerPort: {{ include "bindery.port" $root }}
        {{- if and (eq .role "worker") (eq (include "bindery.relayed" $root) "true") }}
        - name: relay
          containerPort: {{ include "bindery.relayPort" $root }}
        {{- end }}
      startupProbe:
        httpGet: {path: {{ include "bindery.base" $root }}health/live, port: http}
        periodSeconds: 1
        failureThreshold: 120
      livenessProbe:
        httpGet: {path: {{ include "bindery.base" $root }}health/live, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: {{ include "bindery.base" $root }}health/ready, port: http}
        periodSeconds: 2
        timeoutSeconds: 3
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      securityContext:
        {{- include "bindery.containerSecurity" . | nindent 8 }}
      volumeMounts:
        {{- include "bindery.mounts" $root | nindent 8 }}
  volumes:
    {{- include "bindery.volumes" (dict "root" $root "storage" .values.storage) | nindent 4 }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "bindery.selector" (dict "root" $root "component" $.role) | nindent 10 }}
    {{- end }}
  {{- range $name := list "nodeSelector" "tolerations" "affinity" }}
  {{- with index $.values $name }}
  {{ $name }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end }}

{{/* Seconds that a pod has to end: those that carry sessions let them go on for a while. */}}
{{- define "bindery.grace" -}}
{{- $wait := (include "bindery.settings" .root | fromJson).shutdown }}
{{- $drain := ternary 0 $wait.drain_seconds (eq .role "worker") }}
{{- add (ceil $wait.delay_seconds) (ceil $drain) 30 }}
{{- end }}

{{- define "bindery.base" -}}
{{- $inner := default "/" .Values.settings.base_url | trimAll "/" }}
{{- if $inner }}/{{ $inner }}/{{ else }}/{{ end }}
{{- end }}

{{- define "bindery.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "bindery.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/*
What every pod of ours is told. It is part of the pod's template, not beside it, so that an old version's pods keep their
settings whatever becomes of a new version. Takes a dict of root, and more: variables that win.
*/}}
{{- define "bindery.settingsEnv" -}}
{{- $told := dict "HOME" "/data" }}
{{- if .root.Values.registry.existingSecret }}{{ $_ := set $told "DOCKER_CONFIG" "/etc/bindery/docker" }}{{ end }}
{{- range $name, $value := include "bindery.settings" .root | fromJson }}
{{- $_ := set $told (printf "BINDERY_%s" (upper $name)) (kindIs "string" $value | ternary $value (toJson $value)) }}
{{- end }}
{{- range .more }}{{ $_ := unset $told .name }}{{ end }}
{{- $variables := list }}
{{- range $name, $value := $told }}
{{- $variables = append $variables (dict "name" $name "value" (replace "$" "$$" $value)) }}
{{- end }}
{{- toYaml $variables }}
{{- end }}

{{- define "bindery.databaseEnv" -}}
- name: BINDERY_DATABASE__URL
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .root.Values.database.existingSecretKey }}
{{- end }}

{{- define "bindery.secretEnv" -}}
{{- include "bindery.databaseEnv" (dict "root" . "secret" (include "bindery.databaseSecretName" .)) }}
{{- range $name, $key := dict "BINDERY_BUILD_TOKEN__SECRET" "build-token" "BINDERY_OPERATOR_TOKEN" "operator-token" }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ include "bindery.secretName" $ }}
      key: {{ $key }}
{{- end }}
{{- end }}

{{- define "bindery.mounts" -}}
- name: data
  mountPath: /data
- name: tmp
  mountPath: /tmp
{{- if .Values.registry.existingSecret }}
- name: registry
  mountPath: /etc/bindery/docker
  readOnly: true
{{- end }}
{{- end }}

{{- define "bindery.volumes" -}}
- name: data
  emptyDir:
    sizeLimit: {{ default "1Gi" .storage }}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- with .root.Values.registry.existingSecret }}
- name: registry
  secret:
    secretName: {{ . }}
    items:
      - key: .dockerconfigjson
        path: config.json
{{- end }}
{{- end }}
