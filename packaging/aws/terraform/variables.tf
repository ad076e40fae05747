variable "owner" {
  type        = string
  description = "This installation's name in AWS: the chart's config.owner. It can't be changed later."

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{0,9}$", var.owner))
    error_message = "owner is 1 to 10 lower-case letters and digits, a letter first."
  }
}

variable "cluster_name" {
  type        = string
  default     = ""
  description = "The EKS cluster's name. Without it, as outside EKS, say issuer."
}

variable "cluster_region" {
  type        = string
  default     = null
  description = "The EKS cluster's region; by default the provider's, which is the caches'."
}

variable "issuer" {
  type        = string
  default     = ""
  description = "The cluster's OIDC issuer, https://…; by default that of the EKS cluster."
}

variable "create_oidc_provider" {
  type        = bool
  default     = false
  description = "Whether to make the cluster's IAM OIDC provider here. One that is there already needs elasticache-iam.dev/sign in its client_id_list, where it is managed."
}

variable "identity" {
  type        = string
  default     = "IRSA"
  description = "How the operator's pods get their role: IRSA or PodIdentity."

  validation {
    condition     = contains(["IRSA", "PodIdentity"], var.identity)
    error_message = "identity is IRSA or PodIdentity."
  }
}

variable "namespace" {
  type        = string
  default     = "elasticache-iam"
  description = "The operator's namespace."
}

variable "service_account" {
  type        = string
  default     = "elasticache-iam-operator"
  description = "The operator's ServiceAccount."
}

variable "role_name" {
  type        = string
  default     = "elasticache-iam-operator"
  description = "The name of the operator's role."
}

variable "boundary_name" {
  type        = string
  default     = "elasticache-iam-boundary"
  description = "The name of the permissions boundary for the roles that the operator makes."
}

variable "memorydb" {
  type        = bool
  default     = true
  description = "Whether there are UserGroups with service: MemoryDB."
}

variable "existing_roles" {
  type        = bool
  default     = false
  description = "Whether there are users with role.mode: Existing. Be careful then who may tag roles with elasticache-iam.dev/allow."
}

variable "pod_identity_users" {
  type        = bool
  default     = false
  description = "Whether there are users with role.binding: PodIdentity; needs cluster_name, in the caches' region."
}

variable "trusted_caches" {
  type        = list(string)
  default     = []
  description = "ARNs of the chart's config.trustedCaches."
}

variable "roles_elsewhere" {
  type        = list(string)
  default     = []
  description = "ARNs of the roles in other accounts, config.accounts[].roleArn."
}

variable "policy_json" {
  type        = string
  default     = null
  description = "The operator's policy, if it needs more than these variables say (more regions, signing: AssumeRole): the output of elasticache-iam policy operator."
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Tags of everything that is made here."
}
