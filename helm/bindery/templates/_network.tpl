{{- define "bindery.dnsRule" -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
  to:
    {{- if .Values.networkPolicy.dns }}
    {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
    {{- else }}
    - namespaceSelector: {}
      podSelector:
        matchLabels:
          k8s-app: kube-dns
    {{- end }}
{{- end }}

{{- define "bindery.publicRule" -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except:
          {{- toYaml .Values.networkPolicy.blocked | nindent 10 }}
    - ipBlock:
        cidr: 2000::/3
{{- end }}

{{- define "bindery.databaseRule" -}}
- ports: [{port: 5432}]
  {{- if .Values.trial.postgresql.enabled }}
  to:
    - podSelector:
        matchLabels:
          {{- include "bindery.selector" (dict "root" . "component" "postgresql") | nindent 10 }}
  {{- else }}
  {{- with .Values.networkPolicy.database }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end }}

{{- define "bindery.registryRule" -}}
{{- if .Values.trial.registry.enabled -}}
- ports: [{port: 5000}]
  to:
    - podSelector:
        matchLabels:
          {{- include "bindery.selector" (dict "root" . "component" "registry") | nindent 10 }}
{{- else if .Values.networkPolicy.registry -}}
- to:
    {{- toYaml .Values.networkPolicy.registry | nindent 4 }}
{{- end }}
{{- end }}
