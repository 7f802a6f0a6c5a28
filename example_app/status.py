"""The live page of the pools, and its guard."""

from flask import abort
from flask import request

from flask_mysqlpool.status import StatusPage


def from_this_machine() -> bool:
    """Allow requests from the loopback address only.

    That is enough for an example without a proxy. Behind a proxy on this machine every
    request comes from that address: use a login instead.
    """
    if request.remote_addr not in {"127.0.0.1", "::1"}:
        abort(403, "The pools are shown on the machine that runs this bank only.")
    return True


page = StatusPage(guard=from_this_machine)
