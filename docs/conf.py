"""How Sphinx builds these pages."""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]

project = "flask_mysqlpool"
copyright = "the flask_mysqlpool maintainers"
pyproject = (DOCS.parent / "pyproject.toml").read_text()
release = version = re.findall('(?m)^version = "(.*)"', pyproject)[0]

extensions = ["sphinx.ext.autodoc", "peer_directive", "settings_directive"]
html_theme = "furo"
html_title = f"flask_mysqlpool {release}"
exclude_patterns = ["_build", "captured"]
highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", ".*"),  # types in signatures
    ("py:(exc|func)", r"(dbutils|pymysql)\..*"),
]
