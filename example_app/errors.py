"""The error pages."""

from flask import Flask
from flask import render_template
from flask.typing import ResponseReturnValue
from pymysql.constants import ER
from pymysql.err import ProgrammingError
from werkzeug.exceptions import HTTPException


def init_app(app: Flask) -> None:
    """Register the error pages of this application."""
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(ProgrammingError, missing_tables)


def http_error(error: HTTPException) -> ResponseReturnValue:
    """Show an HTTP error. A pool without a free connection is one, too: 503."""
    # The error's own response has the status, and headers such as Retry-After.
    response = error.get_response()
    response.data = render_template("error.html", error=error)
    return response


def missing_tables(error: ProgrammingError) -> ResponseReturnValue:
    """Show which command to run if the tables do not exist yet."""
    if error.args[0] != ER.NO_SUCH_TABLE:
        raise error
    return render_template("missing_tables.html"), 503
