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
from werkzeug.exceptions import NotFound
from werkzeug.exceptions import ServiceUnavailable

from .cli.commands import pool_cli
from .config.loading import settings_keys
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
from .errors import UnknownBindError
from .pool.pool import Pool
from .pool.pools import Pools
from .stats.text import printable

BindLoader = t.Callable[[str], t.Mapping[str, t.Any] | None]
_L = t.TypeVar("_L", bound=BindLoader)


class MySQLPool:
    """Gives each request of an app a pooled connection.

    It keeps nothing of an app, so one instance serves many.

    :param app: the app, where it exists already; else call :meth:`init_app`.
    """

    _bind_loader: BindLoader | None = None

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
        any_of_them = next(iter(settings.values()))  # these are the same in all
        folder = functools.partial(
            runtime_folder, any_of_them.runtime_dir, app.name, app.root_path
        )
        folder()  # refuses what is too long
        maker = _PoolMaker(app, lambda: self._bind_loader)
        configured = {name: maker.make(name, each) for name, each in settings.items()}
        pools = Pools(configured, maker, any_of_them.max_binds)
        maker.control = Control(folder, pools, answer)
        app.extensions[EXTENSION] = pools
        _return_at_teardown(app)
        handlers = app.error_handler_spec[None][None]
        handlers.setdefault(PoolError, _Answer(app, _unavailable))
        handlers.setdefault(UnknownBindError, _Answer(app, _not_found))
        app.cli.add_command(pool_cli)
        warn_if_unset(settings, app.config)

    def bind_loader(self, loader: _L) -> _L:
        """Register a function that gives the settings of a bind which is not there yet,
        for all apps of this extension. The last one registered counts.

        :param loader: is given the name of the bind, in the caller's app context.
            Returns settings as in ``MYSQLPOOL_BINDS``, or ``None`` where there is no
            such bind.
        :raise TypeError: it cannot be called, or is a coroutine function.
        """
        if not callable(loader) or inspect.iscoroutinefunction(loader):
            raise TypeError(f"bind_loader must be a plain function, not {loader!r}")
        self._bind_loader = loader
        return loader


class _PoolMaker:
    """Makes the pools of one app.

    :param bind_loader: returns the loader that is registered by now.
    """

    def __init__(
        self, app: Flask, bind_loader: t.Callable[[], BindLoader | None]
    ) -> None:
        self._bind_loader = bind_loader
        self._app_name = app.name
        self._keys = settings_keys(app.config)
        self._late_keys = LateKeys(app.config)
        self.control: Control  # set when there are pools to control

    def make(self, name: str, settings: Settings) -> Pool:
        pool = Pool(settings, name, self._app_name)
        pool.name_holder = holder_name
        pool.on_first_use.extend([self._late_keys.warn, self._publish])
        return pool

    @property
    def loads(self) -> bool:
        return self._bind_loader() is not None

    def load(self, name: str) -> Pool | None:
        loader = self._bind_loader()
        values = loader(name) if loader is not None else None
        if values is None:
            return None
        return self.make(name, Settings.of_bind(self._keys, name, values))

    def _publish(self, pool: Pool) -> None:
        self.control.publish(pool)


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


class _Answer:
    """Answers an error of this package, in the app's own way where it has one.

    :param http_error: returns what a view would raise instead.
    """

    def __init__(
        self, app: Flask, http_error: t.Callable[[Flask, t.Any], HTTPException]
    ) -> None:
        self._http_error = http_error
        try:
            inspect.signature(app.handle_http_exception).bind("the error")
        except TypeError:  # Flask 3.2 passes its context in front of it
            self._with_context = True
        else:
            self._with_context = False

    def __call__(self, error: Exception) -> ResponseReturnValue:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        for kind in type(error).__mro__:
            if kind is Exception:
                break
            handler = app.error_handler_spec[None][None].get(kind)
            if handler is not None and handler is not self:
                return t.cast(ResponseReturnValue, app.ensure_sync(handler)(error))
        http_error = self._http_error(app, error)
        response = app.make_response(self._handle(app, http_error))
        retry_after = getattr(http_error, "retry_after", None)
        if retry_after and response.status_code == http_error.code:
            response.headers.setdefault("Retry-After", str(retry_after))
        return response

    def _handle(self, app: Flask, error: HTTPException) -> ResponseReturnValue:
        handle: t.Any = app.handle_http_exception
        if self._with_context:
            handle = functools.partial(handle, app_ctx._get_current_object())  # type: ignore[attr-defined]
        return t.cast(ResponseReturnValue, handle(error))


def _unavailable(app: Flask, error: PoolError) -> HTTPException:
    app.logger.error("%s: %s", printable(request.path), error)
    # Within its timeout the queue has turned over.
    return ServiceUnavailable(retry_after=max(1, math.ceil(error.retry_after or 0)))


def _not_found(app: Flask, error: UnknownBindError) -> HTTPException:
    # A visitor may choose the name.
    app.logger.debug("%s: %s", printable(request.path), error)
    return NotFound()
