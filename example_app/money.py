"""Reads and writes amounts of money. They are exact, so never a float."""

import re
from decimal import Decimal

MAX_AMOUNT = Decimal("9999999999.99")
"""The largest value of the ``DECIMAL(12, 2)`` columns in ``schema.sql``."""


def parse(text: str) -> Decimal:
    """Read a positive amount, with a point or a comma before the cents.

    :raises ValueError: with a message for the person who wrote it.
    """
    match = re.fullmatch(r"([-+]?[0-9]+)(?:[.,]([0-9]+))?", text.strip())
    if match is None:
        raise ValueError("Write an amount such as 12.50.")
    whole, cents = match[1], match[2] or "0"
    # This refuses "1,000", too, which could mean 1 or 1000.
    if len(cents) > 2:
        raise ValueError("Write at most two digits after the point, as in 12.50.")
    amount = Decimal(f"{whole}.{cents}")
    if amount <= 0:
        raise ValueError("The amount must be more than zero.")
    if amount > MAX_AMOUNT:
        raise ValueError("That is more than this bank can count.")
    return amount


def display(amount: Decimal, signed: bool = False) -> str:
    """Format an amount: ``€1,234.50``, or ``+€1,234.50`` if ``signed``."""
    sign = "−" if amount < 0 else "+" if signed else ""
    return f"{sign}€{abs(amount):,.2f}"
