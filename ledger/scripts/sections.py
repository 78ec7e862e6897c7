"""One file, section by section: its statements with what their directives say of them.

Invariant: a file is read once and whole; whatever is wrong with it is a
ScriptError with file and line before anything runs.
"""

from __future__ import annotations

import msgspec

from ledger.dialects import Dialect
from ledger.dialects.kinds import ASKS, StatementKind
from ledger.dialects.split import Script, Statement
from ledger.dialects.steps import Check, SkipIf, Step, sha256_hex
from ledger.dialects.tokens import readable
from ledger.dialects.wording import label, reason
from ledger.errors import ScriptError
from ledger.scripts.directives import (
    Directive,
    SectionName,
    parse_depends,
    parse_section,
    parse_skip_if,
    read_directives,
    require_reason,
)
from ledger.scripts.layouts import Direction
from ledger.scripts.marks import (
    require_no_directive_inside,
    require_no_heading,
    require_no_marks,
)
from ledger.scripts.source import SourceFile
from ledger.scripts.sync_section import require_sync


class _Pending(msgspec.Struct):
    """Directives that wait for the statement they are for."""

    name: str = ""
    skip_if: SkipIf | None = None
    verify_step: str | None = None
    redo_safe: bool = False
    secret: bool = False
    check: str = ""
    last: Directive | None = None
    words: set[str] = msgspec.field(default_factory=set)


class Parsed(msgspec.Struct):
    """One file's content, section by section; filled while it is read."""

    file: str
    text: str
    dialect: Dialect
    set_name: str
    section: SectionName = "up"
    opened: dict[SectionName, bool] = {}
    steps: dict[SectionName, list[Step]] = {}
    checks: list[Check] = []
    depends: list[tuple[str, str]] = []
    placeholders: bool = True
    foreign_key_check: bool = True
    no_steps: Directive | None = None
    kept: bool = False
    dump: bool = False
    left_out: int = 0
    dropped: dict[str, Statement] = {}


def parse_file(
    source: SourceFile,
    dialect: Dialect,
    *,
    set_name: str,
    section: SectionName = "up",
    kept: bool = False,
) -> Parsed:
    """Read one file. `section` is what a file without section directives is. Raises ScriptError.

    A `kept` text is one that ran: what was prose to it then is prose now.
    """
    if not kept:
        require_no_marks(source.text, dialect, file=source.file, section=_direction(section))
    script = dialect.split(source.text, file=source.file)
    parsed = Parsed(
        file=source.file,
        text=source.text,
        dialect=dialect,
        set_name=set_name,
        section=section,
        kept=kept,
        dump=dialect.is_dump(source.text),
    )
    pending = _Pending()
    for index, statement in enumerate(script.statements):
        directives = read_directives(
            statement.lead,
            line=statement.lead_line,
            first=index == 0,
            file=source.file,
            kept=kept,
        )
        if directives:
            pending = _take_directives(parsed, pending, directives, escapes=statement.escapes)
        if not kept:
            _require_own_section(parsed, statement, first=index == 0)
        if _is_of_dump(parsed, statement):
            continue
        if _is_own_transaction(parsed, statement):
            # What was said of it is meant for the statement after it, and may be said again there.
            _add_step(parsed, statement, _Pending())
            pending.words.clear()
            continue
        pending = _add(parsed, statement, pending)
    _finish(parsed, script, pending, kept=kept)
    return parsed


def _direction(section: SectionName) -> Direction:
    return "up" if section == "sync" else section


def _require_own_section(parsed: Parsed, statement: Statement, *, first: bool) -> None:
    """Refuse a statement that its author meant for another section than it is in."""
    if _direction(parsed.section) == "up":
        require_no_heading(statement, parsed.dialect, first=first, file=parsed.file)
    require_no_directive_inside(
        statement.sql, parsed.dialect, file=parsed.file, line=statement.line
    )


def _take_directives(
    parsed: Parsed, pending: _Pending, directives: list[Directive], *, escapes: bool = True
) -> _Pending:
    """`escapes` is that of the statement behind them, in whose mode its questions are asked."""
    for directive in directives:
        word = directive.word
        if word == "migrate":
            _require_used(pending)
            _open_section(parsed, directive)
            pending = _Pending()
        elif word == "depends":
            parsed.depends += parse_depends(directive, set_name=parsed.set_name)
        elif word == "no-steps":
            require_reason(directive, parsed.section)
            parsed.no_steps = directive
        elif word == "placeholders":
            parsed.placeholders = _is_on(directive)
        elif word == "foreign-key-check":
            parsed.foreign_key_check = _is_on(directive)
        else:
            _note(parsed, pending, directive, escapes=escapes)
    return pending


def _is_on(directive: Directive) -> bool:
    word, value = directive.word, directive.value.lower()
    if value not in ("on", "off"):
        raise directive.error(
            f"-- {word}: {directive.value} is neither on nor off",
            f"Write -- {word}: off, or leave it out.",
        )
    return value == "on"


def _note(parsed: Parsed, pending: _Pending, directive: Directive, *, escapes: bool) -> None:
    """Keep a directive that is about the next statement."""
    word, value = directive.word, directive.value
    if word in ("step", "check", "verify-step") and not value:
        raise directive.error(
            f"-- {word}: has no value",
            "Write a SELECT after it." if word == "verify-step" else "Write a name after it.",
        )
    if word == "check" and parsed.section != "verify":
        if parsed.opened:
            raise directive.error(
                f"-- check: {value} stands in the section {parsed.section}",
                "Write -- migrate:verify on a line before it.",
            )
        pending.check = value
        return
    if parsed.section in ("sync", "verify") and word in ("skip-if", "verify-step", "redo-safe"):
        raise directive.error(
            f"-- {word} stands in the section {parsed.section}",
            "It belongs to a step of the section up or down.",
        )
    _require_first(pending, directive)
    pending.last = directive
    pending.words.add(word)
    if word == "step":
        pending.name = value
    elif word == "skip-if":
        pending.skip_if = parse_skip_if(directive)
        if pending.skip_if.kind == "sql":
            _require_query(parsed, directive, readable(pending.skip_if.subject, escapes=escapes))
    elif word == "verify-step":
        pending.verify_step = value.rstrip("; ")
        _require_query(parsed, directive, readable(pending.verify_step, escapes=escapes))
    elif word == "redo-safe":
        pending.redo_safe = True
    elif word == "secret":
        pending.secret = True
    elif word == "check":
        pending.check = value


def _require_first(pending: _Pending, directive: Directive) -> None:
    """Refuse a second word of a kind before one statement: one of the two would say nothing."""
    word = directive.word
    if word in pending.words and word in ("step", "skip-if", "verify-step", "check"):
        raise directive.error(
            f"a second -- {word} before one statement",
            "Remove one of the two, or add the statement between them."
            + (" For `this or that`, write sql: SELECT …" if word == "skip-if" else ""),
        )


def _require_query(parsed: Parsed, directive: Directive, sql: str) -> None:
    """Refuse a question that is no single SELECT. Raises ScriptError."""
    statements = parsed.dialect.split(sql, file=parsed.file).statements
    kinds = [parsed.dialect.classify(statement.sql) for statement in statements]
    if [kind.kind for kind in kinds] != ["query"] or not (kinds[0].settleable or parsed.kept):
        what = _shown(kinds[0]) if len(kinds) == 1 else f"{len(kinds)} statements"
        raise directive.error(
            f"-- {directive.word} must be a SELECT, and this is {what}",
            "It only asks; put what changes something into a step.",
        )


def _shown(kind: StatementKind) -> str:
    """What stands in a question's place, and what is wrong with a SELECT."""
    return f"{label(kind)}: {reason(kind)}" if kind.kind == "query" else label(kind)


def _open_section(parsed: Parsed, directive: Directive) -> None:
    section, transaction = parse_section(directive)
    problem = ""
    if section in parsed.opened:
        problem = f"a second section -- migrate:{section}"
    elif section == "up" and parsed.steps.get("up"):
        problem = "statements stand before -- migrate:up"
    if problem:
        raise directive.error(
            problem,
            "A file has at most one section up, one sync, one down and one verify.",
        )
    parsed.opened[section] = transaction
    parsed.section = section


def _require_used(pending: _Pending) -> None:
    if pending.last is not None:
        raise pending.last.error(
            f"-- {pending.last.word} has no statement after it",
            "It is about the next statement of its section; remove it or add the statement.",
        )


def _is_of_dump(parsed: Parsed, statement: Statement) -> bool:
    """Whether a dump has the statement for a server that takes it whole; a migration leaves it out.

    So are, in a section sync, settings and the DROP before a CREATE.
    """
    part = parsed.dialect.dump_part(statement.sql, dump=parsed.dump, sync=parsed.section == "sync")
    if part == "restore":
        parsed.left_out += 1
    elif part == "drop":
        parsed.dropped[parsed.dialect.classify(statement.sql).target] = statement
    return part != ""


def _is_own_transaction(parsed: Parsed, statement: Statement) -> bool:
    """Whether the engine does what the statement says about the section's transaction."""
    inside = parsed.section not in ("sync", "verify")
    return inside and parsed.dialect.is_left_to_engine(statement.sql)


def _add(parsed: Parsed, statement: Statement, pending: _Pending) -> _Pending:
    """File a statement under its section; what waited for it is used up."""
    if parsed.section == "verify":
        _add_check(parsed, statement, pending)
    else:
        _add_step(parsed, statement, pending)
    return _Pending()


def _add_check(parsed: Parsed, statement: Statement, pending: _Pending) -> None:
    kind = parsed.dialect.classify(statement.readable)
    if kind.kind != "query" or not (kind.settleable or parsed.kept):
        raise ScriptError(
            f"a check must be a SELECT, and this is {_shown(kind)}",
            file=parsed.file,
            line=statement.line,
            hint="A check reads; put what changes something into the section up.",
        )
    parsed.checks.append(
        Check(
            name=pending.check or pending.name or f"Check {len(parsed.checks) + 1}",
            sql=statement.sql,
            file=parsed.file,
            line=statement.line,
            placeholders=parsed.placeholders,
        )
    )


def _add_step(parsed: Parsed, statement: Statement, pending: _Pending) -> None:
    kind = parsed.dialect.classify(statement.readable)
    if pending.check and kind.kind == "query":
        raise ScriptError(
            f"-- check: {pending.check} stands in no section verify",
            file=parsed.file,
            line=statement.line,
            hint="Write -- migrate:verify on a line before it.",
        )
    if parsed.section == "sync":
        require_sync(statement, parsed.dialect, file=parsed.file, dump=parsed.dump)
        parsed.dropped.pop(kind.target, None)
    else:
        problem = parsed.dialect.step_problem(statement, kind, file=parsed.file, kept=parsed.kept)
        if problem is not None:
            raise problem
    steps = parsed.steps.setdefault(parsed.section, [])
    steps.append(
        Step(
            number=len(steps) + 1,
            name=pending.name or label(kind),
            sql=statement.sql,
            file=parsed.file,
            line=statement.line,
            sha256=sha256_hex(statement.sql),
            skip_if=pending.skip_if,
            verify_step=pending.verify_step,
            redo_safe=pending.redo_safe or (kind.redo_safe and kind.kind not in ASKS),
            secret=pending.secret,
            placeholders=parsed.placeholders,
            escapes=statement.escapes,
        )
    )


def _finish(parsed: Parsed, script: Script, pending: _Pending, *, kept: bool) -> None:
    """Read what follows the last statement: an empty section may still open there."""
    directives = read_directives(
        script.tail,
        line=script.tail_line,
        first=not script.statements,
        file=parsed.file,
        kept=kept,
    )
    _require_used(_take_directives(parsed, pending, directives))
    for statement in parsed.dropped.values():
        require_sync(statement, parsed.dialect, file=parsed.file)
