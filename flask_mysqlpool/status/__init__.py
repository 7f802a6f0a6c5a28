"""A blueprint with a live page of the pools of all workers, behind a guard."""

from .page import StatusPage

__all__ = ["StatusPage"]
