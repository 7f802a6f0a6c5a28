"""The extension: builds the pools of an app and ties them to its life."""

from __future__ import annotations

import functools
import inspect
import math
import typing as t

from flask import current_app
from flask import Flask
from flask import request
from flask.globals import app_ctx
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import ServiceUnavailable

from .cli.commands import pool_cli
from .config.settings import Settings
from .config.unread import LateKeys
from .config.unread import warn_if_unset
from .context import EXTENSION
from .context import holder_name
from .context import return_all
from .control.commands import answer
from .control.runtime_dir import runtime_folder
from .control.server import Control
from .errors import PoolError
from .pool.pool import Pool
from .pool.pools import Pools
from .stats.text import printable


class MySQLPool:
    """Gives each request of an app a pooled connection.

    It keeps nothing of an app, so one instance serves many.

    :param app: the app, where it exists already; else call :meth:`init_app`.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the ``MYSQLPOOL_`` settings of ``app`` and build its pools, without
        connecting.

        :raise ConfigError: a setting is wrong.
        :raise RuntimeError: the app has its pools already.
        """
        if EXTENSION in app.extensions:
            raise RuntimeError(
                f"app {app.name!r} has its pools already: call MySQLPool(app) or"
                " init_app(app) once for each app"
            )
        settings = Settings.from_config(app.config)
        runtime_dir = next(iter(settings.values())).runtime_dir  # the same in all
        folder = functools.partial(runtime_folder, runtime_dir, app.name, app.root_path)
        folder()  # refuses what is too long
        pools = Pools(
            {name: Pool(each, name, app.name) for name, each in settings.items()}
        )
        control = Control(folder, pools, answer)
        late_keys = LateKeys(app.config)
        for pool in pools.values():
            pool.name_holder = holder_name
            pool.on_first_use.extend([late_keys.warn, control.publish])
        app.extensions[EXTENSION] = pools
        _return_at_teardown(app)
        app.error_handler_spec[None][None].setdefault(PoolError, _Unavailable(app))
        app.cli.add_command(pool_cli)
        warn_if_unset(settings, app.config)


def _return_at_teardown(app: Flask) -> None:
    """Return the connections after all teardown functions, which may use them, and
    also when one of them raises: before Flask 3.2 that skips the rest, which is why
    this is not a teardown function itself.
    """
    teardown = app.do_teardown_appcontext

    @functools.wraps(teardown)
    def teardown_and_return(*args: t.Any, **kwargs: t.Any) -> None:
        try:
            teardown(*args, **kwargs)
        except BaseException as error:
            return_all(error)
            raise
        return_all(*args, *kwargs.values())  # Flask 3.2 passes its context, too

    app.do_teardown_appcontext = teardown_and_return  # type: ignore[method-assign]


class _Unavailable:
    """Answers 503, in the app's own way where it has one."""

    def __init__(self, app: Flask) -> None:
        try:
            inspect.signature(app.handle_http_exception).bind("the error")
        except TypeError:  # Flask 3.2 passes its context in front of it
            self._with_context = True
        else:
            self._with_context = False

    def __call__(self, error: PoolError) -> ResponseReturnValue:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        for kind in type(error).__mro__:
            if kind is Exception:
                break
            handler = app.error_handler_spec[None][None].get(kind)
            if handler is not None and handler is not self:
                return t.cast(ResponseReturnValue, app.ensure_sync(handler)(error))
        app.logger.error("%s: %s", printable(request.path), error)
        # Within its timeout the queue has turned over.
        retry_after = max(1, math.ceil(error.retry_after or 0))
        unavailable = ServiceUnavailable(retry_after=retry_after)
        response = app.make_response(self._handle(app, unavailable))
        if response.status_code == unavailable.code:
            response.headers.setdefault("Retry-After", str(retry_after))
        return response

    def _handle(self, app: Flask, error: HTTPException) -> ResponseReturnValue:
        handle: t.Any = app.handle_http_exception
        if self._with_context:
            handle = functools.partial(handle, app_ctx._get_current_object())  # type: ignore[attr-defined]
        return t.cast(ResponseReturnValue, handle(error))
