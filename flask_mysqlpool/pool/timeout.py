"""The timeout of a checkout, as its caller gives it."""

from __future__ import annotations

from ..config.converters import A_YEAR


def checked_timeout(timeout: object) -> float:
    """Return the timeout of a checkout.

    :raise TypeError: it is no number.
    :raise ValueError: it is negative, not finite, or above a year.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        hint = ""
        if isinstance(timeout, bool):
            hint = " (DBUtils' shareable is a keyword here)"
        raise TypeError(f"timeout must be a number of seconds, not {timeout!r}{hint}")
    if not 0 <= timeout <= A_YEAR:  # as NaN is not
        raise ValueError(
            f"timeout must be a number of seconds from 0 to {A_YEAR}, not {timeout!r}"
        )
    return timeout
