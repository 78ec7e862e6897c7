"""The text of a new configuration, with comments that say what else can be said."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from ledger.drivers.url import DEFAULT_LEDGER, URL_FORMS
from ledger.engines.kinds import DEFAULT, KINDS

_HEAD: Final = """\
# Configuration of `ledger`. Paths are relative to this file.

url = {url}                 # the ledger: {forms}
{url_password}migrations = "migrations"             # a folder, or a folder of folders (one set each)
backups = "backups"                   # made with mode 0700
backup = "always"                     # before every run: always | each (migration) | auto | never
parallel = 16                         # maximum tenants at once
# variables = {{ site = "main" }}       # {{site}} in SQL
"""

_TAIL: Final = f"""
# [env.test]                          # `--env test` lays these keys over those above
# url = "{DEFAULT_LEDGER.replace(".db", "-test.db")}"
"""

_URL_PASSWORD: Final = re.compile(r"(://[^:/@]*):(.*)@")
LEDGER_PASSWORD: Final = "LEDGER_PASSWORD"  # noqa: S105 - the name of a variable
TENANT_PASSWORD: Final = "LEDGER_TENANT_PASSWORD"  # noqa: S105 - the name of a variable


def without_password(url: str) -> tuple[str, str | None]:
    """The URL without its password, and the password."""
    found = _URL_PASSWORD.search(url)
    return _URL_PASSWORD.sub(r"\1@", url), unquote(found[2]) if found else None


def configuration(
    *, url: str, tenants: Mapping[str, str], databases: str | None
) -> tuple[str, dict[str, str]]:
    """The text of ledger.toml, and the passwords by the environment variable each is to be put in.

    `tenants` are by kind, a path or a URL; none means the default kind. A password in a URL is
    left out: the file names a variable instead.
    """
    secrets: dict[str, str] = {}
    url, named = _named_password(url, LEDGER_PASSWORD, secrets)
    text = _HEAD.format(url=_quoted(url), forms=URL_FORMS, url_password=named)
    tenants = tenants or {DEFAULT: KINDS[DEFAULT].example.default}
    for name, kind in KINDS.items():
        if name not in tenants:
            text += kind.example.else_
            continue
        value, named = tenants[name], ""
        if kind.has_server:
            value, named = _named_password(value, TENANT_PASSWORD, secrets)
        listed = f"databases = {_quoted(databases)}\n" if databases else ""
        text += kind.example.asked.format(value=_quoted(value), databases=listed, password=named)
    return text + "".join(kind.example.more for kind in KINDS.values()) + _TAIL, secrets


def _named_password(url: str, variable: str, secrets: dict[str, str]) -> tuple[str, str]:
    bare, password = without_password(url)
    if password is None:
        return bare, ""
    secrets[variable] = password
    return bare, f"password_env = {_quoted(variable)}\n"


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are among TOML's."""
    return json.dumps(text, ensure_ascii=False)
