"""Statements with parameters: judged by their template, not by what visitors typed.

Rule: the template decides only where nothing but values was put into it. Otherwise the
text that is sent is judged.
"""

from __future__ import annotations

import datetime
import decimal
import sys
import typing as t
from collections.abc import Iterable
from collections.abc import Mapping

from pymysql import converters

from .lexemes import has_parameter
from .lexemes import parameters_are_values
from .statements import core_of
from .statements import Kind
from .statements import kind_of
from .statements import values_are_data

#: A text that was rendered, its template, and what it does; None: the text has to tell.
Rendered = tuple[str | bytearray, str, Kind | None]

# Together they bound what the kinds take: some 2 MiB.
MAX_TEMPLATES = 512
MAX_TEMPLATE_BYTES = 4096  # a longer one does not decide

_ENCODED = (
    *(bool, int, float, decimal.Decimal, type(None), str),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta),
)
_SEQUENCES = (list, tuple)
_PLAIN = frozenset({*_ENCODED, bytes, bytearray})

_kinds: dict[str, t.Any] = {}  # by template
_UNKNOWN = object()


def are_own(encoders: Mapping[t.Any, t.Any]) -> bool:
    """Return whether the encoders of plain parameters are PyMySQL's own."""
    own = vars(converters)
    return all(
        getattr(encoders.get(kind), "__globals__", None) is own
        for kind in (*_ENCODED, *_SEQUENCES)
    )


def are_plain(parameters: Iterable[t.Any]) -> bool:
    """Return whether parameters are of built-in types, or lists of such, as for
    ``IN %s``: PyMySQL makes values of them, and nothing else.
    """
    return _PLAIN.issuperset(map(type, parameters)) or all(map(_is_plain, parameters))


def _is_plain(parameter: t.Any) -> bool:
    kind = type(parameter)
    if kind in _SEQUENCES:
        return _PLAIN.issuperset(map(type, parameter))
    return kind in _PLAIN


def kind_of_template(template: str, parameters: Iterable[t.Any]) -> Kind | None:
    """Return what a statement does; None where that may depend on its parameters."""
    kind: Kind | None = _kinds.get(template, _UNKNOWN)
    if kind is _UNKNOWN:
        kind = _judge(template)
    if kind is None:
        return None
    if _PLAIN.issuperset(map(type, parameters)) or are_plain(parameters):
        return kind
    return None


def _judge(template: str) -> Kind | None:
    if sys.getsizeof(template) > MAX_TEMPLATE_BYTES:
        return None
    start, end = core_of(template)  # tracing libraries make each comment another one
    core = template[start:end]
    if has_parameter(template[:start]) or has_parameter(template[end:]):
        core = template
    kind: Kind | None = _kinds.get(core, _UNKNOWN)
    if kind is _UNKNOWN:
        decides = parameters_are_values(core) and values_are_data(core)
        kind = kind_of(core) if decides else None
        if len(_kinds) >= MAX_TEMPLATES:
            _kinds.clear()  # without a lock, which a thread that forks could hold
        _kinds[core] = kind
    return kind


class ManyRows:
    """The template of many rows, of which PyMySQL makes few texts."""

    def __init__(self, prefix: str, values: str, postfix: str) -> None:
        self.values = values
        self.plain = True  # all parameters so far
        front, back = (part.replace("%", "%%") for part in (prefix, postfix))
        self._template = front + values + back

    def rendered(self, text: bytearray) -> Rendered:
        kind = kind_of_template(self._template, ()) if self.plain else None
        return text, self._template, kind
