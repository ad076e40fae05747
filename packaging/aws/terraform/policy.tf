# The operator's policy and its parts. Written by `make aws` from the calls that the operator makes: don't edit.

locals {
  policy_name = "operator"

  with_memorydb = [
    {
      Sid    = "List"
      Effect = "Allow"
      Action = [
        "elasticache:DescribeUsers",
        "elasticache:DescribeUserGroups",
        "elasticache:DescribeReplicationGroups",
        "elasticache:DescribeCacheClusters",
        "elasticache:DescribeServerlessCaches",
        "memorydb:DescribeUsers",
        "memorydb:DescribeACLs",
        "memorydb:DescribeClusters",
        "iam:ListRoles",
        "iam:GetAccountAuthorizationDetails",
        "tag:GetResources",
      ]
      Resource = ["*"]
    },
    {
      Sid    = "Read"
      Effect = "Allow"
      Action = [
        "elasticache:ListTagsForResource",
        "memorydb:ListTags",
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:ListRolePolicies",
        "iam:ListAttachedRolePolicies",
        "iam:SimulatePrincipalPolicy",
        "iam:GetOpenIDConnectProvider",
        "eks:DescribeCluster",
      ]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:*",
        "arn:${local.partition}:memorydb:${local.region}:${local.account}:*",
        "arn:${local.partition}:iam::${local.account}:role/*",
        "arn:${local.partition}:iam::${local.account}:oidc-provider/*",
        "arn:${local.partition}:eks:${local.region}:${local.account}:cluster/*",
      ]
    },
    {
      Sid    = "CreateUsersAndGroups"
      Effect = "Allow"
      Action = [
        "elasticache:CreateUser",
        "elasticache:CreateUserGroup",
        "elasticache:AddTagsToResource",
        "memorydb:CreateUser",
        "memorydb:CreateACL",
        "memorydb:TagResource",
      ]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:user:${var.owner}-*",
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:usergroup:${var.owner}-*",
        "arn:${local.partition}:memorydb:${local.region}:${local.account}:user/${var.owner}-*",
        "arn:${local.partition}:memorydb:${local.region}:${local.account}:acl/${var.owner}-*",
      ]
    },
    {
      Sid    = "Adopt"
      Effect = "Allow"
      Action = [
        "elasticache:AddTagsToResource",
        "memorydb:TagResource",
      ]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:user:*",
        "arn:${local.partition}:memorydb:${local.region}:${local.account}:user/*",
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:usergroup:*",
        "arn:${local.partition}:memorydb:${local.region}:${local.account}:acl/*",
      ]
      Condition = {
        StringLike = {
          "aws:ResourceTag/elasticache-iam.dev/allow" = [
            "${var.owner}",
            "${var.owner} *",
            "${var.owner}/*",
            "* ${var.owner}",
            "* ${var.owner} *",
            "* ${var.owner}/*",
          ]
        }
      }
    },
    {
      Sid    = "ChangeOurs"
      Effect = "Allow"
      Action = [
        "elasticache:ModifyUser",
        "elasticache:DeleteUser",
        "elasticache:ModifyUserGroup",
        "elasticache:DeleteUserGroup",
        "elasticache:AddTagsToResource",
        "memorydb:UpdateUser",
        "memorydb:DeleteUser",
        "memorydb:UpdateACL",
        "memorydb:DeleteACL",
        "memorydb:TagResource",
      ]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:user:*",
        "arn:${local.partition}:memorydb:${local.region}:${local.account}:user/*",
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:usergroup:*",
        "arn:${local.partition}:memorydb:${local.region}:${local.account}:acl/*",
      ]
      Condition = {
        StringEquals = {
          "aws:ResourceTag/elasticache-iam.dev/owner" = "${var.owner}"
        }
      }
    },
    {
      Sid    = "RemoveTags"
      Effect = "Allow"
      Action = [
        "elasticache:RemoveTagsFromResource",
        "memorydb:UntagResource",
      ]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:user:*",
        "arn:${local.partition}:memorydb:${local.region}:${local.account}:user/*",
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:usergroup:*",
        "arn:${local.partition}:memorydb:${local.region}:${local.account}:acl/*",
      ]
      Condition = {
        StringEquals = {
          "aws:ResourceTag/elasticache-iam.dev/owner" = "${var.owner}"
        }
        "ForAllValues:StringNotEquals" = {
          "aws:TagKeys" = [
            "elasticache-iam.dev/owner",
            "elasticache-iam.dev/kind",
            "elasticache-iam.dev/namespace",
            "elasticache-iam.dev/name",
            "elasticache-iam.dev/uid",
          ]
        }
      }
    },
    {
      Sid    = "ChangeMembersOfOthersGroups"
      Effect = "Allow"
      Action = [
        "elasticache:ModifyUserGroup",
        "memorydb:UpdateACL",
      ]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:usergroup:*",
        "arn:${local.partition}:memorydb:${local.region}:${local.account}:acl/*",
      ]
      Condition = {
        StringLike = {
          "aws:ResourceTag/elasticache-iam.dev/allow" = [
            "${var.owner}",
            "${var.owner} *",
            "${var.owner}/*",
            "* ${var.owner}",
            "* ${var.owner} *",
            "* ${var.owner}/*",
          ]
        }
      }
    },
    {
      Sid    = "NameMembers"
      Effect = "Allow"
      Action = [
        "elasticache:CreateUserGroup",
        "elasticache:ModifyUserGroup",
        "memorydb:CreateACL",
        "memorydb:UpdateACL",
      ]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:user:*",
        "arn:${local.partition}:memorydb:${local.region}:${local.account}:user/*",
      ]
    },
    {
      Sid    = "AttachToCaches"
      Effect = "Allow"
      Action = [
        "elasticache:ModifyReplicationGroup",
        "elasticache:ModifyServerlessCache",
        "memorydb:UpdateCluster",
      ]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:replicationgroup:*",
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:serverlesscache:*",
        "arn:${local.partition}:memorydb:${local.region}:${local.account}:cluster/*",
      ]
      Condition = {
        StringLike = {
          "aws:ResourceTag/elasticache-iam.dev/allow" = [
            "${var.owner}",
            "${var.owner} *",
            "${var.owner}/*",
            "* ${var.owner}",
            "* ${var.owner} *",
            "* ${var.owner}/*",
          ]
        }
      }
    },
    {
      Sid    = "AttachOurGroups"
      Effect = "Allow"
      Action = [
        "elasticache:ModifyReplicationGroup",
        "elasticache:ModifyServerlessCache",
        "memorydb:UpdateCluster",
      ]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:usergroup:*",
        "arn:${local.partition}:memorydb:${local.region}:${local.account}:acl/*",
      ]
      Condition = {
        StringEquals = {
          "aws:ResourceTag/elasticache-iam.dev/owner" = "${var.owner}"
        }
      }
    },
    {
      Sid    = "ViaElastiCache"
      Effect = "Allow"
      Action = [
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeTags",
      ]
      Resource = ["*"]
      Condition = {
        Bool = {
          "aws:ViaAWSService" = "true"
        }
      }
    },
    {
      Sid    = "CreateRoles"
      Effect = "Allow"
      Action = [
        "iam:CreateRole",
        "iam:PutRolePolicy",
      ]
      Resource = ["arn:${local.partition}:iam::${local.account}:role/elasticache-iam/${var.owner}/${var.owner}-*"]
      Condition = {
        StringEquals = {
          "iam:PermissionsBoundary" = "${aws_iam_policy.boundary.arn}"
        }
      }
    },
    {
      Sid    = "ChangeOurRoles"
      Effect = "Allow"
      Action = [
        "iam:TagRole",
        "iam:UpdateRole",
        "iam:UpdateAssumeRolePolicy",
        "iam:DeleteRolePolicy",
        "iam:DeleteRole",
      ]
      Resource = ["arn:${local.partition}:iam::${local.account}:role/elasticache-iam/${var.owner}/${var.owner}-*"]
    },
    {
      Sid      = "UntagOurRoles"
      Effect   = "Allow"
      Action   = ["iam:UntagRole"]
      Resource = ["arn:${local.partition}:iam::${local.account}:role/elasticache-iam/${var.owner}/${var.owner}-*"]
      Condition = {
        "ForAllValues:StringNotEquals" = {
          "aws:TagKeys" = [
            "elasticache-iam.dev/owner",
            "elasticache-iam.dev/kind",
            "elasticache-iam.dev/namespace",
            "elasticache-iam.dev/name",
            "elasticache-iam.dev/uid",
          ]
        }
      }
    },
    {
      Sid      = "SetBoundary"
      Effect   = "Allow"
      Action   = ["iam:PutRolePermissionsBoundary"]
      Resource = ["arn:${local.partition}:iam::${local.account}:role/elasticache-iam/${var.owner}/${var.owner}-*"]
      Condition = {
        StringEquals = {
          "iam:PermissionsBoundary" = "${aws_iam_policy.boundary.arn}"
        }
      }
    },
  ]

  without_memorydb = [
    {
      Sid    = "List"
      Effect = "Allow"
      Action = [
        "elasticache:DescribeUsers",
        "elasticache:DescribeUserGroups",
        "elasticache:DescribeReplicationGroups",
        "elasticache:DescribeCacheClusters",
        "elasticache:DescribeServerlessCaches",
        "iam:ListRoles",
        "iam:GetAccountAuthorizationDetails",
        "tag:GetResources",
      ]
      Resource = ["*"]
    },
    {
      Sid    = "Read"
      Effect = "Allow"
      Action = [
        "elasticache:ListTagsForResource",
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:ListRolePolicies",
        "iam:ListAttachedRolePolicies",
        "iam:SimulatePrincipalPolicy",
        "iam:GetOpenIDConnectProvider",
        "eks:DescribeCluster",
      ]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:*",
        "arn:${local.partition}:iam::${local.account}:role/*",
        "arn:${local.partition}:iam::${local.account}:oidc-provider/*",
        "arn:${local.partition}:eks:${local.region}:${local.account}:cluster/*",
      ]
    },
    {
      Sid    = "CreateUsersAndGroups"
      Effect = "Allow"
      Action = [
        "elasticache:CreateUser",
        "elasticache:CreateUserGroup",
        "elasticache:AddTagsToResource",
      ]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:user:${var.owner}-*",
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:usergroup:${var.owner}-*",
      ]
    },
    {
      Sid    = "Adopt"
      Effect = "Allow"
      Action = ["elasticache:AddTagsToResource"]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:user:*",
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:usergroup:*",
      ]
      Condition = {
        StringLike = {
          "aws:ResourceTag/elasticache-iam.dev/allow" = [
            "${var.owner}",
            "${var.owner} *",
            "${var.owner}/*",
            "* ${var.owner}",
            "* ${var.owner} *",
            "* ${var.owner}/*",
          ]
        }
      }
    },
    {
      Sid    = "ChangeOurs"
      Effect = "Allow"
      Action = [
        "elasticache:ModifyUser",
        "elasticache:DeleteUser",
        "elasticache:ModifyUserGroup",
        "elasticache:DeleteUserGroup",
        "elasticache:AddTagsToResource",
      ]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:user:*",
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:usergroup:*",
      ]
      Condition = {
        StringEquals = {
          "aws:ResourceTag/elasticache-iam.dev/owner" = "${var.owner}"
        }
      }
    },
    {
      Sid    = "RemoveTags"
      Effect = "Allow"
      Action = ["elasticache:RemoveTagsFromResource"]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:user:*",
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:usergroup:*",
      ]
      Condition = {
        StringEquals = {
          "aws:ResourceTag/elasticache-iam.dev/owner" = "${var.owner}"
        }
        "ForAllValues:StringNotEquals" = {
          "aws:TagKeys" = [
            "elasticache-iam.dev/owner",
            "elasticache-iam.dev/kind",
            "elasticache-iam.dev/namespace",
            "elasticache-iam.dev/name",
            "elasticache-iam.dev/uid",
          ]
        }
      }
    },
    {
      Sid      = "ChangeMembersOfOthersGroups"
      Effect   = "Allow"
      Action   = ["elasticache:ModifyUserGroup"]
      Resource = ["arn:${local.partition}:elasticache:${local.region}:${local.account}:usergroup:*"]
      Condition = {
        StringLike = {
          "aws:ResourceTag/elasticache-iam.dev/allow" = [
            "${var.owner}",
            "${var.owner} *",
            "${var.owner}/*",
            "* ${var.owner}",
            "* ${var.owner} *",
            "* ${var.owner}/*",
          ]
        }
      }
    },
    {
      Sid    = "NameMembers"
      Effect = "Allow"
      Action = [
        "elasticache:CreateUserGroup",
        "elasticache:ModifyUserGroup",
      ]
      Resource = ["arn:${local.partition}:elasticache:${local.region}:${local.account}:user:*"]
    },
    {
      Sid    = "AttachToCaches"
      Effect = "Allow"
      Action = [
        "elasticache:ModifyReplicationGroup",
        "elasticache:ModifyServerlessCache",
      ]
      Resource = [
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:replicationgroup:*",
        "arn:${local.partition}:elasticache:${local.region}:${local.account}:serverlesscache:*",
      ]
      Condition = {
        StringLike = {
          "aws:ResourceTag/elasticache-iam.dev/allow" = [
            "${var.owner}",
            "${var.owner} *",
            "${var.owner}/*",
            "* ${var.owner}",
            "* ${var.owner} *",
            "* ${var.owner}/*",
          ]
        }
      }
    },
    {
      Sid    = "AttachOurGroups"
      Effect = "Allow"
      Action = [
        "elasticache:ModifyReplicationGroup",
        "elasticache:ModifyServerlessCache",
      ]
      Resource = ["arn:${local.partition}:elasticache:${local.region}:${local.account}:usergroup:*"]
      Condition = {
        StringEquals = {
          "aws:ResourceTag/elasticache-iam.dev/owner" = "${var.owner}"
        }
      }
    },
    {
      Sid    = "ViaElastiCache"
      Effect = "Allow"
      Action = [
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeTags",
      ]
      Resource = ["*"]
      Condition = {
        Bool = {
          "aws:ViaAWSService" = "true"
        }
      }
    },
    {
      Sid    = "CreateRoles"
      Effect = "Allow"
      Action = [
        "iam:CreateRole",
        "iam:PutRolePolicy",
      ]
      Resource = ["arn:${local.partition}:iam::${local.account}:role/elasticache-iam/${var.owner}/${var.owner}-*"]
      Condition = {
        StringEquals = {
          "iam:PermissionsBoundary" = "${aws_iam_policy.boundary.arn}"
        }
      }
    },
    {
      Sid    = "ChangeOurRoles"
      Effect = "Allow"
      Action = [
        "iam:TagRole",
        "iam:UpdateRole",
        "iam:UpdateAssumeRolePolicy",
        "iam:DeleteRolePolicy",
        "iam:DeleteRole",
      ]
      Resource = ["arn:${local.partition}:iam::${local.account}:role/elasticache-iam/${var.owner}/${var.owner}-*"]
    },
    {
      Sid      = "UntagOurRoles"
      Effect   = "Allow"
      Action   = ["iam:UntagRole"]
      Resource = ["arn:${local.partition}:iam::${local.account}:role/elasticache-iam/${var.owner}/${var.owner}-*"]
      Condition = {
        "ForAllValues:StringNotEquals" = {
          "aws:TagKeys" = [
            "elasticache-iam.dev/owner",
            "elasticache-iam.dev/kind",
            "elasticache-iam.dev/namespace",
            "elasticache-iam.dev/name",
            "elasticache-iam.dev/uid",
          ]
        }
      }
    },
    {
      Sid      = "SetBoundary"
      Effect   = "Allow"
      Action   = ["iam:PutRolePermissionsBoundary"]
      Resource = ["arn:${local.partition}:iam::${local.account}:role/elasticache-iam/${var.owner}/${var.owner}-*"]
      Condition = {
        StringEquals = {
          "iam:PermissionsBoundary" = "${aws_iam_policy.boundary.arn}"
        }
      }
    },
  ]

  existing_roles = [
    {
      Sid    = "PolicyOfOthersRoles"
      Effect = "Allow"
      Action = [
        "iam:PutRolePolicy",
        "iam:DeleteRolePolicy",
      ]
      Resource = ["arn:${local.partition}:iam::${local.account}:role/*"]
      Condition = {
        StringLike = {
          "aws:ResourceTag/elasticache-iam.dev/allow" = [
            "${var.owner}",
            "${var.owner} *",
            "${var.owner}/*",
            "* ${var.owner}",
            "* ${var.owner} *",
            "* ${var.owner}/*",
          ]
        }
      }
    },
  ]

  trusted_caches = [
    {
      Sid    = "AttachToTrustedCaches"
      Effect = "Allow"
      Action = [
        "elasticache:ModifyReplicationGroup",
        "elasticache:ModifyServerlessCache",
        "memorydb:UpdateCluster",
      ]
      Resource = var.trusted_caches
    },
  ]

  roles_elsewhere = [
    {
      Sid      = "BecomeRolesElsewhere"
      Effect   = "Allow"
      Action   = ["sts:AssumeRole"]
      Resource = var.roles_elsewhere
    },
  ]

  pod_identity = [
    {
      Sid    = "ReadAssociations"
      Effect = "Allow"
      Action = [
        "eks:ListPodIdentityAssociations",
        "eks:DescribePodIdentityAssociation",
        "eks:DescribeAddon",
      ]
      Resource = [
        "arn:${local.partition}:eks:${local.region}:${local.account}:cluster/${var.cluster_name}",
        "arn:${local.partition}:eks:${local.region}:${local.account}:podidentityassociation/${var.cluster_name}/*",
        "arn:${local.partition}:eks:${local.region}:${local.account}:addon/${var.cluster_name}/*",
      ]
    },
    {
      Sid      = "MakeAssociations"
      Effect   = "Allow"
      Action   = ["eks:CreatePodIdentityAssociation"]
      Resource = ["arn:${local.partition}:eks:${local.region}:${local.account}:cluster/${var.cluster_name}"]
      Condition = {
        StringEquals = {
          "aws:RequestTag/elasticache-iam.dev/owner" = "${var.owner}"
        }
      }
    },
    {
      Sid      = "TagAssociations"
      Effect   = "Allow"
      Action   = ["eks:TagResource"]
      Resource = ["arn:${local.partition}:eks:${local.region}:${local.account}:podidentityassociation/${var.cluster_name}/*"]
      Condition = {
        StringEquals = {
          "aws:RequestTag/elasticache-iam.dev/owner" = "${var.owner}"
        }
      }
    },
    {
      Sid    = "ChangeOurAssociations"
      Effect = "Allow"
      Action = [
        "eks:UpdatePodIdentityAssociation",
        "eks:DeletePodIdentityAssociation",
      ]
      Resource = ["arn:${local.partition}:eks:${local.region}:${local.account}:podidentityassociation/${var.cluster_name}/*"]
      Condition = {
        StringEquals = {
          "aws:ResourceTag/elasticache-iam.dev/owner" = "${var.owner}"
        }
      }
    },
    {
      Sid      = "HandOurRolesToPods"
      Effect   = "Allow"
      Action   = ["iam:PassRole"]
      Resource = ["arn:${local.partition}:iam::${local.account}:role/elasticache-iam/${var.owner}/${var.owner}-*"]
      Condition = {
        StringEquals = {
          "iam:PassedToService" = "pods.eks.amazonaws.com"
        }
      }
    },
  ]

  trusted_caches_without_memorydb = [
    {
      Sid    = "AttachToTrustedCaches"
      Effect = "Allow"
      Action = [
        "elasticache:ModifyReplicationGroup",
        "elasticache:ModifyServerlessCache",
      ]
      Resource = var.trusted_caches
    },
  ]

  irsa_trust = {
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Principal = {
          Federated = "arn:${local.partition}:iam::${local.account}:oidc-provider/${local.issuer}"
        }
        Action = "sts:AssumeRoleWithWebIdentity"
        Condition = {
          StringEquals = {
            "${local.issuer}:aud" = "sts.amazonaws.com"
            "${local.issuer}:sub" = "system:serviceaccount:${var.namespace}:${var.service_account}"
          }
        }
      },
    ]
  }

  pod_identity_trust = {
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Principal = {
          Service = "pods.eks.amazonaws.com"
        }
        Action = [
          "sts:AssumeRole",
          "sts:TagSession",
        ]
        Condition = {
          StringEquals = {
            "aws:RequestTag/eks-cluster-arn"            = "arn:${local.partition}:eks:${local.cluster_region}:${local.account}:cluster/${var.cluster_name}"
            "aws:RequestTag/kubernetes-namespace"       = "${var.namespace}"
            "aws:RequestTag/kubernetes-service-account" = "${var.service_account}"
          }
        }
      },
    ]
  }

  boundary = {
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Action = [
          "elasticache:Connect",
          "memorydb:Connect",
        ]
        Resource = "*"
      },
    ]
  }
}
