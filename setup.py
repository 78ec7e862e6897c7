"""Puts the shipped migration sets into the package when a wheel is built.

They live in `migrations/` at the top, where a person looks for them; an
installed package finds them in `ledger/_sets`. Everything else is in pyproject.toml.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

KEPT = {".sql", ".json", ".md"}


class BuildWithSets(build_py):
    """build_py, and then the copy; an editable install reads `migrations/` itself."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for file in sorted(Path("migrations").rglob("*")):
            if file.suffix in KEPT:
                target = Path(self.build_lib, "ledger", "_sets", *file.parts[1:])
                self.mkpath(str(target.parent))
                self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": BuildWithSets})
