"""What can go wrong with the local cluster."""


class ClusterError(Exception):
    """The local cluster can't be had; the message says in one paragraph what is missing and what to do."""


class FolderInUseError(ClusterError):
    """Another run uses the state folder."""


class ApiError(ClusterError):
    """The API server answered a request with an error; `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
