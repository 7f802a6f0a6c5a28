"""What is done for a pool from time to time, by the housekeeper."""

from __future__ import annotations

import logging
from time import monotonic

from ..config.settings import Settings
from ..stats.text import printable
from .checkout import Checkout
from .circuit_breaker import CircuitBreaker
from .leaks import LeakReports
from .retirement import Retirement
from .slots import Slots
from .waiter import Reservation

logger = logging.getLogger(__name__)

MAX_PAUSE = 30.0  # seconds between two visits
REFUSED_PAUSE = 1.0  # seconds until a server that refused is asked for min_size again


class Maintenance:
    """Retires what is too old or idle for too long, fills up to the minimum and
    reports leaks.
    """

    def __init__(
        self,
        slots: Slots,
        checkout: Checkout,
        retirement: Retirement,
        breaker: CircuitBreaker,
        settings: Settings,
    ) -> None:
        self._slots = slots
        self._checkout = checkout
        self._retirement = retirement
        self._breaker = breaker
        self._settings = settings
        self._leaks = LeakReports(slots.name, settings.leak_after)
        self._minimum_kept = True

    def clear(self) -> None:
        """Start anew, as a new process does."""
        self._leaks.clear()
        self._minimum_kept = True

    def maintain(self) -> float:
        """Do what is due; return the seconds until it should be called again."""
        now = monotonic()
        self._checkout.close_all(self._retirement.expire(now))
        leaks, until_leak = self._leaks.report(self._slots.lent_entries(), now)
        if leaks:
            with self._slots.lock:
                self._slots.counters.leaks += leaks
        while (reservation := self._slots.reserve_for_minimum()) is not None:
            if not self._fill(reservation):
                return self._breaker.pause(monotonic()) or REFUSED_PAUSE
        times = (self._settings.max_idle, self._settings.max_lifetime)
        return min(MAX_PAUSE, until_leak, *(each / 2 for each in times if each))

    def _fill(self, reservation: Reservation) -> bool:
        """Open a connection for the minimum; return whether that went well."""
        deadline = monotonic() + self._settings.connect_timeout
        level = logging.WARNING if self._minimum_kept else logging.DEBUG  # once
        try:
            entry = self._checkout.open_entry(reservation, deadline)
            reason = self._slots.store(reservation, entry, monotonic())
        except Exception as error:
            logger.log(level, "cannot keep min_size: %s", printable(error))
            self._minimum_kept = False
            return False
        finally:
            if not reservation.ended:
                self._slots.release(reservation, monotonic())
        self._minimum_kept = True
        if reason:
            self._checkout.close(entry, reason)
        return True
