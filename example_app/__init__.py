"""A small bank: a whole Flask application on flask_mysqlpool."""

from collections.abc import Mapping
from typing import Any

from flask import Flask

from flask_mysqlpool import MySQLPool

mysqlpool = MySQLPool()


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Create the application.

    Later settings win: the defaults here, ``instance/config.py``, variables such as
    ``FLASK_MYSQLPOOL_URL``, then ``config``.
    """
    app = Flask(__name__, instance_relative_config=True)
    app.config.from_mapping(
        MYSQLPOOL_URL="mysql://127.0.0.1/bank",
        MYSQLPOOL_CURSORCLASS="DictCursor",
    )
    app.config.from_pyfile("config.py", silent=True)
    app.config.from_prefixed_env()
    app.config.from_mapping(config)

    mysqlpool.init_app(app)

    from . import cli
    from . import errors
    from . import money
    from . import status
    from . import views

    app.add_template_filter(money.display, "money")
    app.register_blueprint(views.bp)
    app.register_blueprint(status.page, url_prefix="/pool")
    app.cli.add_command(cli.init_db)
    errors.init_app(app)
    return app
