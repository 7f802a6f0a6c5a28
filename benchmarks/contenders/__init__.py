"""Who competes: each module here has one ``Entrant``, an adapter to the interface
below.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from contextlib import ExitStack
from importlib import import_module
from typing import Any
from typing import ClassVar
from typing import TypeAlias

# Parameters by the names that PyMySQL and mysql-connector have in common.
Arguments: TypeAlias = dict[str, Any]

# In the order of the tables; the first two always run.
NAMES = (
    "floor",
    "ours",
    "dbutils",
    "sqlalchemy",
    "sqlalchemy_ping",
    "pymysql_pool",
    "connector",
    "connector_c",
    "reconnect",
)


class Contender:
    """Lends connections to one server.

    :param arguments: how to connect.
    :param size: the most connections that it may hold.
    """

    label: ClassVar[str]
    refusals: ClassVar[tuple[type[Exception], ...]] = ()  # it gave up waiting
    lend: Callable[[], Any]
    """Lend a connection, as a context manager that returns it. An attribute where the
    contender has just that function: an adapter must cost nothing."""

    def __init__(self, arguments: Arguments, size: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Close every connection."""

    def warm(self, count: int) -> None:
        """Hold ``count`` connections at once: all are open then, none has rested."""
        with ExitStack() as held:
            for _ in range(count):
                held.enter_context(self.lend())


def load(names: Iterable[str]) -> tuple[dict[str, type[Contender]], dict[str, str]]:
    """Return the entrants of these names, and why others cannot take part."""
    entrants: dict[str, type[Contender]] = {}
    missing = {}
    for name in names:
        try:
            module = import_module(f"{__name__}.{name}")
        except ImportError as error:
            missing[name] = str(error)
        else:
            entrants[name] = module.Entrant
    return entrants, missing
