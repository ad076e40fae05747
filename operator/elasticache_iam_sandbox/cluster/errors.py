"""What can go wrong with the local cluster."""


class ClusterError(Exception):
    """The local cluster can't be had; the message says in one paragraph what is missing and what to do."""
