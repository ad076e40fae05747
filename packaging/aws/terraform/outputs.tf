output "role_arn" {
  description = "The operator's role."
  value       = aws_iam_role.operator.arn
}

output "boundary_arn" {
  description = "The boundary: the chart's config.permissionsBoundary."
  value       = aws_iam_policy.boundary.arn
}

output "helm_values" {
  description = "Values for the chart, as YAML."
  value = yamlencode({
    config = merge(
      {
        owner               = var.owner
        account             = local.account
        region              = local.region
        oidcIssuer          = "https://${local.issuer}"
        permissionsBoundary = aws_iam_policy.boundary.arn
      },
      # The operator looks for the cluster in the caches' region.
      { for name in compact([var.cluster_name]) : "clusterName" => name if local.cluster_region == local.region },
    )
    serviceAccount = {
      name        = var.service_account
      annotations = { for arn in [aws_iam_role.operator.arn] : "eks.amazonaws.com/role-arn" => arn if var.identity == "IRSA" }
    }
  })
}
