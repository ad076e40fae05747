"""SimulatePrincipalPolicy: what a role's or user's policies say, as written, without doing anything."""

from collections.abc import Iterable

from elasticache_iam_sandbox.world.accounts import IamUser, RoleState
from elasticache_iam_sandbox.world.authorization import (
    Permissions,
    find_refusal,
    permissions_of_role,
)
from elasticache_iam_sandbox.world.call import AwsError
from elasticache_iam_sandbox.world.iam_roles import find_unique_id
from elasticache_iam_sandbox.world.request import Grant, Output, Request, operation


def _find_source(request: Request) -> RoleState | IamUser:
    arn: str = request["PolicySourceArn"]
    kind, _, path_and_name = arn.partition(f"{request.account.account_id}:")[2].partition("/")
    name = path_and_name.rpartition("/")[2]
    if find_unique_id(request.state.accounts, arn) is not None:
        found = request.account.roles.find(name) if kind == "role" else request.account.users.get(name)
        if found is not None:
            return found
    raise AwsError("NoSuchEntity", f"The entity {arn} cannot be found.", 404)


def simulate_principal_policy(request: Request) -> Output:
    """SimulatePrincipalPolicy: each action on each resource.

    A condition key that is not among ContextEntries is absent. Session policies and propagation are not considered.
    """
    source = _find_source(request)
    if isinstance(source, RoleState):
        permissions = permissions_of_role(request.account, source)
    else:
        permissions = Permissions(None if source.policy is None else (source.policy,))
    context = {
        entry["ContextKeyName"].lower(): tuple(entry.get("ContextKeyValues", []))
        for entry in request.get("ContextEntries", [])
    }
    results: list[Output] = []
    for action in request["ActionNames"]:
        for resource in request.get("ResourceArns", ["*"]):
            refusal = find_refusal(permissions, action, resource, context)
            result: Output = {
                "EvalActionName": action,
                "EvalResourceName": resource,
                "EvalDecision": "allowed"
                if refusal is None
                else "explicitDeny"
                if refusal.explicit
                else "implicitDeny",
                "MatchedStatements": [],
                "MissingContextValues": [],
            }
            if permissions.boundary is not None:
                bounded = Permissions((permissions.boundary,))
                within = find_refusal(bounded, action, resource, context) is None
                result["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": within}
            results.append(result)
    return {"EvaluationResults": results, "IsTruncated": False}


def _grants(request: Request) -> Iterable[Grant]:
    yield Grant("iam:SimulatePrincipalPolicy", request["PolicySourceArn"])


OPERATIONS = (
    operation(
        "iam",
        "SimulatePrincipalPolicy",
        simulate_principal_policy,
        _grants,
        required="PolicySourceArn ActionNames",
        optional="ResourceArns ContextEntries",
    ),
)
