#!/usr/bin/env bash
# What an installation of elasticache-iam-operator needs in AWS, by the AWS CLI: the audience of the cluster's OIDC
# provider, the boundary of the roles that the operator makes, its own role and policy. Shows each change; what is in
# place already is left alone, so it may be run again and again. `--plan` only shows. Values for the chart go to standard
# output, and everything else to standard error.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: setup.sh --owner OWNER (--cluster NAME | --issuer URL) [options]

  --owner OWNER            the chart's config.owner: 1 to 10 lower-case letters and digits, a letter first
  --cluster NAME           the EKS cluster
  --issuer URL             the cluster's OIDC issuer, where it isn't EKS
  --region REGION          the caches' region; by default that of the AWS CLI
  --cluster-region REGION  the EKS cluster's, if it is another one
  --namespace NAMESPACE    the operator's, by default elasticache-iam
  --service-account NAME   the operator's, by default elasticache-iam-operator
  --role-name NAME         by default elasticache-iam-operator
  --boundary-name NAME     by default elasticache-iam-boundary
  --pod-identity           the operator's pods get their role by EKS Pod Identity, not by IRSA
  --policy-file FILE       the operator's policy, an output of `elasticache-iam policy operator`, for features that are off
                           by default. Give that command the boundary's ARN.
  --take-over              the role is there, somebody else made it, and the operator is to have it: whoever had it loses it
  --plan                   show what would be done, and do nothing

Prints values for the chart: setup.sh … > values.yaml
TEXT
}

fail() {
  echo "error: $1" >&2
  exit 2
}

owner="" cluster="" cluster_region="" issuer="" region="" policy_file="" is_plan="" is_pod_identity="" is_taken_over=""
namespace=elasticache-iam service_account=elasticache-iam-operator
role_name=elasticache-iam-operator boundary_name=elasticache-iam-boundary
audience=elasticache-iam.dev/sign

while [ $# -gt 0 ]; do
  case $1 in
    --pod-identity) is_pod_identity=yes && shift && continue ;;
    --take-over) is_taken_over=yes && shift && continue ;;
    --plan) is_plan=yes && shift && continue ;;
    --help | -h) usage && exit 0 ;;
    --owner | --cluster | --cluster-region | --issuer | --region | --namespace | --service-account | --role-name | --boundary-name | --policy-file) ;;
    *) fail "unknown argument $1; see setup.sh --help" ;;
  esac
  [ $# -gt 1 ] || fail "$1 needs a value"
  name=${1#--} && name=${name//-/_}
  printf -v "$name" %s "$2"
  shift 2
done
[[ $owner =~ ^[a-z][a-z0-9]{0,9}$ ]] || fail "--owner is 1 to 10 lower-case letters and digits, a letter first"
[ -n "$cluster$issuer" ] || fail "say --cluster or --issuer"
[[ -z $issuer || $issuer =~ ^(https://)?[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?$ ]] || fail "--issuer is an https URL: https://HOST/PATH"
[ -z "$is_pod_identity" ] || [ -n "$cluster" ] || fail "--pod-identity needs --cluster"
[ -z "$cluster_region" ] || [ -n "$cluster" ] || fail "--cluster-region needs --cluster"
if [ -n "$policy_file" ]; then
  [ -r "$policy_file" ] || fail "can't read $policy_file"
  policy=$(tr -d '\0' <"$policy_file")
  [[ $policy =~ ^[[:space:]]*\{.*\}[[:space:]]*$ && $policy == *'"Statement"'* ]] ||
    fail "$policy_file is no policy in JSON: give it what \`elasticache-iam policy operator\` prints"
fi
command -v aws >/dev/null || fail "the AWS CLI (aws) is missing"

export AWS_PAGER=""
[ -n "$region" ] || region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
[ -n "$region" ] || fail "say --region"
[ -n "$cluster_region" ] || cluster_region=$region
export AWS_REGION=$region AWS_DEFAULT_REGION=$region
read -r account caller < <(aws sts get-caller-identity --query '[Account, Arn]' --output text) || true
[ -n "${account:-}" ] || fail "AWS doesn't say who you are; see aws sts get-caller-identity"
partition=$(cut -d : -f 2 <<<"$caller")
[ -n "$issuer" ] ||
  issuer=$(aws eks describe-cluster --region "$cluster_region" --name "$cluster" --query cluster.identity.oidc.issuer --output text) ||
  fail "AWS doesn't tell of the cluster $cluster in $cluster_region; if it is in another region than the caches, say --cluster-region"
issuer=${issuer#https://} issuer=${issuer%/}
provider="arn:$partition:iam::$account:oidc-provider/$issuer"
boundary="arn:$partition:iam::$account:policy/$boundary_name"
role="arn:$partition:iam::$account:role/$role_name"

# begin generated: documents
policy_name=operator

print_policy() {
  cat <<JSON
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "List",
      "Effect": "Allow",
      "Action": [
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
        "tag:GetResources"
      ],
      "Resource": [
        "*"
      ]
    },
    {
      "Sid": "Read",
      "Effect": "Allow",
      "Action": [
        "elasticache:ListTagsForResource",
        "memorydb:ListTags",
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:ListRolePolicies",
        "iam:ListAttachedRolePolicies",
        "iam:SimulatePrincipalPolicy",
        "iam:GetOpenIDConnectProvider",
        "eks:DescribeCluster"
      ],
      "Resource": [
        "arn:${partition}:elasticache:${region}:${account}:*",
        "arn:${partition}:memorydb:${region}:${account}:*",
        "arn:${partition}:iam::${account}:role/*",
        "arn:${partition}:iam::${account}:oidc-provider/*",
        "arn:${partition}:eks:${region}:${account}:cluster/*"
      ]
    },
    {
      "Sid": "CreateUsersAndGroups",
      "Effect": "Allow",
      "Action": [
        "elasticache:CreateUser",
        "elasticache:CreateUserGroup",
        "elasticache:AddTagsToResource",
        "memorydb:CreateUser",
        "memorydb:CreateACL",
        "memorydb:TagResource"
      ],
      "Resource": [
        "arn:${partition}:elasticache:${region}:${account}:user:${owner}-*",
        "arn:${partition}:elasticache:${region}:${account}:usergroup:${owner}-*",
        "arn:${partition}:memorydb:${region}:${account}:user/${owner}-*",
        "arn:${partition}:memorydb:${region}:${account}:acl/${owner}-*"
      ]
    },
    {
      "Sid": "Adopt",
      "Effect": "Allow",
      "Action": [
        "elasticache:AddTagsToResource",
        "memorydb:TagResource"
      ],
      "Resource": [
        "arn:${partition}:elasticache:${region}:${account}:user:*",
        "arn:${partition}:memorydb:${region}:${account}:user/*",
        "arn:${partition}:elasticache:${region}:${account}:usergroup:*",
        "arn:${partition}:memorydb:${region}:${account}:acl/*"
      ],
      "Condition": {
        "StringLike": {
          "aws:ResourceTag/elasticache-iam.dev/allow": [
            "${owner}",
            "${owner} *",
            "${owner}/*",
            "* ${owner}",
            "* ${owner} *",
            "* ${owner}/*"
          ]
        }
      }
    },
    {
      "Sid": "ChangeOurs",
      "Effect": "Allow",
      "Action": [
        "elasticache:ModifyUser",
        "elasticache:DeleteUser",
        "elasticache:ModifyUserGroup",
        "elasticache:DeleteUserGroup",
        "elasticache:AddTagsToResource",
        "memorydb:UpdateUser",
        "memorydb:DeleteUser",
        "memorydb:UpdateACL",
        "memorydb:DeleteACL",
        "memorydb:TagResource"
      ],
      "Resource": [
        "arn:${partition}:elasticache:${region}:${account}:user:*",
        "arn:${partition}:memorydb:${region}:${account}:user/*",
        "arn:${partition}:elasticache:${region}:${account}:usergroup:*",
        "arn:${partition}:memorydb:${region}:${account}:acl/*"
      ],
      "Condition": {
        "StringEquals": {
          "aws:ResourceTag/elasticache-iam.dev/owner": "${owner}"
        }
      }
    },
    {
      "Sid": "RemoveTags",
      "Effect": "Allow",
      "Action": [
        "elasticache:RemoveTagsFromResource",
        "memorydb:UntagResource"
      ],
      "Resource": [
        "arn:${partition}:elasticache:${region}:${account}:user:*",
        "arn:${partition}:memorydb:${region}:${account}:user/*",
        "arn:${partition}:elasticache:${region}:${account}:usergroup:*",
        "arn:${partition}:memorydb:${region}:${account}:acl/*"
      ],
      "Condition": {
        "StringEquals": {
          "aws:ResourceTag/elasticache-iam.dev/owner": "${owner}"
        },
        "ForAllValues:StringNotEquals": {
          "aws:TagKeys": [
            "elasticache-iam.dev/owner",
            "elasticache-iam.dev/kind",
            "elasticache-iam.dev/namespace",
            "elasticache-iam.dev/name",
            "elasticache-iam.dev/uid"
          ]
        }
      }
    },
    {
      "Sid": "ChangeMembersOfOthersGroups",
      "Effect": "Allow",
      "Action": [
        "elasticache:ModifyUserGroup",
        "memorydb:UpdateACL"
      ],
      "Resource": [
        "arn:${partition}:elasticache:${region}:${account}:usergroup:*",
        "arn:${partition}:memorydb:${region}:${account}:acl/*"
      ],
      "Condition": {
        "StringLike": {
          "aws:ResourceTag/elasticache-iam.dev/allow": [
            "${owner}",
            "${owner} *",
            "${owner}/*",
            "* ${owner}",
            "* ${owner} *",
            "* ${owner}/*"
          ]
        }
      }
    },
    {
      "Sid": "NameMembers",
      "Effect": "Allow",
      "Action": [
        "elasticache:CreateUserGroup",
        "elasticache:ModifyUserGroup",
        "memorydb:CreateACL",
        "memorydb:UpdateACL"
      ],
      "Resource": [
        "arn:${partition}:elasticache:${region}:${account}:user:*",
        "arn:${partition}:memorydb:${region}:${account}:user/*"
      ]
    },
    {
      "Sid": "AttachToCaches",
      "Effect": "Allow",
      "Action": [
        "elasticache:ModifyReplicationGroup",
        "elasticache:ModifyServerlessCache",
        "memorydb:UpdateCluster"
      ],
      "Resource": [
        "arn:${partition}:elasticache:${region}:${account}:replicationgroup:*",
        "arn:${partition}:elasticache:${region}:${account}:serverlesscache:*",
        "arn:${partition}:memorydb:${region}:${account}:cluster/*"
      ],
      "Condition": {
        "StringLike": {
          "aws:ResourceTag/elasticache-iam.dev/allow": [
            "${owner}",
            "${owner} *",
            "${owner}/*",
            "* ${owner}",
            "* ${owner} *",
            "* ${owner}/*"
          ]
        }
      }
    },
    {
      "Sid": "AttachOurGroups",
      "Effect": "Allow",
      "Action": [
        "elasticache:ModifyReplicationGroup",
        "elasticache:ModifyServerlessCache",
        "memorydb:UpdateCluster"
      ],
      "Resource": [
        "arn:${partition}:elasticache:${region}:${account}:usergroup:*",
        "arn:${partition}:memorydb:${region}:${account}:acl/*"
      ],
      "Condition": {
        "StringEquals": {
          "aws:ResourceTag/elasticache-iam.dev/owner": "${owner}"
        }
      }
    },
    {
      "Sid": "ViaElastiCache",
      "Effect": "Allow",
      "Action": [
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeTags"
      ],
      "Resource": [
        "*"
      ],
      "Condition": {
        "Bool": {
          "aws:ViaAWSService": "true"
        }
      }
    },
    {
      "Sid": "CreateRoles",
      "Effect": "Allow",
      "Action": [
        "iam:CreateRole",
        "iam:PutRolePolicy"
      ],
      "Resource": [
        "arn:${partition}:iam::${account}:role/elasticache-iam/${owner}/${owner}-*"
      ],
      "Condition": {
        "StringEquals": {
          "iam:PermissionsBoundary": "${boundary}"
        }
      }
    },
    {
      "Sid": "ChangeOurRoles",
      "Effect": "Allow",
      "Action": [
        "iam:TagRole",
        "iam:UpdateRole",
        "iam:UpdateAssumeRolePolicy",
        "iam:DeleteRolePolicy",
        "iam:DeleteRole"
      ],
      "Resource": [
        "arn:${partition}:iam::${account}:role/elasticache-iam/${owner}/${owner}-*"
      ]
    },
    {
      "Sid": "UntagOurRoles",
      "Effect": "Allow",
      "Action": [
        "iam:UntagRole"
      ],
      "Resource": [
        "arn:${partition}:iam::${account}:role/elasticache-iam/${owner}/${owner}-*"
      ],
      "Condition": {
        "ForAllValues:StringNotEquals": {
          "aws:TagKeys": [
            "elasticache-iam.dev/owner",
            "elasticache-iam.dev/kind",
            "elasticache-iam.dev/namespace",
            "elasticache-iam.dev/name",
            "elasticache-iam.dev/uid"
          ]
        }
      }
    },
    {
      "Sid": "SetBoundary",
      "Effect": "Allow",
      "Action": [
        "iam:PutRolePermissionsBoundary"
      ],
      "Resource": [
        "arn:${partition}:iam::${account}:role/elasticache-iam/${owner}/${owner}-*"
      ],
      "Condition": {
        "StringEquals": {
          "iam:PermissionsBoundary": "${boundary}"
        }
      }
    }
  ]
}
JSON
}

print_trust() {
  cat <<JSON
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Principal": {
        "Federated": "arn:${partition}:iam::${account}:oidc-provider/${issuer}"
      },
      "Action": "sts:AssumeRoleWithWebIdentity",
      "Condition": {
        "StringEquals": {
          "${issuer}:aud": "sts.amazonaws.com",
          "${issuer}:sub": "system:serviceaccount:${namespace}:${service_account}"
        }
      }
    }
  ]
}
JSON
}

print_pod_identity_trust() {
  cat <<JSON
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Principal": {
        "Service": "pods.eks.amazonaws.com"
      },
      "Action": [
        "sts:AssumeRole",
        "sts:TagSession"
      ],
      "Condition": {
        "StringEquals": {
          "aws:RequestTag/eks-cluster-arn": "arn:${partition}:eks:${cluster_region}:${account}:cluster/${cluster}",
          "aws:RequestTag/kubernetes-namespace": "${namespace}",
          "aws:RequestTag/kubernetes-service-account": "${service_account}"
        }
      }
    }
  ]
}
JSON
}

print_boundary() {
  cat <<JSON
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "elasticache:Connect",
        "memorydb:Connect"
      ],
      "Resource": "*"
    }
  ]
}
JSON
}
# end generated

changes=0
change() { # WHAT COMMAND...: the command changes something
  changes=$((changes + 1))
  if [ -n "$is_plan" ]; then
    echo "would: $1" >&2
    return
  fi
  echo "==> $1" >&2
  shift
  "$@" >/dev/null
}

look() { # COMMAND...: prints what AWS has, nothing if it has no such thing, and fails on any other error
  local answer
  if answer=$("$@" 2>&1); then
    [ "$answer" = None ] || echo "$answer"
  elif ! grep -q NoSuchEntity <<<"$answer"; then
    echo "$answer" >&2
    return 1
  fi
}

is_same() { # ONE OTHER: whether two JSON texts differ in spaces at most
  [ "$(tr -d ' \n\t' <<<"$1")" = "$(tr -d ' \n\t' <<<"$2")" ]
}

# The role of another installation, or of something else, is looked for before anything is changed: who gets its trust
# policy and its rights replaced can't be its user any more.
description="elasticache-iam-operator, owner $owner"
found=$(look aws iam get-role --role-name "$role_name" --query Role.Arn --output text)
if [ -n "$found" ]; then
  role=$found # it may have a path
  described=$(look aws iam get-role --role-name "$role_name" --query Role.Description --output text)
  case $described in
    "$description") ;;
    "elasticache-iam-operator, owner "*) fail "the role $role_name is that of the ${described#*, }; say --role-name" ;;
    *) [ -n "$is_taken_over" ] ||
      fail "the role $role_name is there, and not from this script; say --role-name, or --take-over if it is to be the operator's" ;;
  esac
fi

# 1. The audience. Roles of workloads then trust tokens made for it and nothing else.
clients=$(look aws iam get-open-id-connect-provider --open-id-connect-provider-arn "$provider" \
  --query 'ClientIDList' --output text)
if [ -z "$clients" ]; then
  change "create the OIDC provider of https://$issuer, with the audience $audience" \
    aws iam create-open-id-connect-provider --url "https://$issuer" --client-id-list "$audience" sts.amazonaws.com
elif ! tr '[:space:]' '\n' <<<"$clients" | grep -Fxq -- "$audience"; then
  change "add the audience $audience to the OIDC provider of https://$issuer" \
    aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn "$provider" --client-id "$audience"
fi

# 2. The boundary. One that is there is never changed: it may be more than ours.
version=$(look aws iam get-policy --policy-arn "$boundary" --query Policy.DefaultVersionId --output text)
if [ -z "$version" ]; then
  change "create the permissions boundary $boundary_name" \
    aws iam create-policy --policy-name "$boundary_name" --policy-document "$(print_boundary)"
else
  found=$(aws iam get-policy-version --policy-arn "$boundary" --version-id "$version" --query PolicyVersion.Document --output json)
  is_same "$found" "$(print_boundary)" ||
    echo "note: the policy $boundary_name is there and says something else; it stays as it is. Use another by --boundary-name" >&2
fi

# 3. The operator's role.
if [ -n "$is_pod_identity" ]; then trust=$(print_pod_identity_trust); else trust=$(print_trust); fi
[ -n "$policy_file" ] || policy=$(print_policy)
found=$(look aws iam get-role --role-name "$role_name" --query Role.AssumeRolePolicyDocument --output json)
if [ -z "$found" ]; then
  change "create the role $role_name for $namespace/$service_account" \
    aws iam create-role --role-name "$role_name" --assume-role-policy-document "$trust" \
    --description "$description"
else
  if [ "$described" != "$description" ]; then # its sessions' length is named, or AWS would make it an hour
    seconds=$(look aws iam get-role --role-name "$role_name" --query Role.MaxSessionDuration --output text)
    change "take the role $role_name over: its description says so from now on" \
      aws iam update-role --role-name "$role_name" --description "$description" --max-session-duration "$seconds"
  fi
  if ! is_same "$found" "$trust"; then
    change "let the role $role_name be used by $namespace/$service_account alone" \
      aws iam update-assume-role-policy --role-name "$role_name" --policy-document "$trust"
  fi
fi
found=$(look aws iam get-role-policy --role-name "$role_name" --policy-name "$policy_name" --query PolicyDocument --output json)
if ! is_same "$found" "$policy"; then
  # Inline: a managed policy takes 6,144 characters, and with every feature this is longer.
  change "write the policy of the role $role_name" \
    aws iam put-role-policy --role-name "$role_name" --policy-name "$policy_name" --policy-document "$policy"
fi
if [ -n "$is_pod_identity" ]; then
  found=$(aws eks list-pod-identity-associations --region "$cluster_region" --cluster-name "$cluster" --namespace "$namespace" \
    --service-account "$service_account" --query 'associations[0].associationId' --output text)
  if [ "$found" = None ]; then
    change "give the role $role_name to $namespace/$service_account in the cluster $cluster" \
      aws eks create-pod-identity-association --region "$cluster_region" --cluster-name "$cluster" --namespace "$namespace" \
      --service-account "$service_account" --role-arn "$role"
  else
    found=$(aws eks describe-pod-identity-association --region "$cluster_region" --cluster-name "$cluster" --association-id "$found" \
      --query association.roleArn --output text)
    [ "$found" = "$role" ] || fail "$namespace/$service_account has the role $found in the cluster $cluster by Pod Identity"
  fi
fi

[ "$changes" -gt 0 ] || echo "Everything is in place." >&2
[ -z "$is_plan" ] || exit 0
cat <<TEXT
config:
  owner: $owner
  account: "$account"
  region: $region
  oidcIssuer: https://$issuer
  permissionsBoundary: $boundary
TEXT
# The operator looks for the cluster in the caches' region. The issuer is all that it needs of it, but for Pod Identity.
if [ -n "$cluster" ] && [ "$cluster_region" = "$region" ]; then echo "  clusterName: $cluster"; fi
[ -n "$is_pod_identity" ] || cat <<TEXT
serviceAccount:
  annotations:
    eks.amazonaws.com/role-arn: $role
TEXT
