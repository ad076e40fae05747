"""EKS, as far as a cluster's OIDC issuer, the names of its add-ons, and its Pod Identity associations.

Nothing here hands out credentials.
"""

import re
import secrets
from collections.abc import Iterable
from dataclasses import replace

from elasticache_iam_sandbox.world.accounts import EksCluster, PodIdentityAssociation
from elasticache_iam_sandbox.world.call import AwsError
from elasticache_iam_sandbox.world.iam_roles import find_unique_id
from elasticache_iam_sandbox.world.request import (
    Grant,
    Output,
    Request,
    operation,
    page_keys,
    request_tags_context,
    resource_tags_context,
)

_PASSED_TO = "pods.eks.amazonaws.com"
_PAGE_SIZES = range(1, 101)
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SERVICE_ACCOUNT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def cluster_arn(partition: str, region: str, account_id: str, name: str) -> str:
    """Return a cluster's ARN."""
    return f"arn:{partition}:eks:{region}:{account_id}:cluster/{name}"


def describe_cluster(request: Request) -> Output:
    """DescribeCluster."""
    cluster = _find_cluster(request, request["name"])
    return {
        "cluster": {
            "name": cluster.name,
            "arn": cluster.arn,
            "createdAt": cluster.created_at,
            "status": "ACTIVE",
            "identity": {"oidc": {"issuer": cluster.issuer}},
        }
    }


def describe_addon(request: Request) -> Output:
    """DescribeAddon: whether there is one."""
    cluster, name = _find_cluster(request, request["clusterName"]), request["addonName"]
    if name not in cluster.addons:
        raise AwsError("ResourceNotFoundException", f"No addon: {name} found in cluster: {cluster.name}", 404)
    return {
        "addon": {
            "addonName": name,
            "clusterName": cluster.name,
            "status": "ACTIVE",
            "addonArn": _addon_arn(request, cluster.name, name, "11111111-2222-3333-4444-555555555555"),
        }
    }


def _addon_arn(request: Request, cluster_name: str, name: str, uid: str) -> str:
    account = request.account
    place = f"arn:{account.partition}:eks:{request.region_name}:{account.account_id}"
    return f"{place}:addon/{cluster_name}/{name}/{uid}"


def _find_cluster(request: Request, name: str) -> EksCluster:
    cluster = request.account.clusters.get((request.region_name, name))
    if cluster is None:
        raise AwsError("ResourceNotFoundException", f"No cluster found for name: {name}.", 404)
    return cluster


def _find_association(request: Request) -> tuple[EksCluster, PodIdentityAssociation]:
    cluster = _find_cluster(request, request["clusterName"])
    found = cluster.associations.get(request["associationId"])
    if found is None:
        raise AwsError(
            "ResourceNotFoundException",
            f"The association {request['associationId']} doesn't exist in cluster {cluster.name}.",
            404,
        )
    return cluster, found


def _render(cluster: EksCluster, association: PodIdentityAssociation) -> Output:
    return _render_summary(cluster, association) | {
        "roleArn": association.role_arn,
        "tags": dict(association.tags),
        "createdAt": association.created_at,
        "modifiedAt": association.modified_at,
        "disableSessionTags": False,
    }


def _render_summary(cluster: EksCluster, association: PodIdentityAssociation) -> Output:
    return {
        "clusterName": cluster.name,
        "namespace": association.namespace,
        "serviceAccount": association.service_account,
        "associationArn": association.arn,
        "associationId": association.association_id,
    }


def _check_role(request: Request) -> None:
    if find_unique_id(request.state.accounts, request["roleArn"]) is None:
        raise AwsError("InvalidParameterException", "Role provided in the request does not exist.")
    if request["roleArn"].split(":")[4] != request.account.account_id:
        raise AwsError("InvalidParameterException", "Role provided in the request is not of the cluster's account.")


def create_pod_identity_association(request: Request) -> Output:
    """CreatePodIdentityAssociation: one for each ServiceAccount, whether there is such an account or not."""
    cluster = _find_cluster(request, request["clusterName"])
    namespace, service_account = request["namespace"], request["serviceAccount"]
    if not _NAMESPACE.fullmatch(namespace) or not _SERVICE_ACCOUNT.fullmatch(service_account):
        raise AwsError("InvalidParameterException", "Namespace or service account is not a valid name.")
    tags = _read_tags(request)
    _check_role(request)
    for known in cluster.associations.values():
        if (known.namespace, known.service_account) == (namespace, service_account):
            raise AwsError("ResourceInUseException", f"Association already exists: {known.association_id}", 409)
    association_id = f"a-{secrets.token_hex(9)[:17]}"
    association = PodIdentityAssociation(
        association_id=association_id,
        arn=_association_arn(request, cluster.name, association_id),
        namespace=namespace,
        service_account=service_account,
        role_arn=request["roleArn"],
        tags=tags,
        created_at=request.now,
        modified_at=request.now,
    )
    cluster.associations.add(association_id, association)
    return {"association": _render(cluster, association)}


def _read_tags(request: Request) -> dict[str, str]:
    """Return the tags of a create call. EKS takes them as a map, not as a list of pairs."""
    tags: dict[str, str] = request.get("tags", {})
    quota = request.state.settings.tags_per_resource
    if len(tags) > quota or any(key.lower().startswith("aws:") for key in tags):
        raise AwsError("InvalidParameterException", f"There can be {quota} tags, and none whose key starts with aws:.")
    return dict(tags)


def _association_arn(request: Request, cluster_name: str, association_id: str) -> str:
    account = request.account
    place = f"arn:{account.partition}:eks:{request.region_name}:{account.account_id}"
    return f"{place}:podidentityassociation/{cluster_name}/{association_id}"


def describe_pod_identity_association(request: Request) -> Output:
    """DescribePodIdentityAssociation."""
    return {"association": _render(*_find_association(request))}


def update_pod_identity_association(request: Request) -> Output:
    """UpdatePodIdentityAssociation: another role."""
    cluster, association = _find_association(request)
    if request.get("roleArn") is not None:
        _check_role(request)
        association = replace(association, role_arn=request["roleArn"], modified_at=request.now)
        cluster.associations.remove(association.association_id)
        cluster.associations.add(association.association_id, association)
    return {"association": _render(cluster, association)}


def delete_pod_identity_association(request: Request) -> Output:
    """DeletePodIdentityAssociation."""
    cluster, association = _find_association(request)
    cluster.associations.remove(association.association_id)
    return {"association": _render(cluster, association)}


def list_pod_identity_associations(request: Request) -> Output:
    """ListPodIdentityAssociations: without roles."""
    cluster = _find_cluster(request, request["clusterName"])
    size = request.get("maxResults", 100)
    if size not in _PAGE_SIZES:
        raise AwsError("InvalidParameterException", "maxResults must be between 1 and 100.")
    ids = [
        one.association_id
        for one in cluster.associations.values()
        if one.namespace == request.get("namespace", one.namespace)
        and one.service_account == request.get("serviceAccount", one.service_account)
    ]
    found, token = page_keys(ids, request.get("nextToken"), size, invalid="InvalidParameterException")
    output: Output = {"associations": [_render_summary(cluster, cluster.associations[key]) for key in found]}
    if token is not None:
        output["nextToken"] = token
    return output


def _cluster_grant(action: str, request: Request, name: str) -> Grant:
    account = request.account
    return Grant(action, cluster_arn(account.partition, request.region_name, account.account_id, name))


def _association_grants(action: str, request: Request) -> Iterable[Grant]:
    name, association_id = request["clusterName"], request["associationId"]
    cluster = request.account.clusters.get((request.region_name, name))
    found = cluster.associations.get(association_id) if cluster else None
    tags = resource_tags_context(found.tags) if found else {}
    yield Grant(action, _association_arn(request, name, association_id), tags)
    if request.get("roleArn") is not None:
        yield _pass_role(request)


def _pass_role(request: Request) -> Grant:
    return Grant("iam:PassRole", request["roleArn"], {"iam:passedtoservice": (_PASSED_TO,)})


def _create_grants(request: Request) -> Iterable[Grant]:
    context = request_tags_context(request.get("tags", {}))
    grant = _cluster_grant("eks:CreatePodIdentityAssociation", request, request["clusterName"])
    yield Grant(grant.action, grant.resource, context)
    if context:
        yield Grant("eks:TagResource", _association_arn(request, request["clusterName"], "*"), context)
    yield _pass_role(request)


OPERATIONS = (
    operation(
        "eks",
        "DescribeCluster",
        describe_cluster,
        lambda request: [_cluster_grant("eks:DescribeCluster", request, request["name"])],
        required="name",
    ),
    operation(
        "eks",
        "DescribeAddon",
        describe_addon,
        lambda request: [
            Grant("eks:DescribeAddon", _addon_arn(request, request["clusterName"], request["addonName"], "*"))
        ],
        required="clusterName addonName",
    ),
    operation(
        "eks",
        "CreatePodIdentityAssociation",
        create_pod_identity_association,
        _create_grants,
        required="clusterName namespace serviceAccount roleArn",
        optional="clientRequestToken tags",
    ),
    operation(
        "eks",
        "ListPodIdentityAssociations",
        list_pod_identity_associations,
        lambda request: [_cluster_grant("eks:ListPodIdentityAssociations", request, request["clusterName"])],
        required="clusterName",
        optional="namespace serviceAccount maxResults nextToken",
    ),
    operation(
        "eks",
        "DescribePodIdentityAssociation",
        describe_pod_identity_association,
        lambda request: _association_grants("eks:DescribePodIdentityAssociation", request),
        required="clusterName associationId",
    ),
    operation(
        "eks",
        "UpdatePodIdentityAssociation",
        update_pod_identity_association,
        lambda request: _association_grants("eks:UpdatePodIdentityAssociation", request),
        required="clusterName associationId",
        optional="roleArn clientRequestToken",
    ),
    operation(
        "eks",
        "DeletePodIdentityAssociation",
        delete_pod_identity_association,
        lambda request: _association_grants("eks:DeletePodIdentityAssociation", request),
        required="clusterName associationId",
    ),
)
