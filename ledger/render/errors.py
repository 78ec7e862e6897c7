"""An error as one clear message on stderr: where, what, and the next step.

Invariant: no traceback, and no password, whatever the error's text held.
"""

from __future__ import annotations

import json
import re
from typing import Final, TextIO

from ledger.errors import (
    LedgerError,
    for_tenant,
)
from ledger.render.text import plain, plain_json

_URL_PASSWORD: Final = re.compile(r"(\w+://[^\s:/@'\"]*):\S+@")


def redact(text: str, *, secrets: tuple[str, ...] = ()) -> str:
    """The text without the passwords of URLs and without any of `secrets`."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return _URL_PASSWORD.sub(r"\1:***@", text)


def write_error(error: LedgerError, *, log_format: str, out: TextIO) -> None:
    """`error: WHERE: MESSAGE` and, if there is one, `hint: …`; or one JSON object."""
    if log_format == "json":
        document = {
            "level": "error",
            "error": type(error).__name__,
            "message": redact(error.message),
            "hint": redact(for_tenant(error.hint, error.tenant)),
            "tenant": error.tenant,
            "migration": error.migration,
            "file": error.file,
            "line": error.line,
            "exit_code": error.exit_code,
        }
        out.write(plain_json(json.dumps(document, ensure_ascii=False)) + "\n")
        return
    write_text("error", str(error), hint=for_tenant(error.hint, error.tenant), out=out)
    for key, value in getattr(error, "evidence", {}).items():
        out.write(f"  {plain(redact(f'{key}: {value}'))}\n")


def write_text(level: str, message: str, *, hint: str = "", out: TextIO) -> None:
    """`LEVEL: MESSAGE` and `hint: …`, further lines of the message set in."""
    first, *rest = plain(redact(message)).splitlines() or [""]
    out.write(f"{level}: {first}\n")
    for line in rest:
        out.write(f"  {line}\n")
    if hint:
        out.write(f"hint: {plain(redact(hint))}\n")


def write_log(level: str, message: str, *, log_format: str, out: TextIO, **fields: object) -> None:
    """A line of progress or a warning, as text or as a JSON object."""
    if log_format == "json":
        document = {"level": level, "message": redact(message), **fields}
        out.write(plain_json(json.dumps(document, ensure_ascii=False)) + "\n")
    elif level == "info":
        out.write(plain(redact(message)) + "\n")
    else:
        write_text(level, message, out=out)
