{{- /* What a schema can't say, or can't say so that a reader knows what to do. Returns all that is wrong, a line each. */ -}}
{{- define "elasticache-iam.problems" -}}
{{- $values := .Values -}}
{{- $config := .Values.config | default dict -}}
{{- $policyArn := "^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/[^*?\\s]+$" -}}
{{- $roleArn := "^arn:[a-z-]+:iam::[0-9]{12}:role/[^*?\\s]+$" -}}

{{- $owner := $config.owner -}}
{{- if or (kindIs "invalid" $owner) (eq (toString $owner) "") }}
config.owner is required: this installation's name in AWS, 1 to 10 lower-case letters and digits with a letter first, for instance --set config.owner=prod
{{- else if not (and (kindIs "string" $owner) (regexMatch "^[a-z][a-z0-9]{0,9}$" $owner)) }}
config.owner: {{ toString $owner | quote }} can't begin a name in AWS; it must be 1 to 10 lower-case letters and digits with a letter first, as "prod"
{{- end -}}

{{- with $config.account }}
{{- if not (kindIs "string" .) }}
config.account: a number loses its leading zeros; put the 12 digits in quotes, or use --set-string config.account=…
{{- else if not (regexMatch "^[0-9]{12}$" .) }}
config.account: {{ quote . }} is no AWS account; an id has 12 digits
{{- end }}
{{- end -}}

{{- with $config.region }}
{{- if not (regexMatch "^[a-z]{2,}(-[a-z]+)+-[0-9]{1,2}$" .) }}
config.region: {{ quote . }} is no AWS region; they look like eu-central-1 (an availability zone has a letter more)
{{- end }}
{{- end -}}

{{- with $config.oidcIssuer }}
{{- if not (regexMatch "^https://[^\\s/?#]+(/[^\\s?#]*)?$" .) }}
config.oidcIssuer: {{ quote . }} is no OIDC issuer; it is an https:// URL: aws eks describe-cluster --name CLUSTER --query cluster.identity.oidc.issuer
{{- end }}
{{- end -}}

{{- with $config.audience }}
{{- if not (regexMatch "^[^'\\\\\\s]+$" .) }}
config.audience: {{ quote . }} can't be a client id of an OIDC provider; the default is "elasticache-iam.dev/sign"
{{- end }}
{{- end -}}

{{- with $config.operatorRoleArn }}
{{- if not (regexMatch "^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[^*?\\s]+$" .) }}
config.operatorRoleArn: {{ quote . }} is no role's ARN; they look like arn:aws:iam::111122223333:role/NAME
{{- end }}
{{- end -}}

{{- with $config.permissionsBoundary }}
{{- $in := index (concat (splitList ":" .) (list "" "" "" "" "")) 4 }}
{{- if not (regexMatch $policyArn .) }}
config.permissionsBoundary: {{ quote . }} is no policy's ARN; they look like arn:aws:iam::111122223333:policy/NAME
{{- else if and $config.account (kindIs "string" $config.account) (not (has $in (list "aws" $config.account))) }}
config.permissionsBoundary: {{ quote . }} is a policy of account {{ $in }}, and roles are made in config.account {{ $config.account }}; a boundary must be of the same
{{- end }}
{{- end -}}

{{- range $index, $key := $config.allowedTagKeys | default list }}
{{- if regexMatch "^(elasticache-iam\\.dev/|(?i:aws:))" $key }}
config.allowedTagKeys[{{ $index }}]: no resource may have the tag {{ quote $key }}, nor any other whose key starts with elasticache-iam.dev/ (the operator's) or aws: (AWS's); leave it out
{{- end }}
{{- end -}}

{{- range $index, $account := $config.accounts | default list }}
{{- if not (and (kindIs "string" $account.id) (regexMatch "^[0-9]{12}$" (toString $account.id))) }}
config.accounts[{{ $index }}].id: {{ toString $account.id | quote }} is no AWS account; an id is 12 digits in quotes
{{- else if not (regexMatch $roleArn $account.roleArn) }}
config.accounts[{{ $index }}].roleArn: {{ quote $account.roleArn }} is no role's ARN; they look like arn:aws:iam::{{ $account.id }}:role/NAME
{{- else if ne (index (splitList ":" $account.roleArn) 4) $account.id }}
config.accounts[{{ $index }}].roleArn: {{ quote $account.roleArn }} is a role of account {{ index (splitList ":" $account.roleArn) 4 }}, not of {{ $account.id }}
{{- end }}
{{- with $account.permissionsBoundary }}
{{- $in := index (concat (splitList ":" .) (list "" "" "" "" "")) 4 }}
{{- if not (regexMatch $policyArn .) }}
config.accounts[{{ $index }}].permissionsBoundary: {{ quote . }} is no policy's ARN; they look like arn:aws:iam::{{ toString $account.id }}:policy/NAME
{{- else if not (has $in (list "aws" (toString $account.id))) }}
config.accounts[{{ $index }}].permissionsBoundary: {{ quote . }} is a policy of account {{ $in }}, not of {{ toString $account.id }}
{{- end }}
{{- end }}
{{- end -}}

{{- range $index, $arn := $config.trustedCaches | default list }}
{{- if not (regexMatch "^arn:[a-z-]+:(elasticache|memorydb):[a-z0-9-]+:[0-9]{12}:\\S+$" $arn) }}
config.trustedCaches[{{ $index }}]: {{ quote $arn }} is no cache's ARN; they look like arn:aws:elasticache:eu-central-1:111122223333:replicationgroup:NAME
{{- end }}
{{- end -}}

{{- with $config.cacheCA }}
{{- if not (or (hasPrefix "-----BEGIN" (trim .)) (hasPrefix "/" .)) }}
config.cacheCA: neither PEM text, which starts with -----BEGIN CERTIFICATE-----, nor a file's path in the container, which starts with /
{{- end }}
{{- end -}}

{{- range $index, $namespace := $config.namespaces | default list }}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" $namespace) }}
config.namespaces[{{ $index }}]: {{ quote $namespace }} is no namespace's name; patterns aren't known, and an empty list stands for the whole cluster
{{- else if and $values.rbac.create (ne $namespace $.Release.Namespace) (lookup "v1" "Namespace" "" $.Release.Namespace) (not (lookup "v1" "Namespace" "" $namespace)) }}
config.namespaces[{{ $index }}]: there is no namespace {{ quote $namespace }}, and the operator's rights are made in it; kubectl create namespace {{ $namespace }}
{{- end }}
{{- end -}}

{{- $retry := $config.leaseRetry | default 2 | float64 -}}
{{- $deadline := $config.leaseRenewDeadline | default 10 | float64 -}}
{{- $lease := $config.leaseSeconds | default 15 | float64 -}}
{{- if not (and (lt $retry $deadline) (lt $deadline $lease)) }}
config.leaseSeconds: it must be leaseRetry < leaseRenewDeadline < leaseSeconds, not {{ $retry }} < {{ $deadline }} < {{ $lease }}
{{- end -}}

{{- if hasPrefix "http" (toString $values.image.registry) }}
image.registry: {{ quote $values.image.registry }} is a URL; write the host alone, as "registry.example.com"
{{- end -}}
{{- $word := "[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*" -}}
{{- if regexMatch "@|:[^/]*$" $values.image.repository }}
image.repository: {{ quote $values.image.repository }} has a tag or digest; write those into image.tag and image.digest
{{- else if not (regexMatch (printf "^([A-Za-z0-9.:\\[\\]-]+/)?%s(/%s)*$" $word $word) $values.image.repository) }}
image.repository: {{ quote $values.image.repository }} is no image's name; they look like registry.example.com/team/elasticache-iam-operator
{{- end -}}
{{- with $values.image.tag }}
{{- if not (regexMatch "^\\w[\\w.-]{0,127}$" .) }}
image.tag: {{ quote . }} can't be a tag; they are letters, digits, ".", "_" and "-", as {{ quote $.Chart.AppVersion }}
{{- end }}
{{- end -}}
{{- with $values.image.digest }}
{{- if not (regexMatch "^sha256:[0-9a-f]{64}$" .) }}
image.digest: {{ quote . }} is no digest; they look like sha256: and 64 of 0-9a-f
{{- end }}
{{- end -}}

{{- with index ($values.serviceAccount.annotations | default dict) "eks.amazonaws.com/role-arn" }}
{{- if not (regexMatch $roleArn .) }}
serviceAccount.annotations.eks.amazonaws.com/role-arn: {{ quote . }} is no role's ARN; they look like arn:aws:iam::111122223333:role/NAME
{{- end }}
{{- end -}}
{{- if and (not $values.serviceAccount.create) (not $values.serviceAccount.name) }}
serviceAccount.name is required with serviceAccount.create=false: the ServiceAccount that is there already
{{- end -}}
{{- if and $values.rbac.annotateServiceAccounts (not $values.fence.enabled) }}
rbac.annotateServiceAccounts needs fence.enabled: without it the operator could change whatever there is on any ServiceAccount
{{- end -}}

{{- if and $values.podDisruptionBudget.enabled (not (regexMatch "^([1-9][0-9]*|[1-9][0-9]?%|100%)$" (toString $values.podDisruptionBudget.maxUnavailable))) }}
podDisruptionBudget.maxUnavailable: {{ toString $values.podDisruptionBudget.maxUnavailable | quote }} would hold up every drain of a node, or is none; it must be a number from 1 on or a percentage as "50%"
{{- end -}}

{{- $ours := list "app.kubernetes.io/name" "app.kubernetes.io/instance" -}}
{{- range $key, $_ := $values.podLabels }}
{{- if or (has $key $ours) (hasKey ($values.commonLabels | default dict) $key) }}
podLabels: {{ quote $key }} is there already; choose another key
{{- end }}
{{- end -}}
{{- range $key, $_ := $values.commonLabels }}
{{- if has $key (concat $ours (list "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart")) }}
commonLabels: {{ quote $key }} is the chart's own; choose another key
{{- end }}
{{- end -}}
{{- range $values.extraEnv }}
{{- if has .name (list "POD_NAME" "POD_NAMESPACE" "POD_UID") }}
extraEnv: {{ .name }} is the chart's own; leave it out
{{- end }}
{{- end -}}
{{- range $values.extraVolumes }}
{{- if has .name (list "config" "tmp") }}
extraVolumes: {{ quote .name }} is the name of one of the chart's own volumes; choose another
{{- end }}
{{- end -}}

{{- if and $values.metrics.serviceMonitor.enabled $values.metrics.podMonitor.enabled }}
metrics.serviceMonitor.enabled and metrics.podMonitor.enabled: with both, everything is counted twice; choose one
{{- end -}}
{{- /* Without a cluster Helm knows its own kinds by group and version only, and these not at all. */ -}}
{{- if .Capabilities.APIVersions.Has "apps/v1/Deployment" }}
{{- range list "ServiceMonitor" "PodMonitor" "PrometheusRule" }}
{{- $value := printf "%s%s" (lower (substr 0 1 .)) (substr 1 -1 .) }}
{{- if and (index $values.metrics $value).enabled (not ($.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" .))) }}
metrics.{{ $value }}.enabled: the cluster doesn't know {{ . }}, which comes with Prometheus Operator; install that first, or leave it false
{{- end }}
{{- end }}
{{- end -}}
{{- $policy := $values.networkPolicy -}}
{{- range $where, $peers := dict "metricsFrom" $policy.metricsFrom "dns.to" $policy.dns.to "apiServer.to" $policy.apiServer.to "aws.to" $policy.aws.to "caches.to" $policy.caches.to }}
{{- range $index, $peer := $peers }}
{{- if kindIs "map" $peer.ipBlock }}
{{- if not (regexMatch "^[0-9a-fA-F.:]+/[0-9]{1,3}$" (toString ($peer.ipBlock.cidr | default ""))) }}
networkPolicy.{{ $where }}[{{ $index }}].ipBlock.cidr: {{ toString ($peer.ipBlock.cidr | default "") | quote }} is no range of addresses; they look like 10.0.0.0/24, and 10.0.0.9/32 is one address
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
{{- $alerts := list -}}
{{- range (.Files.Get "files/monitoring/alerts.yaml" | fromYaml).groups }}
{{- range .rules }}
{{- $alerts = append $alerts .alert -}}
{{- end }}
{{- end -}}
{{- range $values.metrics.prometheusRule.disabled }}
{{- if not (has . $alerts) }}
metrics.prometheusRule.disabled: there is no alert {{ quote . }}; there are {{ join ", " $alerts }}
{{- end }}
{{- end -}}
{{- end -}}
