"""The commands that look at the machine: `info` and `bench`, between their options and the engine."""

import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from bertcli.cli.console import Voice, stdout_console
from bertcli.cli.run import open_input, select
from bertcli.data.writers import open_writer
from bertcli.errors import BertcliError, Exit
from bertcli.inference.session import Request, open_session, open_task_class
from bertcli.inference.stream import Settings
from bertcli.tasks.base import Options

MOST = 10_000  # records that bench takes of a file


def info(voice: Voice, given: Mapping[str, Any]) -> int:
    """Print what there is and what would be chosen; an error where the device computes something else than a CPU."""
    from bertcli.inference.info import BOUND, check, describe

    request = select(Request, given)
    session = open_session(request, Options())
    found = check(session, request)
    differences = {"batched": found.batched, "single": found.single, "at most": BOUND, "passed": found.passed}
    voice.note(session.reason)  # too long for a table
    facts = {**describe(session), "check": differences}
    if not _show_table(given, "bertcli", lambda: facts):
        _show_lines([facts])
    if not found.passed:
        raise BertcliError(
            f"{session.device.type} differs from the CPU by {found.batched:.2g} in a batch and "
            f"{found.single:.2g} alone (at most {BOUND}); use --device cpu."
        )
    return Exit.OK


def bench(voice: Voice, given: Mapping[str, Any]) -> int:
    """Print a row for each backend, precision and length."""
    from bertcli.inference.bench import Job, bench

    request, options = select(Request, given), select(Options, given)
    records = list(islice(open_input(given), MOST)) if given["files"] else None
    model, task_class = open_task_class(request)
    rows = bench(Job(request, options, select(Settings, given), records), model, task_class.head)
    if not _show_table(given, model.path.name, lambda: {"bench": dict(map(_shown, rows))}):
        _show_lines(rows)
    return Exit.OK


def _shown(row: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """A row for people: what was measured, and the figures."""
    return f"{row['backend']} {row['precision']}, {row['tokens']} tokens", {
        "texts/s": f"{row['texts_per_s']:,}",
        "spread": f"{row['least']:,}-{row['most']:,}",
        "tokens/s": f"{row['tokens_per_s']:,}",
        "first": f"{row['first_result_s']:.2f} s",
        "peak": f"{row['peak_mb']:,} MB",
    }


def _show_table(given: Mapping[str, Any], title: str, facts: Callable[[], Mapping[str, Any]]) -> bool:
    """Print tables where people read them; whether they do."""
    if given["output_format"] != "rich" and (given["output_format"] or not sys.stdout.isatty()):
        return False
    from bertcli.cli.tables import render

    render(stdout_console(), facts(), title)
    return True


def _show_lines(rows: Iterable[Mapping[str, Any]]) -> None:
    """JSON, a line for each row as it comes."""
    with open_writer(None, "jsonl") as writer:
        for row in rows:
            writer.write(row)
            writer.flush()
