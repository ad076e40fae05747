"""EKS, as far as a cluster's OIDC issuer."""

from elasticache_iam_sandbox.world.call import AwsError
from elasticache_iam_sandbox.world.request import Grant, Output, Request, operation


def describe_cluster(request: Request) -> Output:
    """DescribeCluster."""
    name = request["name"]
    cluster = request.account.clusters.get((request.region_name, name))
    if cluster is None:
        raise AwsError("ResourceNotFoundException", f"No cluster found for name: {name}.", 404)
    return {
        "cluster": {
            "name": cluster.name,
            "arn": cluster.arn,
            "createdAt": cluster.created_at,
            "status": "ACTIVE",
            "identity": {"oidc": {"issuer": cluster.issuer}},
        }
    }


def cluster_arn(request_partition: str, region: str, account_id: str, name: str) -> str:
    """Return a cluster's ARN."""
    return f"arn:{request_partition}:eks:{region}:{account_id}:cluster/{name}"


OPERATIONS = (
    operation(
        "eks",
        "DescribeCluster",
        describe_cluster,
        lambda request: [
            Grant(
                "eks:DescribeCluster",
                cluster_arn(
                    request.account.partition, request.region_name, request.account.account_id, request["name"]
                ),
            )
        ],
        required="name",
    ),
)
