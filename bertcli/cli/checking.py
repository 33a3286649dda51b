"""What the check command does between its options and the engine: read both splits, check, show."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from bertcli.checking.check import Report, guess_task
from bertcli.checking.check import check as run
from bertcli.checking.findings import Severity
from bertcli.cli.console import Voice, stdout_console
from bertcli.cli.run import open_input, select
from bertcli.data.records import Record
from bertcli.data.writers import open_writer
from bertcli.errors import Exit, UsageError
from bertcli.model import resolve
from bertcli.training.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 3  # places of a kind
LABELS = 20  # the most frequent
KINDS: tuple[Severity, ...] = ("error", "warning")
COLOURS = {"error": "bold red", "warning": "bold yellow"}


def check(voice: Voice, given: Mapping[str, Any]) -> int:
    """Print what was found; 1 where there are errors."""
    train, dev = _records(given, given["train"]), _records(given, given["dev"]) if given["dev"] else None
    if not given["task"]:
        first, train = _first(train)
        task = guess_task(first)
        voice.note(f"task: {task} (as the first record looks; -t names another)")
        given = {**given, "task": task}
    model = resolve(given["model"]) if given["model"] else None
    settings: Settings = select(Settings, {**given, "model": given["model"] or "", "output": ""})
    report = run(settings, model, train, dev)
    errors, _ = counts = [report.findings.count(kind) for kind in KINDS]
    verdict = ", ".join(f"{n:,} {kind}{'s' * (n != 1)}" for kind, n in zip(KINDS, counts, strict=True))
    if errors:
        verdict += "; finetune refuses this data until the errors are mended"
    _show(report, verdict, given["output_format"])
    return Exit.FAILED if errors else Exit.OK


def _records(given: Mapping[str, Any], files: Sequence[str]) -> Iterator[Record]:
    return open_input({**given, "files": files})


def _first(records: Iterator[Record]) -> tuple[Record | None, Iterator[Record]]:
    """The first good record, and all of them. What stands against reading on is raised when it is read again."""
    held: list[Record] = []
    try:
        for record in records:
            held.append(record)
            if not record.fault:
                return record, chain(held, records)
    except UsageError as error:
        return None, _then(held, error)
    return None, iter(held)


def _then(records: Iterable[Record], error: UsageError) -> Iterator[Record]:
    yield from records
    raise error


def _show(report: Report, verdict: str, output_format: str | None) -> None:
    if output_format == "rich" or (output_format is None and sys.stdout.isatty()):
        return _render(stdout_console(), report, verdict)
    with open_writer(None, "jsonl") as writer:
        counts = {f"{kind}s": report.findings.count(kind) for kind in KINDS}
        writer.write({**report.facts, **counts, "findings": report.findings.listed()})
    return None


def _render(console: "Console", report: Report, verdict: str) -> None:
    """The facts as tables, then each kind of fault with its first places; the errors last, where the eye is."""
    from bertcli.cli.tables import render

    facts = dict(report.facts)
    counts = {f"{name} records": f"{count:,}" for name, count in facts.pop("records").items()}
    names = list(facts.get("labels", {}).items())
    if len(names) > LABELS:
        facts[f"labels, the most frequent of {len(names):,}"] = dict(names[:LABELS])
        del facts["labels"]
    render(console, {"task": facts.pop("task"), **counts, **facts}, "data")
    for kind in sorted(report.findings.listed(), key=lambda own: own["severity"] == "error"):
        _render_kind(console, kind)
    console.print(f"\n{verdict}", highlight=False)


def _render_kind(console: "Console", kind: Mapping[str, Any]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    title = (f"{kind['severity']}: {kind['code']}", COLOURS[kind["severity"]])
    console.print(Text.assemble("\n", title, f" ({kind['count']:,}): {kind['message']}"))
    for own in kind["places"][:SHOWN]:
        console.print(Padding(Text(_plain(f"{own['place']}: {own['message']}")), (0, 0, 0, 2)))
    if kind["count"] > SHOWN:
        console.print(f"  and {kind['count'] - SHOWN:,} more", style="dim", highlight=False)


def _plain(text: str) -> str:
    """Without a terminal's control codes, which a text may hold."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
