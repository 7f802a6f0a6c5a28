"""``.. settings:: name …``: a table of settings, made out of the settings class."""

from __future__ import annotations

import dataclasses

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

from flask_mysqlpool.config.loading import PREFIX
from flask_mysqlpool.config.settings import FIELDS

HEAD = """\
.. list-table::
   :header-rows: 1
   :widths: 34 22 44

   * - Key
     - Type and default
     - Meaning
"""


class SettingsDirective(Directive):
    """A row for each named setting: its key, type, default and documentation."""

    required_arguments = 1
    final_argument_whitespace = True  # the names, separated by blanks

    def run(self) -> list[nodes.Node]:
        rows = (row(FIELDS[name]) for name in self.arguments[0].split())
        text = HEAD + "".join(rows)
        source = "flask_mysqlpool.config.settings.Settings"
        parsed = nodes.Element()
        self.state.nested_parse(StringList(text.splitlines(), source), 0, parsed)
        return parsed.children


def row(field: dataclasses.Field[object]) -> str:
    kind = str(field.type).removesuffix(" | None").replace("t.Any", "Any")
    if field.default is not None:
        kind += f" = {field.default!r}"
    return (
        f"   * - .. confval:: {PREFIX}{field.name.upper()}\n"
        f"     - ``{kind}``\n"
        f"     - {field.metadata['doc']}\n"
    )


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("settings", SettingsDirective)
    return {"parallel_read_safe": True}
