"""Install the peers beside the bench: PyPI's in an environment of their own, dbmate from npm.

    python -m bench.setup_peers

sqitch and the databases' own clients are system packages; the line that
installs them is printed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

from bench.known_peers import PEERS, PEERS_FOLDER, SQITCH_INSTALL, VENV_PYTHON

PYPI = (
    "sqlite-migrate",
    "yoyo-migrations",
    "setuptools<81",  # yoyo imports pkg_resources
    "alembic",
    "django",
    "eventsourcing",
    # 1.2 builds a TLS context for every connection (49 ms): held back so that peers look their best.
    "PyMySQL<1.2",
)


def main() -> None:
    """Install what is missing and say what is there."""
    PEERS_FOLDER.mkdir(exist_ok=True)
    if not VENV_PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV_PYTHON.parent.parent], check=True)
    subprocess.run([VENV_PYTHON, "-m", "pip", "install", "--quiet", *PYPI], check=True)
    npm = shutil.which("npm")
    if npm is None:
        print("dbmate: npm is not installed (apt-get install npm)")
    else:
        folder = PEERS_FOLDER / "npm"
        folder.mkdir(exist_ok=True)
        subprocess.run([npm, "install", "--silent", "--prefix", folder, "dbmate"], check=True)
    for peer in PEERS:
        state = "found" if peer.found() else f"missing; install it with: {peer.install}"
        print(f"{peer.name}: {state}")
    print(f"sqitch with both of its drivers: {SQITCH_INSTALL}")


if __name__ == "__main__":
    main()
