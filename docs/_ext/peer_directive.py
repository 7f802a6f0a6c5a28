"""``.. peer:: name``: a table of another pool's settings, and what they are here.

The rows come from the package, which has them for its hints. Rows of the directive's
own, for what is no setting, follow.
"""

from __future__ import annotations

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

from flask_mysqlpool.config.peers import PEERS

HEAD = """\
.. list-table::
   :header-rows: 1
   :widths: 30 30 40

   * - {}
     - Here
     - Difference
"""


class PeerDirective(Directive):
    """A row for each setting of another pool, then those of the content."""

    required_arguments = 1
    final_argument_whitespace = True  # the name has some
    has_content = True

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        text = HEAD.format(name) + "".join(
            f"   * - {row.theirs}\n     - {row.ours}\n     - {row.difference}\n"
            for row in PEERS[name]
        )
        lines = text.splitlines() + [f"   {line}" for line in self.content]
        parsed = nodes.Element()
        source = "flask_mysqlpool.config.peers.PEERS"
        self.state.nested_parse(StringList(lines, source), 0, parsed)
        return parsed.children


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("peer", PeerDirective)
    return {"parallel_read_safe": True}
