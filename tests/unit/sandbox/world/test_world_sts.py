import json
from contextlib import nullcontext
from datetime import timedelta

import pytest
from tests.unit.sandbox.world.ground import (
    ACCOUNT,
    AUDIENCE,
    OTHER_ACCOUNT,
    PROVIDER_ARN,
    ROLE_ARN,
    SUBJECT,
    Ground,
    allow,
    arn,
    deny,
    document,
    other_key,
    trust_aws,
    trust_issuer,
)

from elasticache_iam_sandbox.world.call import AwsError


def refused(code, match=""):
    return pytest.raises(AwsError, match=f"^{code}: .*{match}")


@pytest.fixture
def federated(aws: Ground) -> Ground:
    aws.settings.web_identity_calls_per_s = 0
    aws.provider()
    aws.role()
    return aws


def test_a_token_becomes_a_session(federated: Ground):
    answer = federated.web_identity()
    credentials = answer["Credentials"]
    identity = federated.world.signing_identity(credentials["AccessKeyId"])

    assert credentials["AccessKeyId"].startswith("ASIA")
    assert credentials["Expiration"] == federated.at + timedelta(hours=1)
    assert (answer["SubjectFromWebIdentityToken"], answer["Audience"]) == (SUBJECT, AUDIENCE)
    assert answer["Provider"] == PROVIDER_ARN
    assert identity is not None
    assert identity.secret_access_key == credentials["SecretAccessKey"]
    assert identity.session_token == credentials["SessionToken"]
    assert identity.expires_at == credentials["Expiration"]
    assert identity.principal_arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/checkout/session"


def test_a_session_knows_who_it_is(federated: Ground):
    key = federated.web_identity()["Credentials"]["AccessKeyId"]
    role_id = federated.iam("GetRole", RoleName="checkout")["Role"]["RoleId"]

    assert federated.sts("GetCallerIdentity", key=key) == {
        "UserId": f"{role_id}:session",
        "Account": ACCOUNT,
        "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/checkout/session",
    }


def test_an_iam_user_knows_who_it_is_without_any_permission(aws: Ground):
    key = aws.limited_key(deny("*"))

    assert aws.sts("GetCallerIdentity", key=key)["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/limited"


@pytest.mark.parametrize(
    ("claims", "code", "match"),
    [
        pytest.param({"aud": "sts.amazonaws.com"}, "InvalidIdentityToken", "Incorrect token audience", id="audience"),
        pytest.param({"aud": None}, "InvalidIdentityToken", "Incorrect token audience", id="no-audience"),
        pytest.param({"iss": "https://evil.example"}, "InvalidIdentityToken", "No OpenIDConnect provider", id="issuer"),
        pytest.param({"iss": None}, "InvalidIdentityToken", "No OpenIDConnect provider", id="no-issuer"),
        pytest.param({"exp": 1000}, "ExpiredTokenException", "Token expired", id="expired"),
        pytest.param({"exp": None}, "InvalidIdentityToken", "", id="no-expiry"),
        pytest.param({"nbf": 4000000000}, "InvalidIdentityToken", "not valid before", id="not-yet-valid"),
        pytest.param({"sub": None}, "InvalidIdentityToken", "", id="no-subject"),
        pytest.param({"sub": "system:serviceaccount:shop:other"}, "AccessDenied", "Not authorized", id="subject"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(federated: Ground, claims, code: str, match: str):
    with refused(code, match):
        federated.web_identity(WebIdentityToken=federated.token(**claims))


def test_an_audience_may_be_a_string(federated: Ground):
    assert federated.web_identity(WebIdentityToken=federated.token(aud=AUDIENCE))["Audience"] == AUDIENCE


def test_one_known_audience_of_many_will_do(federated: Ground):
    token = federated.token(aud=["https://kubernetes.default.svc", AUDIENCE])

    assert federated.web_identity(WebIdentityToken=token)["Audience"] == AUDIENCE


def test_a_registered_audience_that_the_trust_policy_does_not_name_is_denied(federated: Ground):
    federated.iam(
        "AddClientIDToOpenIDConnectProvider", OpenIDConnectProviderArn=PROVIDER_ARN, ClientID="sts.amazonaws.com"
    )

    with refused("AccessDenied"):
        federated.web_identity(WebIdentityToken=federated.token(aud="sts.amazonaws.com"))


def test_a_token_signed_by_somebody_else_is_refused(federated: Ground):
    with refused("InvalidIdentityToken", "verification key"):
        federated.web_identity(WebIdentityToken=federated.token(key=other_key()))


def test_a_key_that_the_issuer_does_not_publish_is_refused(federated: Ground):
    federated.jwks = {"keys": [{**other_key().as_dict(private=False), "kid": "two"}]}

    with refused("InvalidIdentityToken", "verification key"):
        federated.web_identity()


def test_new_keys_of_the_issuer_are_seen(federated: Ground):
    federated.web_identity()
    federated.jwks = {"keys": [other_key().as_dict(private=False)]}

    assert federated.web_identity(WebIdentityToken=federated.token(key=other_key()))["Credentials"]


def test_an_issuer_that_cannot_be_reached_is_a_communication_error(federated: Ground):
    token = federated.token()
    federated.jwks = None

    with refused("IDPCommunicationError"):
        federated.web_identity(WebIdentityToken=token)


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.", "W10.W10.W10"])
def test_what_is_no_jwt_is_refused(federated: Ground, token: str):
    with refused("InvalidIdentityToken", "not a valid JWT"):
        federated.web_identity(WebIdentityToken=token)


def test_a_provider_of_another_account_does_not_count(aws: Ground):
    aws.role()

    with refused("InvalidIdentityToken", "No OpenIDConnect provider found in your account for https://oidc.example"):
        aws.web_identity()


def test_a_missing_role_is_a_plain_access_denied(federated: Ground):
    with pytest.raises(AwsError) as caught:
        federated.web_identity(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/nobody")

    assert (caught.value.code, caught.value.http_status) == ("AccessDenied", 403)


def test_a_role_arn_without_its_path_is_another_role(federated: Ground):
    with refused("AccessDenied"):
        federated.web_identity(RoleArn=ROLE_ARN.replace("/apps/", "/"))


@pytest.mark.parametrize(
    "trust",
    [
        pytest.param(
            trust_issuer(StringLike={"oidc.example/id/CLUSTER:sub": "system:serviceaccount:shop:*"}), id="like"
        ),
        pytest.param(
            document({"Effect": "Allow", "Principal": {"Federated": PROVIDER_ARN}, "Action": "sts:*"}), id="any"
        ),
    ],
)
def test_other_trust_policies_admit(federated: Ground, trust: str):
    federated.iam("UpdateAssumeRolePolicy", RoleName="checkout", PolicyDocument=trust)

    assert federated.web_identity()["Credentials"]


@pytest.mark.parametrize(
    "trust",
    [
        pytest.param(trust_aws(ACCOUNT), id="another-principal"),
        pytest.param(
            document({"Effect": "Allow", "Principal": {"Federated": PROVIDER_ARN}, "Action": "sts:AssumeRole"}),
            id="another-action",
        ),
        pytest.param(
            json.dumps(
                {
                    "Statement": [
                        *json.loads(trust_issuer())["Statement"],
                        {"Effect": "Deny", "Principal": "*", "Action": "sts:*"},
                    ]
                }
            ),
            id="explicit-deny",
        ),
    ],
)
def test_other_trust_policies_refuse(federated: Ground, trust: str):
    federated.iam("UpdateAssumeRolePolicy", RoleName="checkout", PolicyDocument=trust)

    with refused("AccessDenied"):
        federated.web_identity()


@pytest.mark.parametrize("seconds", [899, 43201, 3601])
def test_a_duration_out_of_range_is_a_validation_error(federated: Ground, seconds: int):
    with refused("ValidationError"):
        federated.web_identity(DurationSeconds=seconds)


def test_a_role_may_allow_longer_sessions(federated: Ground):
    federated.iam("UpdateRole", RoleName="checkout", MaxSessionDuration=43200)

    expiration = federated.web_identity(DurationSeconds=43200)["Credentials"]["Expiration"]

    assert expiration == federated.at + timedelta(hours=12)


def test_the_least_duration_is_a_setting(federated: Ground):
    federated.settings.min_session_seconds = 10

    assert federated.web_identity(DurationSeconds=10)["Credentials"]["Expiration"] == federated.at + timedelta(
        seconds=10
    )


@pytest.mark.parametrize("name", ["x", "with space", "a" * 65, "sl/ash"])
def test_a_session_name_outside_the_rules_is_refused(federated: Ground, name: str):
    with refused("ValidationError", "roleSessionName"):
        federated.web_identity(RoleSessionName=name)


def test_a_session_policy_may_have_2048_characters(federated: Ground):
    policy = document(allow("elasticache:Connect"))

    assert federated.web_identity(Policy=policy + " " * (2048 - len(policy)))["PackedPolicySize"] == 100
    with refused("ValidationError", "policy"):
        federated.web_identity(Policy=policy + " " * (2049 - len(policy)))


def test_a_session_policy_must_be_a_policy(federated: Ground):
    with refused("MalformedPolicyDocument"):
        federated.web_identity(Policy="nonsense")


def test_web_identity_calls_are_throttled_with_a_burst(federated: Ground):
    federated.settings.web_identity_calls_per_s = 2

    for _ in range(4):
        federated.web_identity()
    with pytest.raises(AwsError) as caught:
        federated.web_identity()
    federated.wait(1)
    for _ in range(2):
        federated.web_identity()

    assert (caught.value.code, caught.value.message) == ("Throttling", "Rate exceeded")
    with refused("Throttling"):
        federated.web_identity()


def test_a_new_role_is_not_there_before_iam_has_propagated():
    aws = Ground(iam_propagation_s=10)
    aws.provider()
    aws.role()

    with refused("AccessDenied"):
        aws.web_identity()
    aws.wait(10)
    assert aws.web_identity()["Credentials"]


def test_until_a_new_trust_policy_has_propagated_the_old_one_counts():
    aws = Ground(iam_propagation_s=10)
    aws.provider()
    aws.role()
    aws.wait(10)
    aws.iam("UpdateAssumeRolePolicy", RoleName="checkout", PolicyDocument=trust_aws(ACCOUNT))

    assert aws.web_identity()["Credentials"]
    aws.wait(10)
    with refused("AccessDenied"):
        aws.web_identity()


def test_a_deleted_role_can_be_assumed_until_iam_has_propagated():
    aws = Ground(iam_propagation_s=10)
    aws.provider()
    aws.role()
    aws.wait(10)
    aws.iam("DeleteRole", RoleName="checkout")

    assert aws.web_identity()["Credentials"]
    aws.wait(10)
    with refused("AccessDenied"):
        aws.web_identity()


def test_tokens_are_judged_by_the_worlds_clock(federated: Ground):
    token = federated.token()
    federated.settings.clock_offset = timedelta(minutes=11)

    with refused("ExpiredTokenException"):
        federated.web_identity(WebIdentityToken=token)


def test_an_expired_session_cannot_call(federated: Ground):
    key = federated.web_identity(DurationSeconds=900)["Credentials"]["AccessKeyId"]
    federated.wait(900)

    with refused("ExpiredToken"):
        federated.sts("GetCallerIdentity", key=key)


def test_a_long_dead_session_is_forgotten(federated: Ground):
    key = federated.web_identity(DurationSeconds=900)["Credentials"]["AccessKeyId"]
    federated.wait(900 + 3600)
    federated.web_identity()

    assert federated.world.signing_identity(key) is None


def test_the_sessions_of_a_role_made_anew_are_dead(federated: Ground):
    key = federated.web_identity()["Credentials"]["AccessKeyId"]
    federated.iam("DeleteRole", RoleName="checkout")
    federated.role()

    with refused("InvalidClientTokenId"):
        federated.sts("GetCallerIdentity", key=key)


@pytest.mark.parametrize("parameters", [{"PolicyArns": []}, {"ProviderId": "x"}])
def test_other_parameters_are_refused_loudly(federated: Ground, parameters):
    with refused("NotImplementedInSandbox"):
        federated.web_identity(**parameters)


def assume(aws, **parameters):
    return aws.sts("AssumeRole", **{"RoleArn": ROLE_ARN, "RoleSessionName": "session", **parameters})


def test_a_trusted_account_needs_a_policy_of_its_own(aws: Ground):
    aws.role(trust=trust_aws(f"arn:aws:iam::{ACCOUNT}:root"))

    assert assume(aws, key=aws.limited_key(allow("sts:AssumeRole", ROLE_ARN), user_name="may"))["Credentials"]
    with refused("AccessDenied", "not authorized to perform: sts:AssumeRole on resource: " + ROLE_ARN):
        assume(aws, key=aws.limited_key(allow("iam:*"), user_name="may-not"))


def test_a_principal_named_in_its_own_account_needs_none(aws: Ground):
    key = aws.limited_key(allow("iam:GetRole"))
    aws.role(trust=trust_aws(f"arn:aws:iam::{ACCOUNT}:user/limited"))

    assert assume(aws, key=key)["Credentials"]


def test_but_an_explicit_deny_still_counts(aws: Ground):
    key = aws.limited_key(deny("sts:AssumeRole"))
    aws.role(trust=trust_aws(f"arn:aws:iam::{ACCOUNT}:user/limited"))

    with refused("AccessDenied"):
        assume(aws, key=key)


def test_a_principal_that_is_not_trusted_is_refused_whatever_its_policy(aws: Ground):
    aws.limited_key(allow("iam:GetRole"))
    aws.role(trust=trust_aws(f"arn:aws:iam::{ACCOUNT}:user/limited"))

    with refused("AccessDenied"):
        assume(aws)


def test_across_accounts_both_sides_must_agree(aws: Ground):
    aws.world.add_account(OTHER_ACCOUNT)
    may = aws.world.add_access_key(OTHER_ACCOUNT, user_name="may", policy=json.loads(document(allow("sts:AssumeRole"))))
    may_not = aws.world.add_access_key(OTHER_ACCOUNT, user_name="no", policy=json.loads(document(allow("iam:*"))))
    principals = [f"arn:aws:iam::{OTHER_ACCOUNT}:user/may", f"arn:aws:iam::{OTHER_ACCOUNT}:user/no"]
    aws.role(trust=trust_aws(principals))

    assert assume(aws, key=may[0])["Credentials"]
    with refused("AccessDenied"):
        assume(aws, key=may_not[0])


WITH_EXTERNAL_ID = trust_aws(ACCOUNT, Condition={"StringEquals": {"sts:ExternalId": "secret-word"}})


def test_the_external_id_of_the_trust_policy_admits(aws: Ground):
    aws.role(trust=WITH_EXTERNAL_ID)

    assert assume(aws, ExternalId="secret-word")["Credentials"]


@pytest.mark.parametrize("parameters", [{"ExternalId": "other"}, {}])
def test_another_external_id_or_none_is_refused(aws: Ground, parameters):
    aws.role(trust=WITH_EXTERNAL_ID)

    with refused("AccessDenied"):
        assume(aws, **parameters)


def test_role_chaining_is_capped_at_one_hour(aws: Ground):
    aws.role("first", trust=trust_aws(ACCOUNT), statements=[allow("sts:AssumeRole")], MaxSessionDuration=43200)
    aws.role(trust=trust_aws(ACCOUNT), MaxSessionDuration=43200)
    key = assume(aws, RoleArn=ROLE_ARN.replace("checkout", "first"), DurationSeconds=43200)["Credentials"][
        "AccessKeyId"
    ]

    with refused("ValidationError", "1 hour session limit"):
        assume(aws, key=key, DurationSeconds=3601)
    assert assume(aws, key=key, DurationSeconds=3600)["Credentials"]


def test_a_trusted_role_that_was_made_anew_is_not_trusted_any_more(aws: Ground):
    aws.role("first", trust=trust_aws(ACCOUNT))
    first_arn = ROLE_ARN.replace("checkout", "first")
    aws.role(trust=trust_aws(first_arn))
    aws.iam("DeleteRole", RoleName="first")
    aws.role("first", trust=trust_aws(ACCOUNT))
    key = assume(aws, RoleArn=first_arn)["Credentials"]["AccessKeyId"]

    with refused("AccessDenied"):
        assume(aws, key=key)


def test_too_long_a_session_policy_is_packed_policy_too_large(aws: Ground):
    aws.role(trust=trust_aws(ACCOUNT))

    with refused("PackedPolicyTooLarge"):
        assume(aws, Policy=document(allow("iam:*")) + " " * 2048)


@pytest.mark.parametrize("parameter", ["Tags", "TransitiveTagKeys", "SourceIdentity", "PolicyArns", "SerialNumber"])
def test_session_tags_and_the_like_are_refused_loudly(aws: Ground, parameter: str):
    with refused("NotImplementedInSandbox", parameter):
        assume(aws, **{parameter: []})


@pytest.mark.parametrize("external_id", ["secret-word", "other", None])
def test_a_role_of_another_account_is_assumed_with_its_external_id_alone(aws: Ground, external_id: str | None):
    aws.world.add_account(OTHER_ACCOUNT)
    operator, _ = aws.world.add_access_key(
        OTHER_ACCOUNT, user_name="operator", policy=json.loads(document(allow("sts:AssumeRole", ROLE_ARN)))
    )
    condition = {"StringEquals": {"sts:ExternalId": "secret-word"}}
    aws.role(trust=trust_aws(f"arn:aws:iam::{OTHER_ACCOUNT}:root", Condition=condition), statements=[allow("*")])
    parameters = {"ExternalId": external_id} if external_id else {}

    with nullcontext() if external_id == "secret-word" else refused("AccessDenied"):
        key = assume(aws, key=operator, **parameters)["Credentials"]["AccessKeyId"]
        aws.user(key=key)
        assert aws.describe_user()["ARN"] == arn("user", "app")
