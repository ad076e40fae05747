{{- define "elasticache-iam.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "elasticache-iam.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "elasticache-iam.selectorLabels" -}}
app.kubernetes.io/name: {{ include "elasticache-iam.name" . | quote }}
app.kubernetes.io/instance: {{ quote .Release.Name }}
{{- end -}}

{{- define "elasticache-iam.labels" -}}
{{ include "elasticache-iam.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "elasticache-iam.serviceAccountName" -}}
{{- default (include "elasticache-iam.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "elasticache-iam.image" -}}
{{- $name := .Values.image.repository -}}
{{- with .Values.image.registry -}}
{{- $name = printf "%s/%s" (trimSuffix "/" .) $name -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* The configuration file: what is null or empty is as good as absent. */ -}}
{{- define "elasticache-iam.config" -}}
{{- $config := dict -}}
{{- range $key, $value := .Values.config -}}
{{- if not (or (kindIs "invalid" $value) (and (kindIs "string" $value) (empty $value)) (and (kindIs "slice" $value) (empty $value))) -}}
{{- $_ := set $config $key $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "elasticache-iam.audience" -}}
{{- .Values.config.audience | default "elasticache-iam.dev/sign" -}}
{{- end -}}

{{- /* A spread constraint counts the Pods of this release unless it says otherwise. */ -}}
{{- define "elasticache-iam.topologySpreadConstraints" -}}
{{- $selector := dict "matchLabels" (include "elasticache-iam.selectorLabels" . | fromYaml) -}}
{{- $constraints := .Values.topologySpreadConstraints -}}
{{- if not $constraints -}}
{{- $constraints = list -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" -}}
{{- $constraints = append $constraints (dict "maxSkew" 1 "topologyKey" . "whenUnsatisfiable" "ScheduleAnyway") -}}
{{- end -}}
{{- end -}}
{{- range $constraints }}
- {{ hasKey . "labelSelector" | ternary . (merge (dict "labelSelector" $selector) .) | toYaml | nindent 2 | trim }}
{{- end -}}
{{- end -}}

{{- /* CEL: whether an object is controlled by an ElastiCacheIAMUser and has our label. Takes the variable's name: object or
oldObject. */ -}}
{{- define "elasticache-iam.isOurs" -}}
{{ . }}.metadata.?labels[?'app.kubernetes.io/managed-by'].orValue('') == 'elasticache-iam-operator' &&
{{ . }}.metadata.?ownerReferences.orValue([]).exists(owner,
  owner.?controller.orValue(false) &&
  owner.apiVersion.startsWith('elasticache-iam.dev/') && owner.kind == 'ElastiCacheIAMUser')
{{- end -}}

{{- /* CEL: whether a Secret is one that the operator made. */ -}}
{{- define "elasticache-iam.isOurSecret" -}}
{{ . }}.?type.orValue('') == 'servicebinding.io/redis' &&
{{ include "elasticache-iam.isOurs" . }}
{{- end -}}

{{- /* Whether the operator may write ConfigMaps in everybody's namespaces: never without the fence, since there are some
that a whole cluster depends on. */ -}}
{{- define "elasticache-iam.writesConfigMaps" -}}
{{- if and .Values.rbac.configMaps .Values.fence.enabled }}true{{ end -}}
{{- end -}}

{{- /* Scrape settings that a ServiceMonitor and a PodMonitor share. Takes the values of the one. */ -}}
{{- define "elasticache-iam.scrape" -}}
path: /metrics
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
