"""Our pool."""

from __future__ import annotations

from flask_mysqlpool import Pool
from flask_mysqlpool.config.settings import Settings

from . import Arguments
from . import Contender


class Entrant(Contender):
    label = "flask_mysqlpool"

    def __init__(self, arguments: Arguments, size: int) -> None:
        self._pool = Pool(Settings.from_config(config(arguments, size))["default"])
        self.lend = self._pool.connection

    def close(self) -> None:
        self._pool.close()


def config(arguments: Arguments, size: int) -> Arguments:
    """Return what an app's config says for this."""
    keys = {f"MYSQLPOOL_{name.upper()}": value for name, value in arguments.items()}
    return keys | {"MYSQLPOOL_MAX_SIZE": size}
