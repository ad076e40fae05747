"""A resource's document -> its model, or one error that names every field and rule that is broken.

The API server has checked the same rules, yet an object can get around them: stored under an older CRD, or kept as it
was by an update elsewhere. The operator acts on nothing that it would not admit.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from elasticache_iam.api.base import ApiModel
from elasticache_iam.api.group import UserGroup, UserGroupStatus
from elasticache_iam.api.user import ElastiCacheIAMUser, ElastiCacheIAMUserStatus
from elasticache_iam.api.words import say, step

Resource = TypeVar("Resource", UserGroup, ElastiCacheIAMUser)


class InvalidResourceError(ValueError):
    """The resource breaks its own rules; only an edit helps.

    Attributes:
        problems: One line for each, field first. They quote no values.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def parse_user(body: Mapping[str, Any]) -> ElastiCacheIAMUser:
    """Return the user that a document from the API server describes.

    Raises:
        InvalidResourceError: Metadata or spec break a rule.
    """
    return _parse(body, ElastiCacheIAMUser, ElastiCacheIAMUserStatus)


def parse_group(body: Mapping[str, Any]) -> UserGroup:
    """Return the group that a document from the API server describes.

    Raises:
        InvalidResourceError: Metadata or spec break a rule.
    """
    return _parse(body, UserGroup, UserGroupStatus)


def salvage_user(body: Mapping[str, Any]) -> ElastiCacheIAMUser:
    """Return what can be told of a user that breaks its rules: metadata, status, and the fields that can be read.

    For its deletion and its conditions alone: required fields that can't be read have stand-ins.
    """
    return _salvage(
        body,
        ElastiCacheIAMUser,
        ElastiCacheIAMUserStatus,
        {"groups": [{"name": "unknown"}], "access": {"accessString": "off"}},
    )


def salvage_group(body: Mapping[str, Any]) -> UserGroup:
    """Return what can be told of a group that breaks its rules, as `salvage_user` does."""
    return _salvage(body, UserGroup, UserGroupStatus, {"engine": "redis"})


def _salvage(
    body: Mapping[str, Any], model: type[Resource], status_model: type[ApiModel], stand_in: Mapping[str, Any]
) -> Resource:
    spec = body.get("spec")
    fields = dict(spec) if isinstance(spec, Mapping) else {}
    known = {"metadata": body["metadata"], "status": _status(body.get("status"), status_model)}
    try:
        return model.model_validate({**known, "spec": {**stand_in, **fields}})
    except ValidationError as error:
        broken = {detail["loc"][1] for detail in error.errors() if detail["loc"][0] == "spec"}
    kept = {field: value for field, value in fields.items() if field not in broken}
    return model.model_validate({**known, "spec": {**stand_in, **kept}})


def _parse(body: Mapping[str, Any], model: type[Resource], status_model: type[ApiModel]) -> Resource:
    wanted = {field: body[field] for field in ("metadata", "spec") if field in body}
    try:
        resource = model.model_validate({**wanted, "status": _status(body.get("status"), status_model)})
    except ValidationError as error:
        raise InvalidResourceError(tuple(_problem(detail["loc"], say(detail)) for detail in error.errors())) from None
    problems = tuple(_broken_rules(resource, ()))
    if problems:
        raise InvalidResourceError(problems)
    return resource


def _status(document: object, model: type[ApiModel]) -> ApiModel:
    """Return what can be read of a status: another version's, or a hand-made one, must not stop us.

    Only the fields that are broken are left out: broken conditions must not make us forget whose Secret is ours.
    """
    if not isinstance(document, Mapping):
        return model()
    try:
        return model.model_validate(document)
    except ValidationError as error:
        broken = {detail["loc"][0] for detail in error.errors()}
        return model.model_validate({field: value for field, value in document.items() if field not in broken})


def _broken_rules(model: ApiModel, path: tuple[str | int, ...]) -> Iterator[str]:
    """Yield the rules across fields that do not hold, in the model and in those within; a status has none."""
    for rule in model.RULES:
        if not rule.is_kept_by(model):
            yield _problem((*path, *rule.field.split(".")[1:]), rule.message)
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        here = (*path, field.alias or name)
        if isinstance(value, ApiModel):
            yield from _broken_rules(value, here)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, ApiModel):
                    yield from _broken_rules(item, (*here, index))


def _problem(path: tuple[str | int, ...], message: str) -> str:
    """Return one line, with the path as Kubernetes writes it: `spec.caches[0].name: ...`."""
    dotted = "".join(f"[{part}]" if isinstance(part, int) else step(part) for part in path)
    return f"{dotted.removeprefix('.')}: {message}"
