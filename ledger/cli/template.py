"""The text of a new configuration, with comments that say what else can be said."""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import unquote

_HEAD: Final = """\
# Configuration of `ledger`. Paths are relative to this file.

url = {url}                 # the ledger: sqlite:///FILE or mysql://user@host:3306/DATABASE
{url_password}migrations = "migrations"             # a folder, or a folder of folders (one set each)
backups = "backups"                   # made with mode 0700
backup = "always"                     # before every run: always | each (migration) | auto | never
parallel = 16                         # so many tenants at once
# variables = {{ site = "main" }}       # {{site}} in SQL
"""

_SQLITE: Final = """
[[tenants]]                           # one SQLite file per tenant
sqlite = {sqlite}
# create = true                       # make a missing file (only where the path has no * or ?)
"""

_MYSQL: Final = """
[[tenants]]                           # one MySQL or MariaDB database per tenant
mysql = {mysql}
{databases}{password}# max_connections = 8                 # per server
"""

_MORE_SQLITE: Final = """
# [[tenants]]                         # one SQLite file per tenant
# sqlite = "data/*.db"
"""

_MORE_MYSQL: Final = """
# [[tenants]]                         # one MySQL or MariaDB database per tenant
# mysql = "mysql://app@127.0.0.1:3306"
# databases = "tenant_%"              # a LIKE pattern, or a list
# password_env = "APP_DB_PASSWORD"    # or password_file, or password_command = ["op", "read", "…"]
"""

_TAIL: Final = """
# [[tenants]]                         # one table prefix per tenant
# mysql = "mysql://app@127.0.0.1:3306/wp"
# prefixes = ["wp_2_", "wp_3_"]       # or prefixes_query = "SELECT …"
# tables = ["yoast_*"]                # theirs too, though no migration made them; neighbours = […]: not theirs

# [env.test]                          # `--env test` lays these keys over those above
# url = "sqlite:///ledger-test.db"
"""

_URL_PASSWORD: Final = re.compile(r"(://[^:/@]*):(.*)@")
LEDGER_PASSWORD: Final = "LEDGER_PASSWORD"  # noqa: S105 - the name of a variable
TENANT_PASSWORD: Final = "LEDGER_TENANT_PASSWORD"  # noqa: S105 - the name of a variable


def without_password(url: str) -> tuple[str, str | None]:
    """The URL without its password, and the password."""
    found = _URL_PASSWORD.search(url)
    return _URL_PASSWORD.sub(r"\1@", url), unquote(found[2]) if found else None


def configuration(
    *,
    url: str,
    sqlite: str | None,
    mysql: str | None,
    databases: str | None,
) -> tuple[str, dict[str, str]]:
    """The text of ledger.toml, and the passwords by the environment variable each is to be put in.

    A password in a URL is left out: the file names a variable instead.
    """
    secrets: dict[str, str] = {}
    url, named = _named_password(url, LEDGER_PASSWORD, secrets)
    text = _HEAD.format(url=_quoted(url), url_password=named)
    if sqlite is not None or mysql is None:
        text += _SQLITE.format(sqlite=_quoted(sqlite or "data/*.db"))
    else:
        text += _MORE_SQLITE
    if mysql is not None:
        server, named = _named_password(mysql, TENANT_PASSWORD, secrets)
        listed = f"databases = {_quoted(databases)}\n" if databases else ""
        text += _MYSQL.format(mysql=_quoted(server), databases=listed, password=named)
    else:
        text += _MORE_MYSQL
    return text + _TAIL, secrets


def _named_password(url: str, variable: str, secrets: dict[str, str]) -> tuple[str, str]:
    bare, password = without_password(url)
    if password is None:
        return bare, ""
    secrets[variable] = password
    return bare, f"password_env = {_quoted(variable)}\n"


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are among TOML's."""
    return json.dumps(text, ensure_ascii=False)
