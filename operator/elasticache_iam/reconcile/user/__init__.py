"""An ElastiCacheIAMUser: its user in AWS, its role, its place in the group, its tokens, and how all of it ends."""
