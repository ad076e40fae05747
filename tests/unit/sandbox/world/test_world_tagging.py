import pytest
from tests.unit.sandbox.world.ground import OTHER_ACCOUNT, Ground, arn

from elasticache_iam_sandbox.world.call import AwsError


def refused(code, match=""):
    return pytest.raises(AwsError, match=f"^{code}: .*{match}")


def tags(**pairs):
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


def test_tags_are_told_by_list_tags_alone(aws: Ground):
    aws.user(Tags=tags(owner="demo"))

    assert aws.ec("ListTagsForResource", ResourceName=arn("user", "app")) == {"TagList": tags(owner="demo")}
    assert "Tags" not in aws.describe_user()


def test_tags_are_added_and_removed(aws: Ground):
    aws.user(Tags=tags(a="1"))

    added = aws.ec("AddTagsToResource", ResourceName=arn("user", "app"), Tags=tags(a="2", b="3"))
    removed = aws.ec("RemoveTagsFromResource", ResourceName=arn("user", "app"), TagKeys=["a"])

    assert (added["TagList"], removed["TagList"]) == (tags(a="2", b="3"), tags(b="3"))


def test_a_modifying_user_is_not_available_for_tagging(slow_aws: Ground):
    slow_aws.user()
    slow_aws.wait(10)
    slow_aws.ec("ModifyUser", UserId="app", AccessString="off -@all")

    with refused("UserNotFound", "is not available for tagging"):
        slow_aws.ec("ListTagsForResource", ResourceName=arn("user", "app"))


def test_a_modifying_group_is_not_available_for_tagging(slow_aws: Ground):
    slow_aws.group()

    with refused("UserGroupNotFound", "is not available for tagging"):
        slow_aws.ec("ListTagsForResource", ResourceName=arn("usergroup", "orders"))


def test_a_busy_cache_cannot_be_tagged(slow_aws: Ground):
    slow_aws.cache()
    slow_aws.ec("DeleteReplicationGroup", ReplicationGroupId="orders-prod")

    with refused("InvalidReplicationGroupState"):
        slow_aws.ec("AddTagsToResource", ResourceName=arn("replicationgroup", "orders-prod"), Tags=tags(a="1"))


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        (arn("user", "nobody"), "UserNotFound"),
        (arn("usergroup", "nothing"), "UserGroupNotFound"),
        (arn("replicationgroup", "nothing"), "ReplicationGroupNotFoundFault"),
        (arn("snapshot", "x"), "NotImplementedInSandbox"),
        (arn("user", "app").replace("eu-central-1", "us-west-2"), "InvalidARN"),
        ("arn:aws:elasticache:x", "InvalidARN"),
        (f"arn:aws:elasticache:eu-central-1:{OTHER_ACCOUNT}:user:app", "InvalidARN"),
    ],
)
def test_a_wrong_arn_is_refused_with_its_code(aws: Ground, resource: str, code: str):
    with refused(code):
        aws.ec("ListTagsForResource", ResourceName=resource)


def test_the_51st_tag_is_over_the_quota(aws: Ground):
    aws.user(Tags=tags(**{f"k{number}": "" for number in range(50)}))

    with refused("TagQuotaPerResourceExceeded"):
        aws.ec("AddTagsToResource", ResourceName=arn("user", "app"), Tags=tags(one="more"))


def test_a_tag_that_is_not_there_cannot_be_removed(aws: Ground):
    aws.user()

    with refused("TagNotFound"):
        aws.ec("RemoveTagsFromResource", ResourceName=arn("user", "app"), TagKeys=["a"])


def resources(aws, **parameters):
    answer = aws.call("resourcegroupstaggingapi", "GetResources", **parameters)
    return [entry["ResourceARN"] for entry in answer["ResourceTagMappingList"]]


def test_get_resources_covers_elasticache_but_not_iam_roles(aws: Ground):
    aws.cache(tags={"a": "1"})
    aws.user(Tags=tags(a="1"))
    aws.group(Tags=tags(a="1"))
    aws.role(Tags=tags(a="1"))

    assert resources(aws) == [
        arn("replicationgroup", "orders-prod"),
        arn("user", "app"),
        arn("usergroup", "orders"),
    ]


def test_get_resources_leaves_out_what_has_no_tags(aws: Ground):
    aws.user()

    assert resources(aws) == []


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([{"Key": "team"}], ["one", "two"]),
        ([{"Key": "team", "Values": ["shop"]}], ["one"]),
        ([{"Key": "team", "Values": ["shop", "billing"]}], ["one", "two"]),
        ([{"Key": "team"}, {"Key": "stage", "Values": ["prod"]}], ["two"]),
        ([{"Key": "other"}], []),
    ],
)
def test_tag_filters_must_all_pass(aws: Ground, filters, found: list[str]):
    aws.user("one", Tags=tags(team="shop"))
    aws.user("two", Tags=tags(team="billing", stage="prod"))

    assert resources(aws, TagFilters=filters) == [arn("user", user_id) for user_id in found]


@pytest.mark.parametrize(
    ("kinds", "count"),
    [(["elasticache:user"], 1), (["elasticache"], 2), (["elasticache:user", "elasticache:usergroup"], 2), (["s3"], 0)],
)
def test_resource_type_filters_pick_kinds(aws: Ground, kinds: list[str], count: int):
    aws.user(Tags=tags(a="1"))
    aws.group(Tags=tags(a="1"))

    assert len(resources(aws, ResourceTypeFilters=kinds)) == count


def test_get_resources_answers_in_pages(aws: Ground):
    for name in ("one", "two", "three"):
        aws.user(name, Tags=tags(a="1"))

    first = aws.call("resourcegroupstaggingapi", "GetResources", ResourcesPerPage=2)
    second = aws.call("resourcegroupstaggingapi", "GetResources", PaginationToken=first["PaginationToken"])

    assert len(first["ResourceTagMappingList"]) == 2
    assert [entry["ResourceARN"] for entry in second["ResourceTagMappingList"]] == [arn("user", "two")]
    assert second["PaginationToken"] == ""


@pytest.mark.parametrize("parameters", [{"ResourcesPerPage": 101}, {"PaginationToken": "bm9uc2Vuc2U="}])
def test_bad_paging_is_an_invalid_parameter_exception(aws: Ground, parameters):
    with refused("InvalidParameterException"):
        resources(aws, **parameters)


def test_an_eks_cluster_tells_its_issuer(aws: Ground):
    aws.world.add_cluster("111122223333", "eu-central-1", "prod", "https://oidc.example/id/X")

    cluster = aws.call("eks", "DescribeCluster", name="prod")["cluster"]

    assert cluster["identity"]["oidc"]["issuer"] == "https://oidc.example/id/X"


def test_a_missing_eks_cluster_is_not_found(aws: Ground):
    with refused("ResourceNotFoundException"):
        aws.call("eks", "DescribeCluster", name="prod")
