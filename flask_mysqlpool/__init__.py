"""A pooled MySQL or MariaDB connection for every Flask request."""

from pymysql import apilevel
from pymysql import paramstyle
from pymysql import threadsafety

from .context import get_db
from .context import transaction
from .context import transactional
from .errors import ConfigError
from .errors import ConnectionBusyError
from .errors import MySQLPoolError
from .errors import NotInitializedError
from .errors import OnCommitError
from .errors import PoolClosed
from .errors import PoolError
from .errors import PoolFull
from .errors import PoolTimeout
from .errors import StaleConnectionError
from .errors import UnknownBindError
from .extension import MySQLPool
from .pool.pool import Pool
from .pool.pooled_connection import PooledConnection

__all__ = [
    "ConfigError",
    "ConnectionBusyError",
    "MySQLPool",
    "MySQLPoolError",
    "NotInitializedError",
    "OnCommitError",
    "Pool",
    "PoolClosed",
    "PoolError",
    "PoolFull",
    "PoolTimeout",
    "PooledConnection",
    "StaleConnectionError",
    "UnknownBindError",
    "apilevel",
    "get_db",
    "paramstyle",
    "threadsafety",
    "transaction",
    "transactional",
]
