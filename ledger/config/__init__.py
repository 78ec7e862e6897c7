"""What the configuration file says, as values.

Invariant: a `Config` is complete and checked: paths are absolute, every key was
known, every default is filled in; passwords stand apart from URLs.
"""

from __future__ import annotations

from ledger.config.load import in_working_folder, load_config
from ledger.config.model import MAX_SECONDS, Config

__all__ = ["MAX_SECONDS", "Config", "in_working_folder", "load_config"]
