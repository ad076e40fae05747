"""What goes wrong before there is anything to log in with."""

from redis.exceptions import ConnectionError as RedisConnectionError


class CredentialsUnavailableError(RedisConnectionError):
    """There is no username and token to log in with now.

    A connection error to redis-py: it closes the connection that it couldn't log in on (after any other exception it
    would keep it, open and not logged in) and tries again as often as the client is told to.
    """
