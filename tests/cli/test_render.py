"""What reaches the screen: rows in every format, errors, progress, and a run's story."""

from __future__ import annotations

import csv
import io
import json

import msgspec
import pytest

from ledger import events as ev
from ledger.errors import ConfigError, InDoubtError
from ledger.events import Recorded
from ledger.fleet.report import RunReport
from ledger.render.columns import Column
from ledger.render.errors import redact, write_error
from ledger.render.progress import BarView, LineView, make_view
from ledger.render.report import report_lines
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.story import story_lines
from ledger.render.text import (
    Symbols,
    bytes_text,
    cell,
    count_text,
    plain,
    seconds_text,
    shell_word,
)
from ledger.runner.outcome import Outcome

CANARY = "c4n4ry-p4ssw0rd"
COLUMNS = (Column("tenant", "Tenant"), Column("seq", "Seq", number=True), Column("note", "Note"))
ROWS: tuple[dict[str, object], ...] = (
    {"tenant": "acme", "seq": 7, "note": ["a", "b"], "hidden": True},
    {"tenant": "wide, 日本 [red]x[/red]", "seq": None, "note": {"k": "line\nbreak\x1b[31m"}},
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def written(form: Format, rows: tuple[dict[str, object], ...] = ROWS) -> str:
    out = io.StringIO()
    write_rows(rows, COLUMNS, form=form, out=out, empty="Nothing.")
    return out.getvalue()


def test_json_and_jsonl_keep_everything() -> None:
    """A program gets every key with its own type, one document or one object a line."""
    assert json.loads(written("json")) == list(ROWS)
    assert [json.loads(line) for line in written("jsonl").splitlines()] == list(ROWS)
    assert json.loads(written("json", ())) == [] and written("jsonl", ()) == ""


def test_csv_has_a_header_and_one_record_a_row() -> None:
    """The csv module reads back what was meant; lists are words, objects are JSON."""
    header, first, second = csv.reader(io.StringIO(written("csv")))
    assert header == ["tenant", "seq", "note"]
    assert first == ["acme", "7", "a b"]
    assert second[0] == "wide, 日本 [red]x[/red]" and second[1] == ""
    assert json.loads(second[2]) == {"k": "line\nbreak\x1b[31m"}
    assert written("csv", ()) == "tenant,seq,note\n"


def test_a_table_is_for_reading() -> None:
    """No cell is cut where there is no terminal; markup and control characters stay text."""
    text = written("table")
    assert "Tenant" in text and "a, b" in text
    assert "[red]x[/red]" in text and "\x1b" not in text
    assert "\\x1b[31mred" in written("table", ({"tenant": "\x1b[31mred"},))
    long = "x" * 5000
    assert long in written("table", ({"tenant": long},))
    assert text.splitlines()[1].startswith("acme                       7  a, b")
    terminal = Terminal()
    write_rows(ROWS, COLUMNS, form="table", out=terminal)
    assert "[red]x[/red]" in terminal.getvalue() and "Tenant" in terminal.getvalue()
    assert written("table", ()) == "Nothing.\n"


def test_a_document_is_one_line_for_a_program() -> None:
    """Indented only where a person looks."""
    pipe, terminal = io.StringIO(), Terminal()
    write_json({"a": [1]}, out=pipe)
    write_json({"a": [1]}, out=terminal)
    assert pipe.getvalue() == '{"a":[1]}\n'
    assert terminal.getvalue().startswith('{\n  "a"')


def test_an_error_says_where_what_and_what_next() -> None:
    """As text, and as one JSON object with --log-format json."""
    error = ConfigError("unknown key 'x'", hint="Did you mean 'y'?", file="l.toml", line=3)
    out = io.StringIO()
    write_error(error, log_format="text", out=out)
    assert out.getvalue() == "error: l.toml:3: unknown key 'x'\nhint: Did you mean 'y'?\n"
    out = io.StringIO()
    write_error(error, log_format="json", out=out)
    document = json.loads(out.getvalue())
    assert document["file"] == "l.toml" and document["line"] == 3 and document["exit_code"] == 2
    assert document["error"] == "ConfigError" and document["hint"] == "Did you mean 'y'?"


def test_evidence_is_shown() -> None:
    """A step in doubt comes with all that was seen."""
    error = InDoubtError("step 3 may have run", step=3, evidence={"before": "ab"}, tenant="acme")
    out = io.StringIO()
    write_error(error, log_format="text", out=out)
    assert out.getvalue() == "error: acme: step 3 may have run\n  before: ab\n"


def test_no_error_shows_a_password() -> None:
    """Passwords in URLs, and those known, are struck out whatever text they stand in."""
    text = f"cannot open mysql://app:{CANARY}@db/x and {CANARY}"
    assert redact(text, secrets=(CANARY,)) == "cannot open mysql://app:***@db/x and ***"
    for log_format in ("text", "json"):
        out = io.StringIO()
        error = ConfigError(f"at mysql://u:{CANARY}@h/d", hint=f"mysql://u:{CANARY}@h/d")
        write_error(error, log_format=log_format, out=out)
        assert CANARY not in out.getvalue()


def run_view(view: LineView | BarView) -> None:
    view.run_started(2, "migrate")
    view.tenant_started("acme")
    view.tenant_started("beta")
    view.step("acme", 1, 2, "Add column")
    view.step("acme", 2, 2, "Add index", "index exists")
    view.backed_up("acme", "/b/acme.db")
    view.note("beta", "waiting for ana (run 01J)")
    view.tenant_finished("acme", "migrated", "2 steps", 0.031)
    view.tenant_finished("beta", "in_doubt", "table\nis there", 1.5)
    view.message("bye")
    view.close()
    view.close()


def test_without_a_terminal_a_line_per_tenant() -> None:
    """Each tenant once, with its outcome; a failure with its reason on one line."""
    out = io.StringIO()
    run_view(LineView(out))
    assert out.getvalue().splitlines() == [
        "beta: waiting for ana (run 01J)",
        "[1/2] acme: migrated, 2 steps (31 ms)",
        "[2/2] beta: in doubt, table is there",
        "bye",
    ]


def test_quiet_shows_failures_only() -> None:
    """-q is for scripts that want to hear of trouble alone."""
    out = io.StringIO()
    run_view(LineView(out, quiet=True))
    assert out.getvalue() == "[2/2] beta: in doubt, table is there\n"


def test_verbose_shows_steps() -> None:
    """-v over several tenants has a line per step, with the reason of a skipped one."""
    out = io.StringIO()
    run_view(LineView(out, verbose=1))
    sign = Symbols(out)
    lines = out.getvalue().splitlines()
    assert f"acme: {sign.done} step 1/2 Add column" in lines
    assert f"acme: {sign.skipped} step 2/2 Add index (index exists)" in lines
    assert "acme: backup /b/acme.db" in lines


def test_progress_as_json_is_one_object_a_line() -> None:
    """--log-format json: a program can follow a run."""
    out = io.StringIO()
    run_view(LineView(out, verbose=1, log_format="json"))
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [one["event"] for one in events].count("tenant_finished") == 2
    assert events[-2]["tenant"] == "beta" and events[-2]["outcome"] == "in_doubt"


def test_bars_only_on_a_terminal() -> None:
    """A file or a pipe never gets bars, nor does -q or JSON."""
    assert isinstance(make_view(stderr=Terminal()), BarView)
    assert isinstance(make_view(stderr=io.StringIO()), LineView)
    assert isinstance(make_view(stderr=Terminal(), quiet=True), LineView)
    assert isinstance(make_view(stderr=Terminal(), log_format="json"), LineView)


def test_the_bar_lists_failures_as_they_happen() -> None:
    """What failed stays on the screen when the bar is gone."""
    out = Terminal()
    run_view(BarView(out, colour=False))
    assert "beta: in doubt, table is there" in out.getvalue()
    assert "migrate" in out.getvalue() and "2/2" in out.getvalue()


@pytest.mark.parametrize("view", [LineView, BarView])
def test_a_view_never_raises(view: type[LineView] | type[BarView]) -> None:
    """A stderr that is gone costs the view, not the run."""
    out = Terminal()
    made = view(out)
    out.close()
    run_view(made)


def recorded(seq: int, event: ev.AnyEvent) -> Recorded:
    return Recorded(
        seq=seq,
        stream="tenant/acme",
        version=seq,
        type=str(type(event).__struct_config__.tag),
        at="2026-11-21T23:10:04.120311Z",
        run="R",
        actor="ana@host",
        tenant="acme",
        body=msgspec.json.encode(event),
    )


def test_a_single_tenants_story_reads_like_the_document() -> None:
    """Connected, backup, numbered steps with ✓ and ⊘, checks, and where the backup is."""
    ref = ev.MigrationRef(set="preset", version="2.0.0", name="assistants", checksum="ab")
    holder = ev.Holder(host="h", boot="b", pid=1, started=1, nonce="n")
    where = {"set": "preset", "version": "2.0.0", "direction": "up", "statement": "ab"}
    story: list[ev.AnyEvent] = [
        ev.Started(
            command="migrate",
            epoch=1,
            holder=holder,
            lease_seconds=60,
            engine="sqlite",
            migration=ref,
            steps=2,
        ),
        ev.BackupCreated(path="/b/acme.db", bytes=2048, sha256="ab", format="sqlite", covers="d"),
        ev.StepSkipped(step=1, of=2, name="Add category", reason="column there", **where),  # type: ignore[arg-type]
        ev.StepApplied(step=2, of=2, name="Step 2: Create favorites", warnings=("w",), **where),  # type: ignore[arg-type]
        ev.Validated(passed=True, checks=(ev.CheckResult(name="Indexes created", passed=True),)),
        ev.Completed(command="migrate", migration=ref, duration_us=12_000),
    ]
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    lines = list(
        story_lines(
            [recorded(seq, event) for seq, event in enumerate(story, 1)],
            where="sqlite:///data/acme.db",
            symbols=Symbols(out),
        )
    )
    assert lines == [
        "✓ Connected to acme: sqlite:///data/acme.db",
        "Applying preset 2.0.0 assistants: 2 steps",
        "✓ Created backup: /b/acme.db (2.0 KiB, verified)",
        "  ⊘ Step 1: Add category (column there)",
        "  ✓ Step 2: Create favorites",
        "      warning: w",
        "Validating data integrity",
        "  ✓ Indexes created",
        "✓ All validation checks passed",
        "✓ Recorded preset 2.0.0 (12 ms)",
        "✓ Migration completed successfully!",
        "Backup saved at: /b/acme.db",
        "You can safely delete the backup if everything works correctly (`ledger backups prune`).",
    ]


def test_symbols_fit_the_stream() -> None:
    """A terminal without UTF-8 gets letters, not question marks."""
    ascii_out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert (Symbols(ascii_out).done, Symbols(ascii_out).skipped) == ("+", "-")


def test_words_and_numbers() -> None:
    """Durations, sizes, counts and cells as a person writes them."""
    assert [seconds_text(x) for x in (0.0031, 1.236, 125, 3725)] == [
        "3 ms",
        "1.24 s",
        "2 m 05 s",
        "1 h 02 m",
    ]
    assert [bytes_text(x) for x in (512, 12_595, 5 * 1024**4)] == ["512 B", "12.3 KiB", "5.0 TiB"]
    assert (count_text(1, "tenant"), count_text(1000, "tenant")) == ("1 tenant", "1,000 tenants")
    assert (cell(None), cell(True), cell(("a", 1))) == ("", "yes", "a, 1")
    assert plain("a\x1b[2J\u202eb\tc") == "a\\x1b[2J\\u202eb\tc"
    assert shell_word("a b'c") == "'a b'\\''c'" and shell_word("x/2.0.0") == "x/2.0.0"


def outcome(**fields: object) -> Outcome:
    return msgspec.convert({"tenant": "acme", "result": "failed", **fields}, Outcome)


def told(*outcomes: Outcome) -> list[str]:
    report = RunReport(run="R1", command="migrate", outcomes=outcomes, duration_us=1_500_000)
    return list(report_lines(report, again="ledger migrate --all-tenants"))


def test_a_report_names_every_failure_and_the_command_to_continue() -> None:
    """Where, what, the place in the file; hints that are alike once; counts at the end."""
    hint = "Correct the migration."
    lines = told(
        outcome(
            message="no such table: x",
            migration="app/002",
            step=3,
            file="a.sql",
            line=7,
            hint=hint,
        ),
        outcome(
            tenant="beta", message="step 3 (INSERT): no such\ntable", migration="a/2", hint=hint
        ),
        outcome(tenant="gamma", result="unreachable", message="refused", warnings=("careful",)),
        outcome(tenant="delta", result="migrated", warnings=("careful",)),
    )
    assert lines == [
        "warning: careful (2 tenants)",
        "3 tenants of 4 failed:",
        "  acme: failed: app/002 step 3: no such table: x (a.sql:7)",
        "  beta: failed: a/2 step 3 (INSERT): no such table",
        "  gamma: unreachable: refused",
        "hint: Correct the migration.",
        "2 failed, 1 unreachable, 1 migrated · 4 tenants in 1.50 s · run R1",
        "To continue: ledger migrate --all-tenants",
    ]


def test_nothing_to_do_is_one_line() -> None:
    """A second run says so and nothing else."""
    assert told(outcome(result="current")) == ["Nothing to do: 1 tenant is current."]
    assert told(outcome(result="current"), outcome(tenant="b", result="current")) == [
        "Nothing to do: 2 tenants are current."
    ]
