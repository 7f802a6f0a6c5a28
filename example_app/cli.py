"""The bank's commands."""

import click
from flask import current_app
from flask.cli import with_appcontext
from pymysql import MySQLError

from flask_mysqlpool import get_db

from . import bank
from . import money


@click.command("init-db")
@with_appcontext
def init_db() -> None:
    """Drop the bank's tables and create them again, with sample accounts."""
    try:
        run_script("schema.sql")
        owners = [account["owner"] for account in bank.accounts()]
        total = bank.totals()["balances"]
    except MySQLError as error:
        raise click.ClickException(f"the tables were not created: {error}") from error
    click.echo("Created the tables account and ledger.")
    click.echo(f"{len(owners)} accounts hold {money.display(total)} in all:")
    click.echo(f"  {', '.join(owners)}")


def run_script(name: str) -> None:
    """Run a file of statements, each ended by ``;`` at the end of a line."""
    with current_app.open_resource(name, "r") as file:
        statements = file.read().split(";\n")
    db = get_db()
    with db.cursor() as cursor:
        for statement in filter(str.strip, statements):
            cursor.execute(statement)
    db.commit()
