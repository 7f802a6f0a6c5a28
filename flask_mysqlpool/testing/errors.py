"""The errors of a private server."""


class ServerError(RuntimeError):
    """The private server does not start, or does not run."""


class ServerNotFoundError(ServerError):
    """This machine has no MariaDB server binary."""
