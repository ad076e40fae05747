import pytest
from tests.unit.sandbox.world.ground import (
    ACCOUNT,
    OTHER_ACCOUNT,
    REGION,
    ROLE_ARN,
    Ground,
    allow,
    arn,
    deny,
    document,
    trust_aws,
)

CACHE, USER = arn("replicationgroup", "orders-prod"), arn("user", "app")
CONNECT = "elasticache:Connect"
BOTH = allow(CONNECT, [CACHE, USER])


def session(aws, *statements, policy=None, **options):
    aws.cache(tags={"stage": "prod"})
    aws.user()
    aws.role(trust=trust_aws(ACCOUNT), statements=statements, **options)
    aws.wait(aws.settings.iam_propagation_s)
    return assume(aws, policy=policy)


def assume(aws, *, policy=None):
    more = {"Policy": policy} if policy else {}
    answer = aws.sts("AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="session", **more)
    return answer["Credentials"]["AccessKeyId"]


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param([BOTH], id="exact-arns"),
        pytest.param([allow("ElastiCache:connect", [CACHE, USER])], id="case-of-the-action"),
        pytest.param([allow(CONNECT, CACHE), allow(CONNECT, USER)], id="two-statements"),
        pytest.param([allow(CONNECT)], id="everything"),
        pytest.param([allow(CONNECT, Condition={"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}})], id="source-ip"),
    ],
)
def test_connect_is_allowed_on_both_arns(aws: Ground, statements):
    decision = aws.decide(session(aws, *statements))

    assert decision.allowed
    assert CACHE in decision.reason
    assert USER in decision.reason


@pytest.mark.parametrize(
    ("statements", "link"),
    [
        pytest.param([allow(CONNECT, USER)], ("do not allow", "cache"), id="cache"),
        pytest.param([allow(CONNECT, CACHE)], ("do not allow", "user"), id="user"),
        pytest.param([BOTH, deny(CONNECT, USER)], ("explicitly deny", "user"), id="deny"),
        pytest.param(
            [allow(CONNECT, Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})],
            ("do not allow", "cache"),
            id="source-ip",
        ),
        pytest.param(
            [allow(CONNECT, Condition={"StringEquals": {"aws:ResourceTag/stage": "prod"}})],
            ("do not allow", "user"),
            id="each-resource-has-its-own-tags",
        ),
        pytest.param(
            [allow(CONNECT, Condition={"DateLessThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}})],
            ("do not allow", "cache"),
            id="node-based-caches-know-no-time",
        ),
    ],
)
def test_a_refusal_names_the_broken_link(aws: Ground, statements, link: tuple[str, str]):
    verb, kind = link

    decision = aws.decide(session(aws, *statements))

    assert not decision.allowed
    target = {"cache": CACHE, "user": USER}[kind]
    assert decision.reason == f"the policies of role checkout {verb} {CONNECT} on the {kind} {target}"


def test_a_session_policy_must_allow_connect_too(aws: Ground):
    key = session(aws, BOTH, policy=document(allow(CONNECT, CACHE)))

    assert aws.decide(key).reason == f"the session policy of role checkout does not allow {CONNECT} on the user {USER}"


def test_a_boundary_must_allow_connect_too(aws: Ground):
    boundary = aws.iam("CreatePolicy", PolicyName="b", PolicyDocument=document(allow("iam:*")))["Policy"]["Arn"]
    key = session(aws, BOTH, PermissionsBoundary=boundary)

    assert aws.decide(key).reason.startswith(f"the permissions boundary of role checkout does not allow {CONNECT}")


def test_until_a_policy_has_propagated_the_old_one_counts_and_the_reason_says_so():
    aws = Ground(iam_propagation_s=10)
    key = session(aws)
    aws.put_policy(BOTH)

    before = aws.decide(key)
    aws.wait(10)

    assert not before.allowed
    assert "a change written to the role takes effect at 2026-01-02 03:04:25" in before.reason
    assert aws.decide(key).allowed


def test_a_policy_taken_away_counts_until_iam_has_propagated():
    aws = Ground(iam_propagation_s=10)
    key = session(aws, BOTH)
    aws.iam("DeleteRolePolicy", RoleName="checkout", PolicyName="inline")

    before = aws.decide(key).allowed
    aws.wait(10)

    assert before
    assert not aws.decide(key).allowed


def test_an_expired_session_is_told_so(aws: Ground):
    key = session(aws, BOTH)
    aws.wait(3600)

    assert aws.decide(key).reason.startswith("the session of role checkout expired at 2026-01-02 04:04:05")


def test_the_sessions_of_a_deleted_role_are_dead(aws: Ground):
    key = session(aws, BOTH)
    aws.iam("DeleteRolePolicy", RoleName="checkout", PolicyName="inline")
    aws.iam("DeleteRole", RoleName="checkout")
    aws.role(trust=trust_aws(ACCOUNT), statements=[BOTH])

    assert aws.decide(key).reason.startswith("role checkout was deleted")
    assert aws.decide(assume(aws)).allowed


def test_an_iam_user_may_connect_by_its_policy(aws: Ground):
    session(aws)

    assert aws.decide(aws.admin).allowed
    assert aws.decide(aws.limited_key(BOTH, user_name="may")).allowed
    assert aws.decide(aws.limited_key(allow("iam:*"), user_name="may-not")).reason.startswith(
        "the policies of IAM user"
    )


def test_another_account_cannot_connect(aws: Ground):
    session(aws)
    aws.world.add_account(OTHER_ACCOUNT)
    key, _ = aws.world.add_access_key(OTHER_ACCOUNT, user_name="stranger")

    assert "is of another account than the cache" in aws.decide(key).reason


def test_a_forgotten_key_cannot_connect(aws: Ground):
    key = session(aws, BOTH)
    identity, view = aws.world.signing_identity(key), aws.view()
    aws.wait(7200)
    assume(aws)

    decision = aws.world.decide_connect(identity, view, "app", source_ip="127.0.0.1")

    assert decision.reason == f"unknown access key {key}"


def test_the_decision_is_about_the_user_that_is_asked_for(aws: Ground):
    key = session(aws, BOTH)

    assert aws.decide(key, user_id="other").reason.endswith(
        f"on the user arn:aws:elasticache:{REGION}:{ACCOUNT}:user:other"
    )
