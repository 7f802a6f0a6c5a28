"""A page that shows the pools of every worker, live: a blueprint, behind a guard."""

from .page import StatusPage

__all__ = ["StatusPage"]
