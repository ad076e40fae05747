"""Templates that can never be rendered, known before anything is applied."""

from collections.abc import Iterator, Mapping

from elasticache_iam.api.user import Delivery, DeliveryMode
from elasticache_iam.api.words import step
from elasticache_iam.delivery import config_map, secret
from elasticache_iam.delivery.template import parse_templates


def find_wrong_templates(delivery: Delivery) -> Iterator[tuple[str, str]]:
    """Yield where a template is wrong, as in `secret.template.key`, and how, as the operator would say it.

    What only shows when one is rendered isn't found: a property that a variable lacks, a value that gets too long.
    """
    if delivery.mode is DeliveryMode.SECRET:
        yield from _wrong_in(delivery.secret.template, "secret.template", secret.VARIABLES, "Secret")
    if delivery.config_map is not None:
        yield from _wrong_in(delivery.config_map.template, "configMap.template", config_map.VARIABLES, "ConfigMap")


def _wrong_in(texts: Mapping[str, str], path: str, known: frozenset[str], kind: str) -> Iterator[tuple[str, str]]:
    each = {key: parse_templates({key: text}, known, kind=kind).wrong for key, text in texts.items()}
    found = [(path + step(key), wrong) for key, wrong in each.items() if wrong]
    if not found and (wrong := parse_templates(texts, known, kind=kind).wrong):
        found = [(path, wrong)]  # all together are too long
    yield from found
