"""The whole chain by hand, without the operator: ServiceAccount, role, session, token, login."""

import json
import os
import subprocess

import boto3
import pytest
import redis
from botocore import UNSIGNED
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError
from redis.backoff import NoBackoff
from redis.retry import Retry

pytestmark = pytest.mark.cluster

AUDIENCE = "elasticache-iam.dev/sign"


@pytest.fixture
def cache(sandbox, aws_account):
    """A cache with a group that holds the IAM user `checkout`."""
    elasticache = sandbox.admin_session(aws_account).client("elasticache")
    elasticache.create_user(
        UserId="checkout",
        UserName="checkout",
        Engine="valkey",
        AccessString="on ~orders:* +@read +@write",
        AuthenticationMode={"Type": "iam"},
    )
    elasticache.create_user_group(UserGroupId="orders", Engine="valkey", UserIds=["checkout"])
    cache = sandbox.add_cache("orders", account_id=aws_account.account_id)
    elasticache.modify_replication_group(
        ReplicationGroupId="orders", UserGroupIdsToAdd=["orders"], ApplyImmediately=True
    )
    sandbox.settle()
    return cache


@pytest.fixture
def role(sandbox, aws_account, control_plane, namespace, cache):
    """A role for the ServiceAccount `default` that may connect as `checkout`."""
    iam = sandbox.admin_session(aws_account).client("iam")
    (provider,) = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    issuer = control_plane.issuer.removeprefix("https://")
    subject = {f"{issuer}:sub": f"system:serviceaccount:{namespace}:default", f"{issuer}:aud": AUDIENCE}
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": provider["Arn"]},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": subject},
    }
    user = f"arn:aws:elasticache:{cache.region}:{aws_account.account_id}:user:checkout"
    connect = {"Effect": "Allow", "Action": "elasticache:Connect", "Resource": [cache.arn, user]}
    role = iam.create_role(
        RoleName=namespace, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]
    iam.put_role_policy(
        RoleName=namespace,
        PolicyName="connect",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [connect]}),
    )
    return role


def session_of(sandbox, control_plane, namespace, role, audience=AUDIENCE):
    spec = {"spec": {"audiences": [audience], "expirationSeconds": 600}}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    token = control_plane.request("POST", path, spec)["status"]["token"]
    sts = boto3.session.Session(region_name="eu-central-1").client(
        "sts", endpoint_url=sandbox.aws_url, verify=str(sandbox.ca_file), config=Config(signature_version=UNSIGNED)
    )
    return sts.assume_role_with_web_identity(
        RoleArn=role["Arn"], RoleSessionName="checkout", WebIdentityToken=token, DurationSeconds=900
    )["Credentials"]


def sign(credentials, cache):
    request = AWSRequest("GET", f"https://{cache.id}/?Action=connect&User=checkout")
    keys = ReadOnlyCredentials(credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"])
    SigV4QueryAuth(keys, "elasticache", cache.region, expires=900).add_auth(request)
    return request.url.removeprefix("https://")


def connect(cache, password):
    return redis.Redis(
        cache.host,
        cache.port,
        username="checkout",
        password=password,
        ssl=True,
        ssl_ca_certs=cache.ca_file,
        retry=Retry(NoBackoff(), 0),
    )


@pytest.fixture(autouse=True)
def default_service_account(control_plane, namespace):
    control_plane.kubectl("wait", f"--namespace={namespace}", "--for=create", "serviceaccount/default", "--timeout=10s")


@pytest.fixture
def token(sandbox, control_plane, namespace, cache, role):
    """What an application would get as its password."""
    return sign(session_of(sandbox, control_plane, namespace, role), cache)


def test_a_service_account_logs_in_and_is_held_to_its_access_string(cache, token):
    with connect(cache, token) as client:
        client.set("orders:1", "paid")

        assert client.get("orders:1") == b"paid"
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.get("billing:1")


def test_a_role_without_connect_is_refused_and_the_reason_is_kept(sandbox, aws_account, role, cache, token):
    iam = sandbox.admin_session(aws_account).client("iam")
    iam.delete_role_policy(RoleName=role["RoleName"], PolicyName="connect")

    with connect(cache, token) as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()

    assert sandbox.refusals()[-1].reason == "ConnectDenied"


def test_the_clusters_own_audience_opens_nothing(sandbox, control_plane, namespace, role):
    with pytest.raises(ClientError, match="audience"):
        session_of(sandbox, control_plane, namespace, role, audience=control_plane.issuer)


def test_leaving_the_group_cuts_the_connection(sandbox, aws_account, cache, token):
    elasticache = sandbox.admin_session(aws_account).client("elasticache")
    with connect(cache, token) as client:
        client.get("orders:1")

        elasticache.modify_user_group(UserGroupId="orders", UserIdsToRemove=["checkout"])
        sandbox.settle()

        with pytest.raises(redis.exceptions.RedisError):
            client.get("orders:1")


def test_a_program_with_the_sandboxs_environment_reaches_both_sides(sandbox, control_plane):
    answer = subprocess.run(  # noqa: S603  # our own kubectl
        [control_plane._binaries.kubectl, "get", "--raw", "/readyz"],
        env=os.environ | sandbox.env(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert answer.stdout == "ok"
