"""Warns of what would be ignored silently: settings that come too late, or none."""

from __future__ import annotations

import logging
import typing as t
from collections.abc import Mapping

from .hints import ours_for
from .loading import PREFIX
from .loading import settings_keys
from .settings import FIELDS
from .settings import Settings

logger = logging.getLogger(__name__)

# One of these says where the database is, or who we are there.
_SAY_WHERE = ("host", "port", "unix_socket", "user", "password", "database")


class LateKeys:
    """Finds the settings of an app that changed after they were read.

    :param config: the app's, just after they were read.
    """

    def __init__(self, config: Mapping[str, t.Any]) -> None:
        self._config = config
        self._read = settings_keys(config)

    def warn(self, pool: object) -> None:
        """Warn of each key once; called before the first connection is opened."""
        now = settings_keys(self._config)
        late = [key for key, value in now.items() if self._differs(key, value)]
        self._read |= now
        if late:
            logger.warning(
                "set after MySQLPool(app) had read the settings, and so ignored: %s;"
                " set them before",
                ", ".join(late),
            )

    def _differs(self, key: str, value: t.Any) -> bool:
        return key not in self._read or bool(self._read[key] != value)


def warn_if_unset(
    settings: Mapping[str, Settings], config: Mapping[str, t.Any]
) -> None:
    """Warn of each pool of which no setting says where the database is.

    :param settings: what was read, by bind name.
    :param config: what it was read of.
    """
    unset = [
        name
        for name, each in settings.items()
        if all(getattr(each, field) is None for field in _SAY_WHERE)
    ]
    if not unset:
        return
    others = [
        f"{key} is not read: it is {PREFIX}{ours.upper()} here"
        for key, value in config.items()
        if isinstance(key, str) and value is not None
        if key.startswith(("MYSQL", "SQLALCHEMY_"))
        if not key.startswith(PREFIX) and (ours := ours_for(key, FIELDS)) in FIELDS
    ]
    logger.warning(
        "no MYSQLPOOL_ setting says where the database of %s is, so localhost is used:"
        " set MYSQLPOOL_URL%s",
        " and ".join(map(repr, unset)),
        f" ({'; '.join(others)})" if others else "",
    )
