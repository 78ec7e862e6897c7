"""The way in from Python."""

from ledger.api.ledger import Ledger

__all__ = ["Ledger"]
