"""Alembic: `upgrade head` by its own command API for each database in one process, with a plain env.py."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

from bench.child import Orders, Work, serve
from bench.peers.address import url
from bench.workloads import VERSION, WORKLOADS

ENV = """
from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

REVISION = """
from alembic import op

revision = {version!r}
down_revision = None

def upgrade():
    for statement in {statements!r}:
        op.execute(statement)
"""


def prepare(orders: Orders) -> Work:
    """The script folder is written once; every tenant is one `upgrade`."""
    folder = Path(orders["folder"]) / "alembic"
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    (folder / "env.py").write_text(ENV)
    statements = WORKLOADS[orders["engine"]].statements
    (folder / "versions" / f"{VERSION}_workload.py").write_text(
        REVISION.format(version=VERSION, statements=statements)
    )
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")

    def work() -> None:
        for target in orders["targets"]:
            address = url(orders, target, sqlite="sqlite:///", mysql="mysql+pymysql")
            config.set_main_option("sqlalchemy.url", address.replace("%", "%%"))
            command.upgrade(config, "head")

    return work


if __name__ == "__main__":
    serve(prepare)
