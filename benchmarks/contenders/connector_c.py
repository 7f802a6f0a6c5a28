"""mysql-connector's pool as it comes, on its own driver in C."""

from __future__ import annotations

from typing import ClassVar

# Fails with the reason where the extension is missing or does not load.
import mysql.connector.connection_cext  # noqa: F401

from . import connector


class Entrant(connector.Entrant):
    label = "mysql-connector, C"
    use_pure: ClassVar = False
