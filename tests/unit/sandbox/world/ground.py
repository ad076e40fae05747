"""A world with one account and a clock that tests move; every answer is checked against botocore's models."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import botocore.session
from joserfc import jwt
from joserfc.jwk import RSAKey

from elasticache_iam_sandbox.world.call import Call, ConnectDecision
from elasticache_iam_sandbox.world.settings import WorldSettings
from elasticache_iam_sandbox.world.world import World

ACCOUNT = "111122223333"
OTHER_ACCOUNT = "444455556666"
REGION = "eu-central-1"
ISSUER = "https://oidc.example/id/CLUSTER"
AUDIENCE = "elasticache-iam.dev/sign"
SUBJECT = "system:serviceaccount:shop:checkout"
PROVIDER_ARN = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example/id/CLUSTER"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/apps/checkout"
IAM = {"Type": "iam"}
NO_PASSWORD = {"Type": "no-password-required"}
PASSWORD = {"Type": "password", "Passwords": ["sixteen-characters"]}


def arn(kind: str, name: str) -> str:
    return f"arn:aws:elasticache:{REGION}:{ACCOUNT}:{kind}:{name}"


def document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


def trust_issuer(**conditions: Any) -> str:
    equals = {"oidc.example/id/CLUSTER:sub": SUBJECT, "oidc.example/id/CLUSTER:aud": AUDIENCE}
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Federated": PROVIDER_ARN},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": conditions or {"StringEquals": equals},
        }
    )


def trust_aws(principal: Any, **more: Any) -> str:
    return document({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole", **more})


@cache
def signing_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"}, private=True)


@cache
def other_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"}, private=True)


@cache
def model(service: str) -> Any:
    session: Any = botocore.session.get_session()
    return session.get_service_model(service)


class Ground:
    def __init__(self, **settings: Any) -> None:
        self.at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.settings = WorldSettings(**settings)
        self.jwks: Mapping[str, Any] | None = {"keys": [signing_key().as_dict(private=False)]}
        self.world = World(self.settings, now=lambda: self.at, get_jwks=self._get_jwks)
        self.world.add_account(ACCOUNT)
        self.admin = self.world.add_access_key(ACCOUNT, user_name="admin")[0]

    def _get_jwks(self, _: str) -> Mapping[str, Any]:
        if self.jwks is None:
            raise LookupError("unreachable")
        return self.jwks

    def wait(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    def call(
        self, service: str, operation: str, *, key: str | None = None, region: str = REGION, **parameters: Any
    ) -> Any:
        signed = operation != "AssumeRoleWithWebIdentity"
        output = self.world.dispatch(
            Call(service, operation, parameters, region, (key or self.admin) if signed else None)
        )
        check_shape(model(service).operation_model(operation).output_shape, output, operation)
        return output

    def ec(self, operation: str, **parameters: Any) -> Any:
        return self.call("elasticache", operation, **parameters)

    def iam(self, operation: str, **parameters: Any) -> Any:
        return self.call("iam", operation, **parameters)

    def sts(self, operation: str, **parameters: Any) -> Any:
        return self.call("sts", operation, **parameters)

    def limited_key(self, *statements: Mapping[str, Any], user_name: str = "limited") -> str:
        policy = json.loads(document(*statements))
        return self.world.add_access_key(ACCOUNT, user_name=user_name, policy=policy)[0]

    def user(self, user_id: str = "app", **options: Any) -> Any:
        defaults = {"UserName": user_id.lower(), "Engine": "valkey", "AccessString": "on ~* +@all"}
        return self.ec("CreateUser", UserId=user_id, **{**defaults, "AuthenticationMode": IAM, **options})

    def default_user(self, user_id: str = "closed", engine: str = "redis") -> Any:
        return self.user(
            user_id, UserName="default", Engine=engine, AccessString="off ~* -@all", AuthenticationMode=PASSWORD
        )

    def group(self, *user_ids: str, group_id: str = "orders", engine: str = "valkey", **options: Any) -> Any:
        members = {"UserIds": list(user_ids)} if user_ids else {}
        return self.ec("CreateUserGroup", UserGroupId=group_id, Engine=engine, **members, **options)

    def cache(self, cache_id: str = "orders-prod", **options: Any) -> None:
        defaults: dict[str, Any] = {"engine": "valkey", "engine_version": "8.1", "host": "127.0.0.1", "port": 6379}
        self.world.add_replication_group(ACCOUNT, REGION, cache_id, **{**defaults, **options})

    def attach(self, group_id: str = "orders", cache_id: str = "orders-prod", **options: Any) -> Any:
        return self.ec(
            "ModifyReplicationGroup",
            ReplicationGroupId=cache_id,
            UserGroupIdsToAdd=[group_id],
            ApplyImmediately=True,
            **options,
        )

    def describe_user(self, user_id: str = "app") -> Any:
        return self.ec("DescribeUsers", UserId=user_id)["Users"][0]

    def describe_group(self, group_id: str = "orders") -> Any:
        return self.ec("DescribeUserGroups", UserGroupId=group_id)["UserGroups"][0]

    def describe_cache(self, cache_id: str = "orders-prod") -> Any:
        return self.ec("DescribeReplicationGroups", ReplicationGroupId=cache_id)["ReplicationGroups"][0]

    def view(self, cache_id: str = "orders-prod") -> Any:
        return self.world.cache_view(ACCOUNT, REGION, cache_id)

    def provider(self, *client_ids: str) -> Any:
        return self.iam("CreateOpenIDConnectProvider", Url=ISSUER, ClientIDList=list(client_ids or (AUDIENCE,)))

    def role(self, name: str = "checkout", *, trust: str = "", statements: Any = (), **options: Any) -> Any:
        made = self.iam(
            "CreateRole",
            RoleName=name,
            AssumeRolePolicyDocument=trust or trust_issuer(),
            **{"Path": "/apps/", **options},
        )
        if statements:
            self.put_policy(*statements, name=name)
        return made["Role"]

    def put_policy(self, *statements: Any, name: str = "checkout") -> None:
        self.iam("PutRolePolicy", RoleName=name, PolicyName="inline", PolicyDocument=document(*statements))

    def token(self, *, key: RSAKey | None = None, **claims: Any) -> str:
        now = int(self.world.now().timestamp())
        body = {"iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + 600, **claims}
        kept = {name: value for name, value in body.items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": "one"}, kept, key or signing_key(), algorithms=["RS256"])

    def web_identity(self, **parameters: Any) -> Any:
        defaults = {"RoleArn": ROLE_ARN, "RoleSessionName": "session"}
        token = parameters.pop("WebIdentityToken", None) or self.token()
        return self.sts("AssumeRoleWithWebIdentity", WebIdentityToken=token, **{**defaults, **parameters})

    def decide(self, access_key_id: str, user_id: str = "app", source_ip: str = "127.0.0.1") -> ConnectDecision:
        identity = self.world.signing_identity(access_key_id)
        assert identity is not None
        return self.world.decide_connect(identity, self.view(), user_id, source_ip=source_ip)


def check_shape(shape: Any, value: Any, where: str) -> None:
    """Fail unless the value is what botocore's parser would make of the shape."""
    if shape is None:
        assert value == {}, f"{where} answers nothing"
        return
    kind = shape.type_name
    if kind == "structure":
        unknown = value.keys() - shape.members.keys()
        assert not unknown, f"{where}: {unknown}"
        for name, member in value.items():
            check_shape(shape.members[name], member, f"{where}.{name}")
    elif kind == "list":
        assert isinstance(value, list), where
        for item in value:
            check_shape(shape.member, item, f"{where}[]")
    elif kind == "map":
        assert isinstance(value, dict), where
        for item in value.values():
            check_shape(shape.value, item, f"{where}{{}}")
    else:
        types: Mapping[str, Any] = {"string": str, "integer": int, "boolean": bool, "timestamp": datetime}
        assert isinstance(value, types[kind]), f"{where} is no {kind}"
        allowed = shape.metadata.get("enum")
        assert not allowed or value in allowed, f"{where}: {value} is not in {allowed}"
