"""Django: `migrate` by call_command for each database in one process, one app with RunSQL."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pymysql
from django import setup
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from bench.child import Orders, Work, serve
from bench.workloads import VERSION, WORKLOADS

MIGRATION = """
from django.db import migrations

class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [migrations.RunSQL(statement) for statement in {statements!r}]
"""


def _database(orders: Orders, target: str) -> dict[str, Any]:
    if orders["engine"] == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": target}
    server = orders["server"]
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": target,
        "HOST": server["unix_socket"] or server["host"],
        "PORT": server["port"],
        "USER": server["user"],
        "PASSWORD": os.environ.get("LEDGER_BENCH_PASSWORD", ""),
    }


def prepare(orders: Orders) -> Work:
    """A generated app, and one database alias for each tenant."""
    # Django speaks to MySQL through MySQLdb, whose pure-Python stand-in is PyMySQL.
    pymysql.version_info = (2, 2, 1, "final", 0)
    pymysql.install_as_MySQLdb()
    app = Path(orders["folder"]) / "django" / "benchapp"
    (app / "migrations").mkdir(parents=True, exist_ok=True)
    (app / "__init__.py").touch()
    (app / "migrations" / "__init__.py").touch()
    statements = WORKLOADS[orders["engine"]].statements
    (app / "migrations" / f"{VERSION}_workload.py").write_text(
        MIGRATION.format(statements=statements)
    )
    sys.path.insert(0, str(app.parent))
    named = {f"t{number}": target for number, target in enumerate(orders["targets"])}
    databases = {alias: _database(orders, target) for alias, target in named.items()}
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.dummy"}, **databases},
        INSTALLED_APPS=["benchapp"],
    )
    setup()

    def work() -> None:
        for alias in named:
            call_command("migrate", database=alias, verbosity=0)
            connections[alias].close()

    return work


if __name__ == "__main__":
    serve(prepare)
