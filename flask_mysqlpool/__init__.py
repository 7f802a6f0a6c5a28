"""A pooled MySQL or MariaDB connection for every Flask request."""

from .context import get_db
from .context import transaction
from .errors import ConfigError
from .errors import ConnectionBusyError
from .errors import MySQLPoolError
from .errors import NotInitializedError
from .errors import PoolClosed
from .errors import PoolError
from .errors import PoolFull
from .errors import PoolTimeout
from .errors import StaleConnectionError
from .extension import MySQLPool
from .handle import PooledConnection
from .pool import Pool

__all__ = [
    "ConfigError",
    "ConnectionBusyError",
    "MySQLPool",
    "MySQLPoolError",
    "NotInitializedError",
    "Pool",
    "PoolClosed",
    "PoolError",
    "PoolFull",
    "PoolTimeout",
    "PooledConnection",
    "StaleConnectionError",
    "get_db",
    "transaction",
]
