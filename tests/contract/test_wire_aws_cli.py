"""The AWS CLI against the sandbox's HTTPS endpoint. It takes a second to start, so a few calls stand for all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from elasticache_iam_sandbox.supervisor import BackgroundSandbox

AWS = Path(sys.executable).with_name("aws")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with BackgroundSandbox(tmp_path_factory.mktemp("aws")) as running:
        yield running


@pytest.fixture(scope="module")
def env(running):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | running.env() | {"AWS_CONFIG_FILE": os.devnull, "AWS_PAGER": ""}


def answer_of(env, *arguments):
    done = aws(env, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def aws(env, *arguments):
    return subprocess.run(  # noqa: S603  # the AWS CLI of this environment
        [AWS, *arguments], env=env, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_cli_creates_and_describes_a_user(env):
    created = aws(
        env, "elasticache", "create-user", "--user-id", "checkout", "--user-name", "checkout", "--engine", "valkey",
        "--access-string", "on ~* +@read", "--authentication-mode", "Type=iam", "--tags", "Key=team,Value=shop",
    )  # fmt: skip
    described = aws(
        env, "elasticache", "describe-users", "--query", "Users[?UserId=='checkout'].Status", "--output", "text"
    )

    assert json.loads(created.stdout)["ARN"].endswith(":user:checkout")
    assert described.stdout.strip() == "active"


def test_the_cli_says_who_it_is(env):
    answer = aws(env, "sts", "get-caller-identity")

    assert json.loads(answer.stdout)["Arn"] == "arn:aws:iam::111122223333:user/admin"


def test_the_cli_shows_an_error_as_awss(env):
    answer = aws(env, "eks", "describe-cluster", "--name", "nowhere")

    assert answer.returncode != 0
    assert "ResourceNotFoundException" in answer.stderr


def test_the_cli_with_a_wrong_secret_is_refused(env):
    answer = aws(env | {"AWS_SECRET_ACCESS_KEY": "WRONG"}, "elasticache", "describe-users")

    assert "SignatureDoesNotMatch" in answer.stderr


def test_the_cli_creates_a_group_and_changes_its_members(running, env):
    elasticache = running.admin_session().client("elasticache")
    for name in ("reader", "writer", "auditor"):
        elasticache.create_user(
            UserId=name, UserName=name, Engine="valkey", AccessString="on ~* +@read", AuthenticationMode={"Type": "iam"}
        )

    created = answer_of(
        env, "elasticache", "create-user-group", "--user-group-id", "orders", "--engine", "valkey",
        "--user-ids", "reader", "writer", "--tags", "Key=team,Value=shop", "Key=stage,Value=prod",
    )  # fmt: skip
    running.settle()
    modified = answer_of(
        env, "elasticache", "modify-user-group", "--user-group-id", "orders",
        "--user-ids-to-add", "auditor", "--user-ids-to-remove", "reader", "writer",
    )  # fmt: skip
    running.settle()

    assert sorted(created["UserIds"]) == ["reader", "writer"]
    assert modified["PendingChanges"] == {"UserIdsToAdd": ["auditor"], "UserIdsToRemove": ["reader", "writer"]}
    (group,) = elasticache.describe_user_groups(UserGroupId="orders")["UserGroups"]
    assert group["UserIds"] == ["auditor"]
    tags = elasticache.list_tags_for_resource(ResourceName=created["ARN"])["TagList"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "shop", "stage": "prod"}


def test_the_cli_shows_a_replication_group(running, env):
    cache = running.add_cache("orders", engine="redis")

    (group,) = answer_of(env, "elasticache", "describe-replication-groups", "--replication-group-id", "orders")[
        "ReplicationGroups"
    ]

    assert (group["ARN"], group["Status"], group["TransitEncryptionEnabled"]) == (cache.arn, "available", True)
    assert group["NodeGroups"][0]["PrimaryEndpoint"] == {"Address": cache.host, "Port": cache.port}


def test_the_cli_creates_a_role_with_trust_and_policy(running, env, tmp_path):
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
    connect = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "elasticache:Connect", "Resource": "*"}],
    }
    document = tmp_path / "connect.json"
    document.write_text(json.dumps(connect, indent=2))

    created = answer_of(
        env, "iam", "create-role", "--role-name", "checkout", "--path", "/apps/",
        "--assume-role-policy-document", json.dumps(trust),
    )  # fmt: skip
    answer_of(
        env, "iam", "put-role-policy", "--role-name", "checkout", "--policy-name", "connect",
        "--policy-document", f"file://{document}",
    )  # fmt: skip

    assert created["Role"]["Arn"] == "arn:aws:iam::111122223333:role/apps/checkout"
    assert created["Role"]["AssumeRolePolicyDocument"] == trust
    iam = running.admin_session().client("iam")
    assert iam.get_role_policy(RoleName="checkout", PolicyName="connect")["PolicyDocument"] == connect


def test_the_cli_adds_a_client_id_to_an_oidc_provider(env):
    created = answer_of(
        env, "iam", "create-open-id-connect-provider", "--url", "https://issuer.example/id/1",
        "--client-id-list", "sts.amazonaws.com", "first",
    )  # fmt: skip
    provider = ("--open-id-connect-provider-arn", created["OpenIDConnectProviderArn"])

    answer_of(env, "iam", "add-client-id-to-open-id-connect-provider", *provider, "--client-id", "second")

    shown = answer_of(env, "iam", "get-open-id-connect-provider", *provider)
    assert sorted(shown["ClientIDList"]) == ["first", "second", "sts.amazonaws.com"]


def test_the_cli_creates_memorydb_users_and_puts_their_acl_onto_a_cluster(running, env):
    def add_cluster(world):
        world.add_memorydb_cluster("111122223333", "eu-central-1", "carts", engine="valkey", host="127.0.0.1", port=1)

    running.run(add_cluster)

    created = answer_of(
        env, "memorydb", "create-user", "--user-name", "checkout", "--authentication-mode", "Type=iam",
        "--access-string", "on ~* &* +@read", "--tags", "Key=team,Value=shop",
    )  # fmt: skip
    acl = answer_of(env, "memorydb", "create-acl", "--acl-name", "shop", "--user-names", "checkout")
    updated = answer_of(env, "memorydb", "update-cluster", "--cluster-name", "carts", "--acl-name", "shop")
    running.settle()

    assert created["User"]["AccessString"] == "on ~* &* -@all +@read"
    assert acl["ACL"]["ARN"] == "arn:aws:memorydb:eu-central-1:111122223333:acl/shop"
    assert updated["Cluster"]["PendingUpdates"] == {"ACLs": {"ACLToApply": "shop"}}
    memorydb = running.admin_session().client("memorydb")
    assert memorydb.describe_clusters(ClusterName="carts")["Clusters"][0]["ACLName"] == "shop"
    tags = memorydb.list_tags(ResourceArn=created["User"]["ARN"])["TagList"]
    assert tags == [{"Key": "team", "Value": "shop"}]


def test_the_cli_shows_a_serverless_cache(running, env):
    def add_cache(world):
        world.add_serverless_cache("111122223333", "eu-central-1", "carts", engine="valkey", host="127.0.0.1", port=1)

    running.run(add_cache)

    (cache,) = answer_of(env, "elasticache", "describe-serverless-caches")["ServerlessCaches"]

    assert (cache["ServerlessCacheName"], cache["Status"], cache["Engine"]) == ("carts", "available", "valkey")
    assert cache["Endpoint"] == {"Address": "127.0.0.1", "Port": 1}
