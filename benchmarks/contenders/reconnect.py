"""A new PyMySQL connection for every request."""

from __future__ import annotations

from functools import partial

import pymysql

from . import Arguments
from . import Contender


class Entrant(Contender):
    label = "connect per request"

    def __init__(self, arguments: Arguments, size: int) -> None:
        self.lend = partial(pymysql.connect, **arguments)
