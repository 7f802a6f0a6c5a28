"""Says what the name of an unknown setting was perhaps meant to be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from collections.abc import Collection

from .peers import NONE
from .peers import PEERS

LIKENESS = 0.75  # from which on two names are alike, from 0 to 1


def _bare(name: str) -> str:
    """Return a name without what names of the same meaning differ in."""
    lower = name.lower().replace("_", "")
    return re.sub("^(mysqldatabase|mysqlpool|mysql|pool)(?=.)", "", lower)


# The first peer that has a name counts.
_OURS_BY_THEIRS = {
    _bare(theirs): ours
    for rows in reversed(PEERS.values())
    for row in reversed(rows)
    for theirs, ours in row.pairs()
}


def ours_for(name: object, known: Collection[str]) -> str:
    """Return which of the known settings a name means, or a text where it means
    something that is no setting here, or nothing.
    """
    wanted = _bare(str(name))
    bare = {_bare(each): each for each in known if each != name}
    ours = bare.get(wanted) or _OURS_BY_THEIRS.get(wanted, "")
    if not ours:
        alike = difflib.get_close_matches(wanted, bare, n=1, cutoff=LIKENESS)
        ours = bare[alike[0]] if alike else ""
    return ours


def hint(name: object, known: Collection[str], key: Callable[[str], str]) -> str:
    """Return what an unknown name is here, as the end of an error, or nothing.

    :param known: the names that there are.
    :param key: returns the key of one.
    """
    ours = ours_for(name, known)
    if ours in known:
        return f"; did you mean {key(ours)}?"
    if ours == NONE:
        return "; there is nothing to set for it here"
    return f"; here it is {ours}" if ours else ""
