"""What an application gets: token and connection details as the body of a Secret. Alone in knowing templates."""

from elasticache_iam.delivery.secret import render_secret
from elasticache_iam.delivery.template import DeliveryTemplateError

__all__ = ["DeliveryTemplateError", "render_secret"]
