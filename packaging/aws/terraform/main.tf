# What an installation of elasticache-iam-operator needs in AWS: its role and policy, the boundary of the roles that it
# makes, and the audience elasticache-iam.dev/sign of the cluster's OIDC provider. docs/aws-side.md tells how to use it.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

data "aws_eks_cluster" "this" {
  count  = var.issuer == "" ? 1 : 0
  name   = var.cluster_name
  region = local.cluster_region
}

data "aws_iam_openid_connect_provider" "cluster" {
  count = var.create_oidc_provider ? 0 : 1
  url   = "https://${local.issuer}"
}

locals {
  account        = data.aws_caller_identity.current.account_id
  partition      = data.aws_partition.current.partition
  region         = data.aws_region.current.region
  cluster_region = coalesce(var.cluster_region, local.region)
  issuer         = trimprefix(var.issuer != "" ? var.issuer : data.aws_eks_cluster.this[0].identity[0].oidc[0].issuer, "https://")
  audience       = "elasticache-iam.dev/sign"

  # Lists of statements of many shapes: a condition would want one type on both sides.
  statements = concat(
    [for statement in local.with_memorydb : statement if var.memorydb],
    [for statement in local.without_memorydb : statement if !var.memorydb],
    [for statement in local.existing_roles : statement if var.existing_roles],
    [for statement in local.trusted_caches : statement if length(var.trusted_caches) > 0 && var.memorydb],
    [for statement in local.trusted_caches_without_memorydb : statement if length(var.trusted_caches) > 0 && !var.memorydb],
    [for statement in local.roles_elsewhere : statement if length(var.roles_elsewhere) > 0],
    [for statement in local.pod_identity : statement if var.pod_identity_users],
  )
}

resource "aws_iam_openid_connect_provider" "cluster" {
  count          = var.create_oidc_provider ? 1 : 0
  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com", local.audience]
  tags           = var.tags
}

check "audience" {
  assert {
    condition     = var.create_oidc_provider || contains(try(data.aws_iam_openid_connect_provider.cluster[0].client_id_list, []), local.audience)
    error_message = "The cluster's OIDC provider lacks the audience ${local.audience}: add it to client_id_list where the provider is managed, or run aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn arn:${local.partition}:iam::${local.account}:oidc-provider/${local.issuer} --client-id ${local.audience}"
  }
}

resource "aws_iam_policy" "boundary" {
  name        = var.boundary_name
  description = "The most that a role made by elasticache-iam-operator may do."
  policy      = jsonencode(local.boundary)
  tags        = var.tags
}

resource "aws_iam_role" "operator" {
  name               = var.role_name
  assume_role_policy = var.identity == "PodIdentity" ? jsonencode(local.pod_identity_trust) : jsonencode(local.irsa_trust)
  tags               = var.tags
}

# Inline: a managed policy takes 6,144 characters, and with every feature this is longer.
resource "aws_iam_role_policy" "operator" {
  name   = local.policy_name
  role   = aws_iam_role.operator.name
  policy = var.policy_json != null ? var.policy_json : jsonencode({ Version = "2012-10-17", Statement = local.statements })
}

resource "aws_eks_pod_identity_association" "operator" {
  count           = var.identity == "PodIdentity" ? 1 : 0
  region          = local.cluster_region
  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = aws_iam_role.operator.arn
  tags            = var.tags
}
