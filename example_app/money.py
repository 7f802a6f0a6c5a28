"""Amounts of money as people write and read them; exact, so never a float."""

import re
from decimal import Decimal

LARGEST = Decimal("9999999999.99")
"""What the columns of ``schema.sql``, ``DECIMAL(12, 2)``, can hold."""


def parse(text: str) -> Decimal:
    """Read a positive amount, with a point or a comma before the cents.

    :raises ValueError: with what to tell the person who wrote it.
    """
    match = re.fullmatch(r"([-+]?[0-9]+)(?:[.,]([0-9]+))?", text.strip())
    if match is None:
        raise ValueError("Write an amount such as 12.50.")
    whole, cents = match[1], match[2] or "0"
    # "1,000" ends here too, and is not taken for one.
    if len(cents) > 2:
        raise ValueError("Write at most two digits after the point, as in 12.50.")
    amount = Decimal(f"{whole}.{cents}")
    if amount <= 0:
        raise ValueError("The amount must be more than zero.")
    if amount > LARGEST:
        raise ValueError("That is more than this bank can count.")
    return amount


def display(amount: Decimal, signed: bool = False) -> str:
    """Write an amount for people: ``€1,234.50``, or ``+€1,234.50`` if ``signed``."""
    sign = "−" if amount < 0 else "+" if signed else ""
    return f"{sign}€{abs(amount):,.2f}"
