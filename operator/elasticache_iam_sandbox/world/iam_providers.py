"""IAM beside roles: OIDC providers, and managed policies as far as a permissions boundary needs them."""

import re
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from elasticache_iam_sandbox.world.accounts import ManagedPolicy, OidcProvider, new_unique_id
from elasticache_iam_sandbox.world.call import AwsError
from elasticache_iam_sandbox.world.iam_roles import encode_document, quota_exceeded, validation_error
from elasticache_iam_sandbox.world.policy import parse_policy
from elasticache_iam_sandbox.world.request import (
    Grant,
    Operation,
    Output,
    Request,
    check_tags,
    operation,
    request_tags_context,
    resource_tags_context,
    tag_list,
)

_CLIENT_IDS = 100
_CLIENT_ID_LENGTH = 255
_POLICY_LENGTH = 6144
_POLICY_NAME = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)


def _check_client_ids(client_ids: list[str]) -> None:
    if any(not 0 < len(client_id) <= _CLIENT_ID_LENGTH for client_id in client_ids):
        raise validation_error("clientID", "must have length between 1 and 255")
    if len(set(client_ids)) > _CLIENT_IDS:
        raise quota_exceeded("ClientIdsPerOpenIdConnectProvider", _CLIENT_IDS)


def _check_tags(request: Request, quota: str) -> None:
    over_quota = quota_exceeded(quota, request.state.settings.tags_per_resource)
    check_tags(request, {}, over_quota=over_quota, invalid="InvalidInput")


def _issuer(url: str) -> str:
    return url.removeprefix("https://").rstrip("/")


def create_open_id_connect_provider(request: Request) -> Output:
    """CreateOpenIDConnectProvider."""
    account, url = request.account, request["Url"]
    if urlsplit(url).scheme != "https" or not urlsplit(url).hostname or urlsplit(url).query:
        raise AwsError("InvalidInput", "Invalid Open ID Connect Provider URL")
    client_ids = list(dict.fromkeys(request.get("ClientIDList", [])))
    _check_client_ids(client_ids)
    _check_tags(request, "TagsPerOpenIdConnectProvider")
    arn = account.iam_arn(f"oidc-provider/{_issuer(url)}")
    if arn in account.oidc_providers:
        raise AwsError("EntityAlreadyExists", f"Provider with url {url} already exists.", 409)
    quota = request.state.settings.oidc_providers
    if len(account.oidc_providers) >= quota:
        raise quota_exceeded("OpenIdConnectProvidersPerAccount", quota)
    provider = OidcProvider(
        arn,
        _issuer(url),
        client_ids,
        list(request.get("ThumbprintList", [])),
        request.now.replace(microsecond=0),
        request.tags,
    )
    account.oidc_providers.add(arn, provider)
    output: Output = {"OpenIDConnectProviderArn": arn}
    if provider.tags:
        output["Tags"] = tag_list(provider.tags)
    return output


def _find(request: Request) -> OidcProvider:
    arn = request["OpenIDConnectProviderArn"]
    found = request.account.oidc_providers.get(arn)
    if found is None:
        raise AwsError("NoSuchEntity", f"OpenIDConnect Provider not found for arn {arn}", 404)
    return found


def get_open_id_connect_provider(request: Request) -> Output:
    """GetOpenIDConnectProvider; the URL comes back without https://."""
    provider = _find(request)
    return {
        "Url": provider.issuer,
        "ClientIDList": list(provider.client_ids),
        "ThumbprintList": list(provider.thumbprints),
        "CreateDate": provider.created_at,
        "Tags": tag_list(provider.tags),
    }


def list_open_id_connect_providers(request: Request) -> Output:
    """ListOpenIDConnectProviders."""
    return {"OpenIDConnectProviderList": [{"Arn": arn} for arn in request.account.oidc_providers]}


def add_client_id(request: Request) -> Output:
    """AddClientIDToOpenIDConnectProvider; one that is there is no error."""
    provider = _find(request)
    client_ids = list(dict.fromkeys([*provider.client_ids, request["ClientID"]]))
    _check_client_ids(client_ids)
    provider.client_ids = client_ids
    return {}


def remove_client_id(request: Request) -> Output:
    """RemoveClientIDFromOpenIDConnectProvider; one that is not there is no error."""
    provider = _find(request)
    provider.client_ids = [client_id for client_id in provider.client_ids if client_id != request["ClientID"]]
    return {}


def delete_open_id_connect_provider(request: Request) -> Output:
    """DeleteOpenIDConnectProvider."""
    request.account.oidc_providers.remove(_find(request).arn)
    return {}


def create_policy(request: Request) -> Output:
    """CreatePolicy."""
    account, name, path = request.account, request["PolicyName"], request.get("Path", "/")
    if not _POLICY_NAME.fullmatch(name):
        raise validation_error("policyName", "must satisfy regular expression pattern: [\\w+=,.@-]+")
    policy = parse_policy(request["PolicyDocument"])
    if len(re.sub(r"\s", "", policy.text)) > _POLICY_LENGTH:
        raise quota_exceeded("PolicySize", _POLICY_LENGTH)
    _check_tags(request, "TagsPerPolicy")
    arn = account.iam_arn(f"policy{path}{name}")
    if any(known.name == name for known in account.policies.values()):
        raise AwsError("EntityAlreadyExists", f"A policy called {name} already exists.", 409)
    managed = ManagedPolicy(
        name,
        new_unique_id("ANPA"),
        arn,
        path,
        request.get("Description", ""),
        request.now.replace(microsecond=0),
        policy,
        request.tags,
    )
    account.policies.add(arn, managed)
    return {"Policy": _render_policy(request, managed)}


def _find_policy(request: Request) -> ManagedPolicy:
    arn = request["PolicyArn"]
    found = request.account.policies.get(arn)
    if found is None:
        raise AwsError("NoSuchEntity", f"Policy {arn} was not found.", 404)
    return found


def _render_policy(request: Request, managed: ManagedPolicy) -> Output:
    roles = request.account.roles.by_name.values()
    return {
        "PolicyName": managed.name,
        "PolicyId": managed.policy_id,
        "Arn": managed.arn,
        "Path": managed.path,
        "DefaultVersionId": "v1",
        "AttachmentCount": 0,
        "PermissionsBoundaryUsageCount": sum(role.boundary_arn == managed.arn for role in roles),
        "IsAttachable": True,
        "Description": managed.description,
        "CreateDate": managed.created_at,
        "UpdateDate": managed.created_at,
        "Tags": tag_list(managed.tags),
    }


def get_policy(request: Request) -> Output:
    """GetPolicy."""
    return {"Policy": _render_policy(request, _find_policy(request))}


def get_policy_version(request: Request) -> Output:
    """GetPolicyVersion; there is only v1."""
    managed = _find_policy(request)
    if request["VersionId"] != "v1":
        raise AwsError("NoSuchEntity", f"Policy {managed.arn} version {request['VersionId']} does not exist.", 404)
    return {
        "PolicyVersion": {
            "Document": encode_document(managed.policy.text),
            "VersionId": "v1",
            "IsDefaultVersion": True,
            "CreateDate": managed.created_at,
        }
    }


def _provider_operation(name: str, act: Callable[[Request], Output], *, required: str = "") -> Operation:
    def grants(request: Request) -> Iterable[Grant]:
        arn = request["OpenIDConnectProviderArn"]
        provider = request.account.oidc_providers.get(arn)
        yield Grant(f"iam:{name}", arn, resource_tags_context(provider.tags) if provider else {})

    return operation("iam", name, act, grants, required=f"OpenIDConnectProviderArn {required}")


def _create_provider_grants(request: Request) -> Iterable[Grant]:
    arn = request.account.iam_arn(f"oidc-provider/{_issuer(request['Url'])}")
    context = request_tags_context(request.tags)
    yield Grant("iam:CreateOpenIDConnectProvider", arn, context)
    if context:
        yield Grant("iam:TagOpenIDConnectProvider", arn, context)


def _create_policy_grants(request: Request) -> Iterable[Grant]:
    arn = request.account.iam_arn(f"policy{request.get('Path', '/')}{request['PolicyName']}")
    context = request_tags_context(request.tags)
    yield Grant("iam:CreatePolicy", arn, context)
    if context:
        yield Grant("iam:TagPolicy", arn, context)


OPERATIONS = (
    operation(
        "iam",
        "CreateOpenIDConnectProvider",
        create_open_id_connect_provider,
        _create_provider_grants,
        required="Url",
        optional="ClientIDList ThumbprintList Tags",
    ),
    _provider_operation("GetOpenIDConnectProvider", get_open_id_connect_provider),
    operation(
        "iam",
        "ListOpenIDConnectProviders",
        list_open_id_connect_providers,
        lambda _: [Grant("iam:ListOpenIDConnectProviders", "*")],
    ),
    _provider_operation("AddClientIDToOpenIDConnectProvider", add_client_id, required="ClientID"),
    _provider_operation("RemoveClientIDFromOpenIDConnectProvider", remove_client_id, required="ClientID"),
    _provider_operation("DeleteOpenIDConnectProvider", delete_open_id_connect_provider),
    operation(
        "iam",
        "CreatePolicy",
        create_policy,
        _create_policy_grants,
        required="PolicyName PolicyDocument",
        optional="Path Description Tags",
    ),
    operation(
        "iam",
        "GetPolicy",
        get_policy,
        lambda request: [Grant("iam:GetPolicy", request["PolicyArn"])],
        required="PolicyArn",
    ),
    operation(
        "iam",
        "GetPolicyVersion",
        get_policy_version,
        lambda request: [Grant("iam:GetPolicyVersion", request["PolicyArn"])],
        required="PolicyArn VersionId",
    ),
)
