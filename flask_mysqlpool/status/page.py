"""The blueprint: who may look, and what there is to see.

The rule of this room: nothing of it takes a connection, and nothing goes out that the
guard has not let pass.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable

from flask import abort
from flask import Blueprint
from flask import current_app
from flask import Flask
from flask import request
from flask import Response
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response as BaseResponse

from ..context import pools_of
from ..errors import ConfigError
from .snapshot import health_of
from .snapshot import Snapshots

Guard = Callable[[], t.Any]

NO_GUARD = """\
StatusPage shows who runs which statement: it needs a guard, a function without \
arguments that returns whether this request may see it:

    def is_admin():
        return session.get("role") == "admin"

    app.register_blueprint(StatusPage(guard=is_admin), url_prefix="/pool")\
"""
# The page has no script, style or address of elsewhere, and is in no frame.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class StatusPage(Blueprint):
    """A live page of the pools, to be registered on a path of your choice.

    ``app.register_blueprint(StatusPage(guard=is_admin), url_prefix="/pool")``

    :param guard: called without arguments before each view, static files included.
        ``True`` lets the request pass, what is false is answered 403, a response (of
        ``redirect()``, say) is sent instead. It may be ``async``. Any other value is
        an error: who gets it wrong shuts the page, and does not open it.
    :param name: of the blueprint, for ``url_for(f"{name}.index")``.
    :param public_health: let ``/health`` pass without the guard. It then says its
        one word and nothing else.
    :raise ConfigError: when it is registered without a guard.
    """

    def __init__(
        self,
        guard: Guard | None = None,
        name: str = "mysqlpool_status",
        *,
        public_health: bool = False,
    ) -> None:
        super().__init__(
            name, __name__, static_folder="static", static_url_path="/assets"
        )
        self._guard = guard
        self._public_health = public_health
        self._snapshots = Snapshots()
        self.before_request(self._admit)
        self.after_request(_protect)
        self.add_url_rule("/", "index", self._index)
        self.add_url_rule("/data.json", "data", self._data)
        self.add_url_rule("/health", "health", self._health)

    def register(self, app: Flask, options: dict[str, t.Any]) -> None:  # type: ignore[override]  # Flask's own has App
        if not callable(self._guard):
            raise ConfigError(NO_GUARD)
        super().register(app, options)

    def _admit(self) -> ResponseReturnValue | None:
        """Ask the guard; return what to answer in place of the view."""
        assert self._guard is not None
        if self._public_health and self._asked_for_health():
            return None
        verdict = current_app.ensure_sync(self._guard)()
        if verdict is True:
            return None
        if isinstance(verdict, BaseResponse):
            return verdict
        if verdict:  # such as a coroutine, or a view's ("no", 401)
            raise TypeError(
                f"the guard of {self.name!r} returned {type(verdict).__name__}:"
                " return True, False or a response"
            )
        abort(403)

    def _asked_for_health(self) -> bool:
        return (request.endpoint or "").rpartition(".")[2] == "health"

    def _index(self) -> Response:
        # No template: an app's context processors may ask the database.
        return self.send_static_file("index.html")

    def _data(self) -> Response:
        try:
            return _json(self._snapshots.latest(_app()))
        except OSError as error:
            return _json({"error": f"the workers cannot be asked: {error}"}, 503)

    def _health(self) -> Response:
        health = health_of(pools_of(_app()))
        return _json({"status": health["status"]} if self._public_health else health)


def _app() -> Flask:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return app


def _json(value: dict[str, t.Any], status: int = 200) -> Response:
    # Not the app's own JSON provider, which may write names and numbers otherwise.
    return Response(json.dumps(value), status, mimetype="application/json")


def _protect(response: Response) -> Response:
    if response.status_code < 400:  # an error's page is the app's own
        response.headers.update(HEADERS)
    return response
