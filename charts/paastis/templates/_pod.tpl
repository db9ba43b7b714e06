{{/* What the pods of both programs have in common. */}}

{{/* Annotations of a pod template; given: root, component. Tokens of accounts are followed live, so
     nothing here depends on them; that of the system API and the hooks are read once, at the start. */}}
{{- define "paastis.podAnnotations" -}}
{{- $annotations := deepCopy (index .root.Values .component).podAnnotations }}
{{- if and .root.Values.systemApi.enabled .root.Values.systemApi.token }}
{{- $_ := set $annotations "checksum/system-api" (sha256sum .root.Values.systemApi.token) }}
{{- end }}
{{- if and (eq .component "controller") .root.Values.hooks.rules }}
{{- $_ := set $annotations "checksum/hooks" (include "paastis.hooksFile" .root | sha256sum) }}
{{- end }}
{{- with $annotations }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* Who it runs as, and where; given: root, component. */}}
{{- define "paastis.podSpec" -}}
{{- $values := index .root.Values .component -}}
serviceAccountName: {{ include "paastis.serviceAccountName" . }}
automountServiceAccountToken: true
# Addresses of other Services would come as variables with our prefix.
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $values.podSecurityContext | nindent 2 }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  {{- $own := dict "labelSelector" (dict "matchLabels" (include "paastis.selectorLabels" $ | fromYaml)) }}
  - {{ toYaml (hasKey . "labelSelector" | ternary . (mustMerge $own .)) | indent 4 | trim }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Its image and what a container may; given: root, component. */}}
{{- define "paastis.container" -}}
{{- $values := index .root.Values .component -}}
image: {{ include "paastis.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml $values.securityContext | nindent 2 }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
{{- with $values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Variables of every program. */}}
{{- define "paastis.commonEnv" -}}
- name: REGISTRY_TYPE
  value: kubernetes
- name: REGISTRY_KUBERNETES_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
# The image names a file, which the registry in a cluster has no use for.
- name: REGISTRY_STATE_FILE
  value: ""
- name: LOGGING_LEVEL
  value: {{ .Values.logging.level }}
- name: LOGGING_FORMAT
  value: {{ .Values.logging.format }}
{{- end }}

{{/* Variables of what listens. */}}
{{- define "paastis.servingEnv" -}}
- name: HOST
  value: {{ .Values.listenAddress | quote }}
# The controller's system API tells addresses, too.
{{- with .Values.proxy.baseDomains }}
- name: ROUTING_BASE_DOMAINS
  value: {{ join "," . | quote }}
{{- end }}
- name: ROUTING_SYSTEM_API_PORT
  value: "3001"
- name: ROUTING_SYSTEM_API_ENABLED
  value: {{ .Values.systemApi.enabled | quote }}
{{- if .Values.systemApi.enabled }}
- name: ROUTING_SYSTEM_API_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "paastis.systemApiSecretName" . }}
      key: token
{{- end }}
{{- end }}

{{/* The chart's variables but those that extraEnv has, too (names must be unique), then those of
     extraEnv; given: own (YAML), extra. */}}
{{- define "paastis.env" -}}
{{- $taken := list }}
{{- range .extra }}{{ $taken = append $taken .name }}{{ end }}
{{- $env := list }}
{{- range fromYamlArray .own }}
{{- if not (has .name $taken) }}{{ $env = append $env . }}{{ end }}
{{- end }}
{{- concat $env .extra | toYaml }}
{{- end }}
