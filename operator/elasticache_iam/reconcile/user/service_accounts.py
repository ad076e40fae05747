"""The annotation on ServiceAccounts that gives new pods the role, where a user asks for it.

It changes which AWS identity pods get, so what somebody else has set is never replaced. A second annotation names the
user whose mark it is: without it nothing is ours to take off.
"""

from collections.abc import Mapping

import structlog

from elasticache_iam.api.keys import ANNOTATION_ANNOTATED_FOR, ANNOTATION_ROLE_ARN
from elasticache_iam.api.user import ElastiCacheIAMUser
from elasticache_iam.core import commands
from elasticache_iam.core.errors import AccessDeniedError, NotFoundError
from elasticache_iam.reconcile.plane import Plane

log = structlog.get_logger("reconcile")

Annotations = Mapping[str, str]


async def look_up(plane: Plane, user: ElastiCacheIAMUser) -> dict[str, Annotations | None]:
    """Return the annotations of each ServiceAccount that the user names; None for one that isn't there."""
    namespace = user.metadata.namespace
    # Whoever asks for our annotation waits for what others do to theirs; else it is only whether the account is there.
    asks = user.spec.annotate_service_accounts
    read = plane.kube.get_service_account_annotations if asks else plane.reads.service_account
    return {account: await read(namespace, account) for account in user.spec.service_accounts}


async def annotate(
    plane: Plane, user: ElastiCacheIAMUser, accounts: Mapping[str, Annotations | None], role_arn: str
) -> None:
    """Give ServiceAccounts the role if the user asks for it, and take off what it doesn't ask for any more.

    Raises:
        NotFoundError: One has another role; the others are done.
        AccessDeniedError: The operator has no right to annotate.
    """
    meta = user.metadata
    held_arn = user.status.role.arn if user.status.role is not None else ""
    taken: list[str] = []
    for account, annotations in accounts.items():
        if annotations is None:
            continue
        if not user.spec.annotate_service_accounts:
            await _take_off(plane, user, account, annotations)
            continue
        now = annotations.get(ANNOTATION_ROLE_ARN)
        is_ours = annotations.get(ANNOTATION_ANNOTATED_FOR) == meta.name
        if now is None or (is_ours and now != role_arn and now == held_arn):
            try:
                plane.reads.doubt_service_account(meta.namespace, account)
                await plane.kube.annotate_service_account(
                    meta.namespace, account, {ANNOTATION_ROLE_ARN: role_arn, ANNOTATION_ANNOTATED_FOR: meta.name}
                )
            except AccessDeniedError as error:
                do_it = commands.annotate_service_account(meta.namespace, account, ANNOTATION_ROLE_ARN, role_arn)
                raise AccessDeniedError(
                    f"the operator may not annotate ServiceAccounts: install it with rbac.annotateServiceAccounts=true "
                    f"and its fence, or do it yourself: {do_it} ({error.message})",
                    reason="AnnotationForbidden",
                    code=error.code,
                ) from error
        elif now != role_arn:
            taken.append(f"{account} ({now})")
    if taken:
        raise NotFoundError(
            f"ServiceAccount {', '.join(taken)} has another {ANNOTATION_ROLE_ARN}, which is never replaced: pods would "
            f"lose that role. Take it off, have that role named in spec.role (mode Existing), or set "
            "spec.annotateServiceAccounts: false",
            reason="ServiceAccountTaken",
        )


async def release(plane: Plane, user: ElastiCacheIAMUser, accounts: Mapping[str, Annotations | None]) -> None:
    """Take off what we put on ServiceAccounts, as far as that can be done: a missing right holds up nothing."""
    for account, annotations in accounts.items():
        if annotations is None:
            continue
        try:
            await _take_off(plane, user, account, annotations)
        except AccessDeniedError as error:
            log.warning(
                "annotation left on a ServiceAccount",
                namespace=user.metadata.namespace,
                name=user.metadata.name,
                service_account=account,
                message=error.message,
            )


async def release_all(plane: Plane, user: ElastiCacheIAMUser) -> None:
    """Take off what we put on the ServiceAccounts that a user names; for its deletion."""
    try:
        accounts = await look_up(plane, user)
    except AccessDeniedError as error:
        log.warning(
            "annotations of ServiceAccounts not looked at",
            namespace=user.metadata.namespace,
            name=user.metadata.name,
            message=error.message,
        )
        return
    await release(plane, user, accounts)


async def _take_off(plane: Plane, user: ElastiCacheIAMUser, account: str, annotations: Annotations) -> None:
    """Take our mark off a ServiceAccount, and the role unless somebody has replaced it since."""
    if annotations.get(ANNOTATION_ANNOTATED_FOR) != user.metadata.name:
        return
    # What is known may be old: only what is there now is ours to take off.
    annotations = await plane.kube.get_service_account_annotations(user.metadata.namespace, account) or {}
    if annotations.get(ANNOTATION_ANNOTATED_FOR) != user.metadata.name:
        return
    held_arn = user.status.role.arn if user.status.role is not None else ""
    off: dict[str, str | None] = {ANNOTATION_ANNOTATED_FOR: None}
    if annotations.get(ANNOTATION_ROLE_ARN) == held_arn:
        off[ANNOTATION_ROLE_ARN] = None
    try:
        plane.reads.doubt_service_account(user.metadata.namespace, account)
        await plane.kube.annotate_service_account(user.metadata.namespace, account, off)
    except NotFoundError:
        return
