"""The AWS user of an ElastiCacheIAMUser."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from elasticache_iam.api.user import AccessStringStatus
from elasticache_iam.core.access import same_access
from elasticache_iam.core.errors import BusyError, InvalidSpecError
from elasticache_iam.core.state import ObservedUser


@dataclass(frozen=True, slots=True)
class DesiredUser:
    """What the resource asks for."""

    user_id: str
    engine: str
    """The group's; MemoryDB takes no notice of it."""
    access_string: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CreateUser:
    """Create the user."""

    desired: DesiredUser


@dataclass(frozen=True, slots=True)
class SetAccessString:
    """Replace the user's access string."""

    user_id: str
    access_string: str


@dataclass(frozen=True, slots=True)
class SetIamMode:
    """Make the user log in by IAM again: somebody gave it a password, or none."""

    user_id: str


UserAction: TypeAlias = CreateUser | SetAccessString | SetIamMode


def plan_user(
    desired: DesiredUser, observed: ObservedUser | None, recorded: AccessStringStatus | None
) -> tuple[UserAction, ...]:
    """Return the actions that take `observed` to `desired`; () means in sync.

    Args:
        desired: What is asked.
        observed: What AWS has; the caller has made sure that it is ours.
        recorded: The string we sent last and what AWS made of it, so that AWS's rewriting isn't taken for drift.

    Raises:
        BusyError: AWS is at work on the user.
        InvalidSpecError: The user can't be brought there: wrong engine.
    """
    if observed is None:
        return (CreateUser(desired),)
    if observed.status == "deleting":
        raise BusyError(f"AWS is still deleting an earlier user {desired.user_id}; it is created anew after that")
    if observed.auth_mode != "iam":
        if not observed.is_active:
            raise BusyError(f"user {desired.user_id} is {observed.status}; its mode is put back after that")
        return (SetIamMode(desired.user_id),)
    if observed.engine not in {desired.engine, ""} and desired.engine == "redis":
        raise InvalidSpecError(
            f"user {desired.user_id} has engine {observed.engine}, and a redis group takes redis users only; "
            "delete this resource and create it anew"
        )
    if not is_access_in_sync(desired.access_string, observed.access_string, recorded):
        if not observed.is_active:
            raise BusyError(f"user {desired.user_id} is {observed.status}; its access string is changed after that")
        return (SetAccessString(desired.user_id, desired.access_string),)
    return ()


def is_access_in_sync(desired: str, observed: str, recorded: AccessStringStatus | None) -> bool:
    """Whether the live access string is the asked one, in AWS's rewriting of it.

    An empty `returned` means: sent, and AWS's rewriting isn't known yet, so the next one seen is taken as it.
    """
    if same_access(desired, observed):
        return True
    return recorded is not None and recorded.sent == desired and recorded.returned in ("", observed)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an AWS user of somebody else's isn't taken over."""

    reason: str
    message: str


def judge_adoption(desired: DesiredUser, observed: ObservedUser, *, consents: bool, owner: str) -> Refusal | None:
    """Return what keeps a user that exists in AWS from becoming the resource's, None if nothing does.

    Args:
        desired: What is asked.
        observed: The user; not ours so far.
        consents: Whether its owner's tag names us.
        owner: The tag that says whose it is today; "" for nobody's.
    """
    who = f"the user {observed.user_id}"
    if owner:
        return Refusal(
            reason="NotOwned",
            message=f"{who} belongs to another resource, or to the installation {owner}, by its tags; choose another "
            "spec.id, or have it given up there (deletionPolicy: Retain) and its elasticache-iam.dev tags taken off",
        )
    if observed.auth_mode != "iam":
        return Refusal(
            reason="NotAdoptable",
            message=f"{who} is in authentication mode {observed.auth_mode}, and only users in mode iam are adopted; "
            "change that in AWS, or make a new ElastiCacheIAMUser with another spec.id",
        )
    if observed.user_name != observed.user_id:
        return Refusal(
            reason="NotAdoptable",
            message=f"{who} has the user name {observed.user_name}, and IAM asks for one that equals the id; make a "
            "new ElastiCacheIAMUser with another spec.id",
        )
    if not consents:
        change = (
            "its access would stay as it is"
            if same_access(desired.access_string, observed.access_string)
            else f'its access string would change from "{observed.access_string}" to "{desired.access_string}"'
        )
        return Refusal(reason="ConsentMissing", message=f"the owner of {who} hasn't consented; {change}")
    return None
