import pytest
from tests.unit.sandbox.world.ground import ACCOUNT, REGION, Ground, allow, document

from elasticache_iam_sandbox.world.call import AwsError

ROLE = f"arn:aws:iam::{ACCOUNT}:role/apps/checkout"
CLUSTER = f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/prod"
POD_TRUST = document(
    {
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }
)
PASS = {"StringEquals": {"iam:PassedToService": "pods.eks.amazonaws.com"}}


def refused(code, match=""):
    return pytest.raises(AwsError, match=f"^{code}: .*{match}")


@pytest.fixture
def eks(aws: Ground) -> Ground:
    aws.world.add_cluster(ACCOUNT, REGION, "prod", "https://oidc.example/id/X")
    aws.role(trust=POD_TRUST)
    return aws


def call(aws, operation, **parameters):
    return aws.call("eks", operation, clusterName="prod", **parameters)


def associate(aws, service_account="checkout", **options):
    defaults = {"namespace": "shop", "roleArn": ROLE}
    return call(aws, "CreatePodIdentityAssociation", serviceAccount=service_account, **{**defaults, **options})[
        "association"
    ]


def test_an_association_is_told_with_its_role_and_tags(eks: Ground):
    created = associate(eks, tags={"owner": "demo"})

    described = call(eks, "DescribePodIdentityAssociation", associationId=created["associationId"])["association"]

    assert described == created
    assert (described["roleArn"], described["tags"]) == (ROLE, {"owner": "demo"})
    assert described["associationArn"].endswith(f":podidentityassociation/prod/{described['associationId']}")


def test_a_service_account_has_one_association(eks: Ground):
    associate(eks)
    associate(eks, namespace="other")

    with pytest.raises(AwsError) as caught:
        associate(eks)

    assert (caught.value.code, caught.value.http_status) == ("ResourceInUseException", 409)


def test_associations_are_found_by_service_account_and_listed_without_roles(eks: Ground):
    associate(eks)
    associate(eks, "billing")

    (found,) = call(eks, "ListPodIdentityAssociations", namespace="shop", serviceAccount="billing")["associations"]

    assert found["serviceAccount"] == "billing"
    assert "roleArn" not in found


def test_associations_are_listed_in_pages(eks: Ground):
    for number in range(3):
        associate(eks, f"sa-{number}")

    first = call(eks, "ListPodIdentityAssociations", maxResults=2)
    second = call(eks, "ListPodIdentityAssociations", maxResults=2, nextToken=first["nextToken"])

    names = {one["serviceAccount"] for answer in (first, second) for one in answer["associations"]}
    assert names == {"sa-0", "sa-1", "sa-2"}
    assert "nextToken" not in second


def test_an_association_gets_another_role(eks: Ground):
    created = associate(eks)
    eks.role("second", trust=POD_TRUST)
    role = f"arn:aws:iam::{ACCOUNT}:role/apps/second"

    call(eks, "UpdatePodIdentityAssociation", associationId=created["associationId"], roleArn=role)

    found = call(eks, "DescribePodIdentityAssociation", associationId=created["associationId"])["association"]
    assert found["roleArn"] == role


def test_a_deleted_association_is_not_found(eks: Ground):
    created = associate(eks)

    call(eks, "DeletePodIdentityAssociation", associationId=created["associationId"])

    with refused("ResourceNotFoundException"):
        call(eks, "DescribePodIdentityAssociation", associationId=created["associationId"])
    assert associate(eks)["associationId"] != created["associationId"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"roleArn": f"{ROLE}-missing"}, "InvalidParameterException"),
        ({"namespace": "Not a name"}, "InvalidParameterException"),
        ({"tags": {"aws:x": "1"}}, "InvalidParameterException"),
        ({"disableSessionTags": True}, "NotImplementedInSandbox"),
    ],
)
def test_a_bad_association_is_refused_with_its_code(eks: Ground, options, code: str):
    with refused(code):
        associate(eks, **options)


def test_an_association_of_a_missing_cluster_is_not_found(aws: Ground):
    aws.role(trust=POD_TRUST)

    with refused("ResourceNotFoundException"):
        associate(aws)


def test_who_associates_a_role_must_be_allowed_to_pass_it(eks: Ground):
    create = allow("eks:CreatePodIdentityAssociation", CLUSTER)

    with refused("AccessDeniedException", "iam:PassRole"):
        associate(eks, key=eks.limited_key(create, user_name="half"))
    key = eks.limited_key(create, allow("iam:PassRole", ROLE, Condition=PASS))

    assert associate(eks, key=key)["roleArn"] == ROLE


def test_an_association_with_tags_needs_the_tagging_action_too(eks: Ground):
    key = eks.limited_key(allow("eks:CreatePodIdentityAssociation"), allow("iam:PassRole"))

    with refused("AccessDeniedException", "eks:TagResource"):
        associate(eks, key=key, tags={"a": "1"})


def test_an_add_on_is_there_or_not(eks: Ground):
    assert call(eks, "DescribeAddon", addonName="eks-pod-identity-agent")["addon"]["status"] == "ACTIVE"
    with refused("ResourceNotFoundException", "vpc-cni"):
        call(eks, "DescribeAddon", addonName="vpc-cni")
