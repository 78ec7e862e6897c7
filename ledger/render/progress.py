"""What a run shows while it works: bars on a terminal, a line per tenant elsewhere.

Invariant: nothing here raises; a closed or full stderr costs the view, not the run.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, TextIO

from ledger.fleet.progress import Progress
from ledger.render.columns import width_of
from ledger.render.errors import write_log
from ledger.render.text import Symbols, bare_step_name, count_text, one_line, seconds_text
from ledger.runner.outcome import GOOD

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

FINE: Final = GOOD | {"valid"}
"""Every other outcome is a failure, and stays in sight."""

SHOWN_RUNNING: Final = 8
"""How many running tenants are named below the bar; the others are counted."""


class View(Progress):
    """A progress that is on a stream."""

    def restore(self) -> None:
        """Put the terminal in order, for a process that ends at once: waits for nothing."""


def make_view(
    *,
    stderr: TextIO,
    quiet: bool = False,
    verbose: int = 0,
    log_format: Literal["text", "json"] = "text",
    colour: bool = True,
) -> View:
    """The view that fits: bars if `stderr` is a terminal and text is wanted, lines otherwise."""
    if stderr.isatty() and log_format == "text" and not quiet:
        return BarView(stderr, verbose=verbose, colour=colour)
    return LineView(stderr, quiet=quiet, verbose=verbose, log_format=log_format)


class LineView(View):
    """One line a tenant; with `verbose` one a step too, with `quiet` only what failed."""

    def __init__(
        self, out: TextIO, *, quiet: bool = False, verbose: int = 0, log_format: str = "text"
    ) -> None:
        self._out = out
        self._quiet = quiet
        self._verbose = verbose
        self._log_format = log_format
        self._total = 0
        self._finished = 0
        self._symbols = Symbols(out)

    def run_started(self, total: int, command: str) -> None:
        """Remember the total, for `[3/100]`."""
        self._total, self._finished = total, 0

    def step(self, name: str, number: int, of: int, step_name: str, skipped: str = "") -> None:
        """A line if there are many tenants; the story of a single one follows at its end."""
        if self._verbose and not self._quiet and not self._in_story:
            self._write(
                "info",
                _step_line(self._symbols, name, number, of, step_name, skipped),
                event="step",
                tenant=name,
                step=number,
                of=of,
                name=step_name,
                skipped=skipped,
            )

    def note(self, name: str, text: str) -> None:
        """A line with the tenant's name."""
        if not self._quiet:
            self._write("info", f"{name}: {text}", event="note", tenant=name)

    def backed_up(self, name: str, path: str) -> None:
        """A line if `verbose` asks for it and no story has it at the end."""
        if self._verbose and not self._in_story:
            self.note(name, f"backup {path}")

    def tenant_finished(
        self, name: str, outcome: str, detail: str, duration_seconds: float
    ) -> None:
        """`[  3/100] acme: migrated, 15 steps (31 ms)`."""
        self._finished += 1
        bad = outcome not in FINE
        if (self._quiet or self._in_story) and not bad:
            return
        width = len(str(self._total))
        text = f"[{self._finished:{width}}/{self._total}] {name}: {outcome.replace('_', ' ')}"
        text += f", {detail}" if detail else ""
        if not bad:
            text += f" ({seconds_text(duration_seconds)})"
        self._write(
            "info",
            text,
            event="tenant_finished",
            tenant=name,
            outcome=outcome,
            detail=detail,
            duration_seconds=duration_seconds,
        )

    def message(self, text: str) -> None:
        """A line."""
        if not self._quiet:
            self._write("info", text, event="message")

    @property
    def _in_story(self) -> bool:
        """The story of a single tenant comes at its end, whole: see story.py."""
        return bool(self._verbose) and self._total == 1 and self._log_format == "text"

    def _write(self, level: str, text: str, **fields: object) -> None:
        with suppress(OSError, ValueError):
            fields = fields if self._log_format == "json" else {}
            write_log(level, one_line(text), log_format=self._log_format, out=self._out, **fields)
            self._out.flush()


def _step_line(
    symbols: Symbols, name: str, number: int, of: int, step_name: str, skipped: str
) -> str:
    sign = symbols.skipped if skipped else symbols.done
    reason = f" ({skipped})" if skipped else ""
    return f"{name}: {sign} step {number}/{of} {bare_step_name(step_name)}{reason}"


class BarView(View):
    """One bar for the fleet, the tenants now running with their step, failures as they happen.

    With `verbose`, each step and each tenant that is done stays above the bar.
    """

    def __init__(self, out: TextIO, *, verbose: int = 0, colour: bool = True) -> None:
        from rich.console import Console
        from rich.live import Live

        class Steady(Console):
            """A console that never hides the cursor: a process that is killed or stopped cannot show it."""

            def show_cursor(self, show: bool = True) -> bool:
                return False

        self._out = out
        self._verbose = verbose
        self._symbols = Symbols(out)
        self._lock = threading.Lock()
        self._running: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._total = 0
        self._command = ""
        self._began = time.monotonic()
        self._open = False
        self._console = Steady(file=out, highlight=False, no_color=True if not colour else None)
        self._live = Live(
            get_renderable=self._draw,
            console=self._console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
        )

    def run_started(self, total: int, command: str) -> None:
        """Open the view."""
        self._total, self._command, self._began = total, command, time.monotonic()
        if total and not self._open:
            with suppress(OSError, ValueError):
                self._live.start(refresh=True)
                self._open = True

    def tenant_started(self, name: str) -> None:
        """The tenant joins those below the bar."""
        with self._lock:
            self._running[name] = ""

    def step(self, name: str, number: int, of: int, step_name: str, skipped: str = "") -> None:
        """The tenant's line says where it is; the story of a single tenant follows at its end."""
        with self._lock:
            if name in self._running:
                self._running[name] = f"step {number}/{of} {bare_step_name(step_name)}"
        if self._verbose and self._total > 1:
            self._print(_step_line(self._symbols, name, number, of, step_name, skipped))

    def note(self, name: str, text: str) -> None:
        """It stays above the bar: a wait, a take-over."""
        self._print(f"{name}: {text}", style="yellow")

    def backed_up(self, name: str, path: str) -> None:
        """The tenant's line says it until the next step."""
        with self._lock:
            if name in self._running:
                self._running[name] = "backed up"
        if self._verbose and self._total > 1:
            self._print(f"{name}: backup {path}")

    def tenant_finished(
        self, name: str, outcome: str, detail: str, duration_seconds: float
    ) -> None:
        """Counted; a failure stays above the bar."""
        with self._lock:
            self._running.pop(name, None)
            self._counts[outcome] = self._counts.get(outcome, 0) + 1
        said = f"{name}: {outcome.replace('_', ' ')}" + (f", {detail}" if detail else "")
        if outcome not in FINE:
            self._print(said, style="red")
        elif self._verbose and self._total > 1:
            self._print(f"{said} ({seconds_text(duration_seconds)})")

    def message(self, text: str) -> None:
        """A line above the bar."""
        self._print(text)

    def close(self) -> None:
        """Put the bar away."""
        if self._open:
            self._open = False
            with suppress(OSError, ValueError):
                self._live.stop()

    def restore(self) -> None:
        """The cursor is shown, below the bar."""
        if self._open:
            os.write(self._out.fileno(), b"\x1b[?25h\n")

    def _print(self, text: str, style: str = "") -> None:
        from rich.text import Text

        with suppress(OSError, ValueError):
            # The terminal wraps what is too wide: a name that is broken here cannot be copied.
            self._console.print(Text(one_line(text), style=style), soft_wrap=True)

    def _draw(self) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            running = list(self._running.items())
            counts = dict(self._counts)
        finished = sum(counts.values())
        bad = sum(count for outcome, count in counts.items() if outcome not in FINE)
        spent = time.monotonic() - self._began
        line = Table.grid(padding=(0, 1))
        words = [f"{finished}/{self._total}", seconds_text(spent)]
        words += [f"{bad} failed"] if bad else []
        if 0 < finished < self._total:
            words.append(f"{seconds_text(spent / finished * (self._total - finished))} left")
        line.add_row(
            Text(self._command, style="bold"),
            ProgressBar(total=self._total, completed=finished, width=30),
            Text(" · ".join(words)),
        )
        rows = [self._running_line(name, at) for name, at in running[:SHOWN_RUNNING]]
        if len(running) > SHOWN_RUNNING:
            rows.append(Text(f"  and {count_text(len(running) - SHOWN_RUNNING, 'more tenant')}"))
        return Group(line, *rows)

    def _running_line(self, name: str, at: str) -> Text:
        """The tenant's name whole, on more than one line if it must be, and as much of its step as fits."""
        from rich.text import Text

        shown = f"  {one_line(name)}"
        room = self._console.width - width_of(shown) - len("  ")
        step = Text(one_line(at))
        step.truncate(max(0, room), overflow="ellipsis")
        return Text(f"{shown}  {step.plain}".rstrip(), overflow="fold")
