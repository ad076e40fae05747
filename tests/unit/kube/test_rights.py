import pytest

from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.core.errors import AccessDeniedError
from elasticache_iam.kube.rights import Right, in_words, list_missing, needed_rights, surplus_rights

LIST = Right("list", "usergroups", "elasticache-iam.dev", "shop")
STATUS = Right("patch", "usergroups/status", "elasticache-iam.dev", "shop")


class Reviewer:
    """Answers reviews: some verbs are allowed; keeps what was asked."""

    def __init__(self, *allowed):
        self.allowed = allowed
        self.asked = []

    async def call(self, request):
        attributes = request.body["spec"]["resourceAttributes"]
        self.asked.append(attributes)
        self.last = request
        return {"status": {"allowed": attributes["verb"] in self.allowed}}


def config(**settings):
    return OperatorConfig.model_validate({"owner": "demo", "region": "eu-central-1", **settings})


async def test_rights_that_are_not_given_are_returned():
    assert await list_missing(Reviewer("list"), [LIST, STATUS]) == (STATUS,)


async def test_a_subresource_is_asked_for_on_its_own():
    reviewer = Reviewer("patch")

    await list_missing(reviewer, [STATUS])

    assert reviewer.asked == [
        {
            "verb": "patch",
            "group": "elasticache-iam.dev",
            "resource": "usergroups",
            "subresource": "status",
            "namespace": "shop",
            "name": "",
        }
    ]


async def test_the_rights_of_another_one_are_asked_for_by_its_name():
    reviewer = Reviewer("list")

    assert await list_missing(reviewer, [STATUS], subject=("operators", "operator")) == (STATUS,)
    assert reviewer.last.resource == "subjectaccessreviews"
    assert reviewer.last.body["kind"] == "SubjectAccessReview"
    spec = reviewer.last.body["spec"]
    assert (spec["user"], spec["groups"]) == (
        "system:serviceaccount:operators:operator",
        ["system:serviceaccounts", "system:serviceaccounts:operators", "system:authenticated"],
    )


def test_secrets_are_to_be_read_nowhere_and_secret_repair_may_list_them():
    assert in_words(surplus_rights(config())) == "get, list, watch, patch secrets"
    assert in_words(surplus_rights(config(secretRepair=True))) == "get, patch secrets"
    assert in_words(surplus_rights(config(namespaces=["a", "b"], secretRepair=True))) == (
        "get, patch secrets in a; get, patch secrets in b"
    )


async def test_a_review_that_is_refused_is_no_answer():
    class Refusing:
        async def call(self, _request):
            raise AccessDeniedError("forbidden")

    with pytest.raises(AccessDeniedError):
        await list_missing(Refusing(), [LIST])


def test_vital_is_what_tokens_are_made_and_delivered_with():
    vital = [right for right in needed_rights(config(namespaces=["shop"]), namespace="operators") if right.is_vital]

    assert in_words(vital) == (
        "list, watch usergroups in shop; patch usergroups/status in shop; "
        "list, watch elasticacheiamusers in shop; patch elasticacheiamusers/status in shop; "
        "create, update secrets in shop; create serviceaccounts/token in shop; "
        "create leases in operators; get, update leases elasticache-iam-operator in operators"
    )


def test_who_signs_as_the_operator_needs_no_tokens_of_service_accounts():
    needed = needed_rights(config(signing="AssumeRole"), namespace="operators")

    assert not any(right.resource == "serviceaccounts/token" for right in needed)
