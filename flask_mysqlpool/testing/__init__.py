"""A private MariaDB for your tests; pytest fixtures are in ``testing.fixtures``."""

from .errors import ServerError as ServerError
from .errors import ServerNotFoundError as ServerNotFoundError
from .server import PrivateServer as PrivateServer
