"""All pools of one app."""

from __future__ import annotations

from .pool import Pool


class Pools(dict[str, Pool]):
    """The pools of one app by bind name."""
