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
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
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
{{- if .Values.serviceAccount.create -}}
{{- default (include "elasticache-iam.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is required with serviceAccount.create=false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "elasticache-iam.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* The configuration file; a key set to null is as good as absent. */ -}}
{{- define "elasticache-iam.config" -}}
{{- if not .Values.config.owner -}}
{{- fail "config.owner is required: this installation's name in AWS, 1 to 10 lower-case letters and digits with a letter first, for instance --set config.owner=prod" -}}
{{- end -}}
{{- $config := dict -}}
{{- range $key, $value := .Values.config -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $config $key $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
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
