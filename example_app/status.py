"""The live page of the pools, and who may see it."""

from flask import abort
from flask import request

from flask_mysqlpool.status import StatusPage


def from_this_machine() -> bool:
    """Let in who asks from this machine's own loopback address, and nobody else.

    That is enough for an example that serves itself. Behind a proxy on this machine
    every visitor comes from that address: ask who they are there, by a login say.
    """
    if request.remote_addr not in {"127.0.0.1", "::1"}:
        abort(403, "The pools are shown on the machine that runs this bank only.")
    return True


page = StatusPage(guard=from_this_machine)
