"""A UserGroup: its group in AWS with all members, the caches that it is on, adoption, and its end."""
