"""What the shared options of a command line were set to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal


class Settings:
    """The shared options of one command line; `arguments` is that line."""

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self.arguments = tuple(arguments)
        self.config: str | None = None
        self.env: str | None = None
        self.quiet = False
        self.verbose = 0
        self.log_format: Literal["text", "json"] = "text"
        self.log_file: str | None = None
        self.format: Literal["table", "json", "jsonl", "csv"] = "table"
