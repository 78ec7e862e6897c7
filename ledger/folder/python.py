"""Migrations written in Python: code, and so only run where the configuration allows it.

Invariant: what is executed is exactly the text whose checksum is recorded.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from ledger.dialects.steps import DialectName, Section
from ledger.drivers.trusted import refuse_changed_by_others
from ledger.errors import LedgerError, ScriptError
from ledger.scripts.contents import PYTHON_PART
from ledger.scripts.directives import parse_dependency
from ledger.scripts.mistyped import slip_of
from ledger.scripts.model import Manifest, Migration, PythonModule
from ledger.scripts.parse import kept_texts
from ledger.scripts.source import SourceFile
from ledger.scripts.version import parse_file_name, version_key

_FUNCTIONS: Final = ("down", "verify")
_CONSTANTS: Final = ("version", "depends", "description", "foreign_keys", "foreign_key_check")


class _TextLoader(importlib.abc.InspectLoader):
    """Loads a module from a text that was read before, and writes no bytecode."""

    def __init__(self, source: SourceFile) -> None:
        self._source = source

    def get_source(self, fullname: str) -> str:
        return self._source.text

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self._source.text, self._source.file)


def load_python(
    source: SourceFile,
    dialect: DialectName,
    *,
    set_name: str,
    allow_python: bool,
    manifest: Manifest,
    depends: tuple[tuple[str, str], ...],
) -> Migration:
    """Run a `.py` migration's module and take its functions.

    Raises ScriptError if Python is not allowed, if the module fails, or if what
    it defines is not what a migration needs.
    """
    if not allow_python:
        raise ScriptError(
            "is a Python migration, and the configuration does not allow them",
            file=source.file,
            hint="If you trust everything in this folder, set `allow_python = true`.",
        )
    refuse_changed_by_others(source.file, why="it is run as Python")
    file_name = parse_file_name(Path(source.file).name, file=source.file)
    module = _run(source)
    _require_no_slip(source)
    own = getattr(module, "version", None)
    if own is not None and version_key(str(own)) != file_name.key:
        raise ScriptError(
            f"says version = {own!r}, and its name says {file_name.version}",
            file=source.file,
            hint="Make the two one version, or leave the constant out.",
        )
    ref, contents = kept_texts(
        {PYTHON_PART: source}, file_name, set_name=set_name, manifest=manifest, depends=depends
    )
    description = getattr(module, "description", "")
    if isinstance(description, str) and description and not manifest.description:
        manifest = msgspec.structs.replace(manifest, description=description)
    down = _function(module, "down", source.file)
    section = Section(
        steps=(),
        foreign_keys=_constant(module, "foreign_keys", source.file),
        foreign_key_check=_constant(module, "foreign_key_check", source.file) is not False,
    )
    return Migration(
        ref=ref,
        key=file_name.key,
        path=source.file,
        up=section,
        down=section if down is not None else None,
        depends=tuple(dict.fromkeys((*_depends(module, source.file, set_name), *depends))),
        manifest=manifest,
        contents=contents,
        python=PythonModule(
            up=_function(module, "up", source.file, required=True),
            down=down,
            verify=_function(module, "verify", source.file),
            down_is_empty=_is_empty(source, "down"),
        ),
        dialect=dialect,
    )


def _require_no_slip(source: SourceFile) -> None:
    """Refuse a function or a constant that is nearly one of a migration's: it would say nothing."""
    for node in ast.parse(source.text).body:
        meant = ""
        if isinstance(node, ast.AsyncFunctionDef):
            meant = slip_of(node.name, _FUNCTIONS)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            meant = next((slip for name in names if (slip := slip_of(name, _CONSTANTS))), "")
        if meant:
            raise ScriptError(
                f"defines a name that is nearly {meant!r}",
                file=source.file,
                line=node.lineno,
                hint=f"Name it {meant!r}, or otherwise if it is something else.",
            )


def _is_empty(source: SourceFile, name: str) -> bool:
    """Whether the function is there and its body is `pass`, `...`, a text or a bare `return`."""
    bodies = [
        node.body
        for node in ast.parse(source.text).body
        if isinstance(node, ast.AsyncFunctionDef) and node.name == name
    ]
    return bool(bodies) and all(_is_idle(statement) for statement in bodies[-1])


def _is_idle(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr | ast.Return) else None
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr | ast.Return)
        and (value is None or isinstance(value, ast.Constant))
    )


def _run(source: SourceFile) -> ModuleType:
    name = f"_ledger_migration_{source.checksum[:16]}"
    spec = importlib.util.spec_from_loader(name, _TextLoader(source), origin=source.file)
    if spec is None or spec.loader is None:
        raise ScriptError("cannot be loaded as a module", file=source.file, hint="Rename it.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except LedgerError:
        raise
    except (Exception, SystemExit) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        raise ScriptError(
            f"fails when it is loaded: {type(error).__name__}: {error}",
            file=source.file,
            line=line,
            hint="Correct it; a migration's work belongs into `async def up(tenant)`.",
        ) from error
    return module


def _function(module: ModuleType, name: str, file: str, *, required: bool = False) -> Any:
    found = getattr(module, name, None)
    if (found is None and not required) or inspect.iscoroutinefunction(found):
        return found
    raise ScriptError(
        f"has no `async def {name}(tenant)`"
        if found is None
        else f"`{name}` is not an async function",
        file=file,
        hint=f"Write `async def {name}(tenant): …`.",
    )


def _depends(module: ModuleType, file: str, set_name: str) -> list[tuple[str, str]]:
    found = getattr(module, "depends", ())
    if isinstance(found, str):
        found = found.replace(",", " ").split()
    if not isinstance(found, list | tuple) or not all(isinstance(item, str) for item in found):
        raise ScriptError(
            "`depends` is not a list of versions", file=file, hint='Write depends = ["001"].'
        )
    return [parse_dependency(item, set_name=set_name, file=file) for item in found]


def _constant(module: ModuleType, name: str, file: str) -> bool | None:
    """What a PRAGMA or a directive says in a SQL file: a PRAGMA does nothing inside a transaction."""
    found = getattr(module, name, None)
    if found is None or isinstance(found, bool):
        return found
    raise ScriptError(
        f"`{name}` is neither True nor False", file=file, hint=f"Write {name} = False."
    )
