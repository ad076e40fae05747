"""What an application gets: Secrets with tokens, ConfigMaps with settings. Alone in knowing templates."""

from elasticache_iam.delivery.config_map import digest_of, render_config_map, render_emptied_config_map
from elasticache_iam.delivery.secret import render_secret
from elasticache_iam.delivery.template import DeliveryTemplateError

__all__ = ["DeliveryTemplateError", "digest_of", "render_config_map", "render_emptied_config_map", "render_secret"]
