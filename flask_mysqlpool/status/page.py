"""The blueprint: the guard and the views.

Invariants: no view takes a connection, and the guard is asked before each answer.
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
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response as BaseResponse

from ..context import pools_of
from ..errors import ConfigError
from .snapshot import health_of
from .snapshot import Snapshots

Guard = Callable[[], t.Any]

NO_GUARD = """\
StatusPage shows who executes which statement, so it needs a guard: a function without \
arguments that returns whether this request may see the page:

    def is_admin():
        return session.get("role") == "admin"

    app.register_blueprint(StatusPage(guard=is_admin), url_prefix="/pool")\
"""
# The page loads nothing from other sites, and no site may frame it.
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
ERROR_HEADERS = ("Cache-Control", "X-Content-Type-Options")


class StatusPage(Blueprint):
    """A live page of the pools, registered on a path of your choice:

    ``app.register_blueprint(StatusPage(guard=is_admin), url_prefix="/pool")``

    :param guard: called without arguments before each view, static files included.
        ``True`` lets the request pass, a false value is answered with 403, and a
        response (such as ``redirect()``) is sent instead. It may be ``async``. Any
        other value is an error, so that a wrong guard closes the page.
    :param name: the name of the blueprint, for ``url_for(f"{name}.index")``.
    :param public_health: answer ``/health`` without asking the guard. It then says the
        status in one word, and nothing else.
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
        self.before_request(self._check_guard)
        self.after_request(_set_headers)
        self.record(_set_headers_below)
        self.add_url_rule("/", "index", self._index)
        self.add_url_rule("/data.json", "data", self._data)
        self.add_url_rule("/health", "health", self._health)

    def register(self, app: Flask, options: dict[str, t.Any]) -> None:  # type: ignore[override]  # Flask's own has App
        if not callable(self._guard):
            raise ConfigError(NO_GUARD)
        super().register(app, options)

    def _check_guard(self) -> ResponseReturnValue | None:
        """Ask the guard; return the answer that replaces the view, if any."""
        assert self._guard is not None
        if self._public_health and self._is_health_request():
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

    def _is_health_request(self) -> bool:
        return (request.endpoint or "").rpartition(".")[2] == "health"

    def _index(self) -> Response:
        # No template: an app's context processors may query the database.
        return self.send_static_file("index.html")

    def _data(self) -> Response:
        try:
            return _json(self._snapshots.latest(_app()))
        except OSError as error:
            return _json({"error": f"the workers cannot be asked: {error}"}, 503)

    def _health(self) -> Response:
        health = health_of(pools_of(_app()).configured)
        return _json({"status": health["status"]} if self._public_health else health)


def _app() -> Flask:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return app


def _json(value: dict[str, t.Any], status: int = 200) -> Response:
    # Not by the app's own JSON provider, which may format values differently.
    return Response(json.dumps(value), status, mimetype="application/json")


def _set_headers(response: Response) -> Response:
    # The app's own error pages keep their headers, and so may use its styles.
    names = HEADERS if response.status_code < 400 else ERROR_HEADERS
    response.headers.update({name: HEADERS[name] for name in names})
    return response


def _set_headers_below(state: BlueprintSetupState) -> None:
    """Set the headers also where no view is reached: of 404 and 405 below the path
    that the page is registered on.
    """
    prefix = f"{(state.url_prefix or '').rstrip('/')}/"

    def set_headers(response: Response) -> Response:
        below = prefix != "/" and f"{request.path}/".startswith(prefix)
        if below and request.endpoint is None and response.status_code >= 400:
            return _set_headers(response)
        return response

    state.app.after_request(set_headers)
