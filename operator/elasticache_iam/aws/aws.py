"""The control plane of AWS through boto3, in one place: a service's directory and the account's IAM."""

import asyncio
from dataclasses import replace

from elasticache_iam.aws.directory import Directory
from elasticache_iam.aws.iam import Iam
from elasticache_iam.core.state import Inventory


class BotoAws:
    """Implements `ports.Aws`, for one event loop: everything but the inventory is one or the other's.

    Args:
        directory: Users, groups and caches.
        iam: Roles and OIDC provider; shared by all places of the account.
    """

    def __init__(self, directory: Directory, iam: Iam) -> None:
        self._directory = directory
        self._iam = iam
        self.list_tags = directory.list_tags
        self.set_tags = directory.set_tags
        self.remove_tags = directory.remove_tags
        self.create_user = directory.create_user
        self.create_default_user = directory.create_default_user
        self.set_access_string = directory.set_access_string
        self.set_iam_mode = directory.set_iam_mode
        self.delete_user = directory.delete_user
        self.create_group = directory.create_group
        self.modify_group = directory.modify_group
        self.set_group_engine = directory.set_group_engine
        self.delete_group = directory.delete_group
        self.attach_group = directory.attach_group
        self.get_role = iam.get_role
        self.create_role = iam.create_role
        self.set_trust = iam.set_trust
        self.put_role_policy = iam.put_role_policy
        self.delete_role_policy = iam.delete_role_policy
        self.set_boundary = iam.set_boundary
        self.set_max_session = iam.set_max_session
        self.tag_role = iam.tag_role
        self.untag_role = iam.untag_role
        self.delete_role = iam.delete_role
        self.get_oidc_audiences = iam.get_oidc_audiences
        self.simulate_connect = iam.simulate_connect

    async def get_inventory(self, *, max_age_s: float, slow_max_age_s: float) -> Inventory:
        """Return what AWS has, no older than asked."""
        _, roles = await asyncio.gather(
            self._directory.refresh(max_age_s=max_age_s, slow_max_age_s=slow_max_age_s),
            self._iam.get_roles(max_age_s=max_age_s, slow_max_age_s=slow_max_age_s),
        )
        return replace(self._directory.latest(), roles=roles)
