"""``Finding``: the outcome of one check."""

from __future__ import annotations

import dataclasses
import typing as t


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    :param binds: the binds that it concerns.
    :param verdict: "ok", "warning", "error", or "unknown": no worker answered.
    :param text: what was found, with its numbers.
    :param change: what to change, empty if the verdict is "ok".
    """

    binds: list[str]
    check: str
    verdict: str
    text: str
    change: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self)
