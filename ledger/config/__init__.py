"""What the configuration file says, as values.

Invariant: a `Config` is complete and checked: paths are absolute, every key was
known, every default is filled in; passwords stand apart from URLs.
"""

from __future__ import annotations

from ledger.config.load import PLACES, find_config, in_working_folder, load_config
from ledger.config.model import (
    MAX_SECONDS,
    Backing,
    Config,
    OutOfOrder,
    Timeouts,
)

__all__ = [
    "MAX_SECONDS",
    "PLACES",
    "Backing",
    "Config",
    "OutOfOrder",
    "Timeouts",
    "find_config",
    "in_working_folder",
    "load_config",
]
