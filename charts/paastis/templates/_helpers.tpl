{{/* Names. Dots of a release's name must not get into names of Services. */}}
{{- define "paastis.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "paastis.fullname" -}}
{{- $name := include "paastis.name" . }}
{{- if .Values.fullnameOverride }}
{{- $name = .Values.fullnameOverride }}
{{- else if not (contains $name .Release.Name) }}
{{- $name = printf "%s-%s" .Release.Name $name }}
{{- else }}
{{- $name = .Release.Name }}
{{- end }}
{{- $name | replace "." "-" | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The ServiceAccount of a component; given: root, component. */}}
{{- define "paastis.serviceAccountName" -}}
{{- $account := (index .root.Values .component).serviceAccount }}
{{- if $account.name }}{{ $account.name }}
{{- else if $account.create }}{{ include "paastis.fullname" .root }}-{{ .component }}
{{- else }}{{ fail (printf "%s.serviceAccount.name is empty: with create: false, name the ServiceAccount that exists." .component) }}
{{- end }}
{{- end }}

{{/* What is cluster-scoped carries the namespace in its name. */}}
{{- define "paastis.clusterName" -}}
{{ include "paastis.fullname" . }}-proxy.{{ .Release.Namespace }}
{{- end }}

{{- define "paastis.systemApiSecretName" -}}
{{- default (printf "%s-system-api" (include "paastis.fullname" .)) .Values.systemApi.existingSecret }}
{{- end }}

{{/* The Secret of an account; given: root, name, account. */}}
{{- define "paastis.accountSecretName" -}}
{{- default (printf "%s-account-%s" (include "paastis.fullname" .root) .name) .account.credentials.existingSecret }}
{{- end }}

{{/* Every Secret that the controller may read, as a YAML list. */}}
{{- define "paastis.credentialSecrets" -}}
{{- $names := .Values.credentialSecrets }}
{{- range $name, $account := .Values.accounts }}
{{- $names = append $names (include "paastis.accountSecretName" (dict "root" $ "name" $name "account" $account)) }}
{{- end }}
{{- $names | uniq | sortAlpha | toYaml }}
{{- end }}

{{/* Labels. Given: root, and component where it belongs to one. */}}
{{- define "paastis.selectorLabels" -}}
app.kubernetes.io/name: {{ include "paastis.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "paastis.labels" -}}
{{- $own := include "paastis.selectorLabels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" (.root.Chart.AppVersion | toString) }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") }}
{{- mustMerge $own .root.Values.commonLabels | toYaml }}
{{- end }}

{{- define "paastis.podLabels" -}}
{{- $own := include "paastis.selectorLabels" . | fromYaml }}
{{- mustMerge $own (deepCopy (index .root.Values .component).podLabels) .root.Values.commonLabels | toYaml }}
{{- end }}

{{- define "paastis.image" -}}
{{- $image := .Values.image }}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}
{{- else }}{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end }}
{{- end }}

{{/* A duration's seconds, rounded down: how far it moves a date. */}}
{{- define "paastis.seconds" -}}
{{- $start := toDate "2006-01-02" "2000-01-01" }}
{{- sub (mustDateModify (printf "+%s" .) $start | unixEpoch) (unixEpoch $start) }}
{{- end }}

{{/* Host names of an Ingress or HTTPRoute as a YAML list; given: root, hosts, what. */}}
{{- define "paastis.hostnames" -}}
{{- $hosts := .hosts }}
{{- if not $hosts }}
{{- range .root.Values.proxy.baseDomains }}
{{- $hosts = append $hosts (printf "*.%s" (trimPrefix "*." .)) }}
{{- end }}
{{- end }}
{{- if not $hosts }}
{{- fail (printf "%s is empty, and so is proxy.baseDomains: name the hosts that lead to paastis, for example --set 'proxy.baseDomains={apps.example.com}'." .what) }}
{{- end }}
{{- if not .root.Values.proxy.trustedProxies }}
{{- fail "proxy.trustedProxies is empty: behind an Ingress or HTTPRoute, name the networks from which it calls, so that its X-Forwarded-* headers are believed, for example --set 'proxy.trustedProxies={10.0.0.0/8}'." }}
{{- end }}
{{- $hosts | toYaml }}
{{- end }}
