"""MySQL and MariaDB as a kind of database: what is known of it without its driver."""

from __future__ import annotations

from typing import Final

from ledger.engines.kind import Example, Kind
from ledger.engines.mysql.source import read
from ledger.engines.source import PASSWORD_KEYS, PREFIXED_KEYS

MYSQL: Final = Kind(
    label="MySQL",
    engine="ledger.engines.mysql.engine:MysqlEngine",
    throwaway="ledger.engines.mysql.throwaway:throwaway",
    backup_suffix=".sql.zst",
    backup_format="sql.zst",
    backup_check="ledger.engines.mysql.backup.dumpfile:check",
    has_server=True,
    keys=PASSWORD_KEYS
    | PREFIXED_KEYS
    | {"databases", "prefixes", "prefixes_query", "max_connections"},
    read=read,
    charset_collate="DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
    example=Example(
        metavar="URL",
        help="Tenants are databases of this server.",
        asked="""
[[tenants]]                           # one MySQL or MariaDB database per tenant
mysql = {value}
{databases}{password}# max_connections = 8                 # per server
""",
        else_="""
# [[tenants]]                         # one MySQL or MariaDB database per tenant
# mysql = "mysql://app@127.0.0.1:3306"
# databases = "tenant_%"              # a LIKE pattern, or a list
# password_env = "APP_DB_PASSWORD"    # or password_file, or password_command = ["op", "read", "…"]
""",
        more="""
# [[tenants]]                         # one table prefix per tenant
# mysql = "mysql://app@127.0.0.1:3306/wp"
# prefixes = ["wp_2_", "wp_3_"]       # or prefixes_query = "SELECT …"
# tables = ["yoast_*"]                # theirs too, though no migration made them; neighbours = […]: not theirs
""",
    ),
)
