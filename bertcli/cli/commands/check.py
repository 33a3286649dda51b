"""bertcli check: find the faults of labelled data before it is trained on."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import click

from bertcli import registry
from bertcli.cli import shared
from bertcli.cli.options import command
from bertcli.cli.terminal import Messages, is_for_people, print_json, print_line, stdout_console
from bertcli.errors import Exit, UsageError
from bertcli.inference import Request
from bertcli.option import like, option
from bertcli.tasks.options import Options, Problem, Scheme
from bertcli.training.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from bertcli.data.records import Record

SHOWN = 3  # places of each fault
LABELS = 20  # the most frequent
COLOURS = {"error": "bold red", "warning": "bold yellow"}
EXAMPLES = """
bertcli check train.jsonl --dev dev.jsonl
bertcli check train.tsv --dev dev.tsv --text-field sentence -m MODEL      # lengths and unknown pieces too
bertcli check train.conll --dev dev.conll -t ner
bertcli check train.json --json | jq -r '.findings[] | select(.code == "duplicate").places[].place'
"""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Check(shared.LabelledInputOptions):
    """The options of `bertcli check`."""

    output_format: Literal["rich", "lines", "json"] | None = option(
        None,
        "[default: rich on a terminal, else lines: FILE:LINE: message, as linters have it]",
        flags="-f --format",
        group="output",
    )

    train: tuple[str, ...] = option((), is_argument=True, type=shared.PATH, more=shared.MANY)
    dev: tuple[str, ...] = option(
        (), "Records to be scored on; is any also in TRAIN? Repeatable.", "FILE", more=shared.MANY
    )
    model: str | None = option(None, "Count tokens as this model does: a directory or a Hub name.", "MODEL", flags="-m")
    task: str | None = like(Request, "task")
    label_field: str = like(Options, "label_field")
    label_separator: str = like(Options, "label_separator")
    scheme: Scheme = like(Options, "scheme")
    problem: Problem = like(Settings, "problem")


@command(
    """
    train dev model task text_field pair_field label_field label_separator map_labels scheme problem
    input_format columns delimiter encoding output_format
    """,
    EXAMPLES,
    extra=[click.Option(["output_format", "--json"], flag_value="json", help="As --format json.")],
)
def check(messages: Messages, options: Check) -> int:
    """Look for faults in the labelled records of TRAIN or stdin, and of --dev.

    Errors, for which finetune would refuse the data, make the exit code 1: records, texts and labels that are none.
    Warnings do not: texts that are in both splits, or come twice, or nearly, or with other labels; labels that look
    misspelt, are rare or uneven; empty or overlong texts; entities and answers that no tokens make up.
    """
    from bertcli.checking import check, guess_task
    from bertcli.cli.progress import RecordCount
    from bertcli.model import resolve
    from bertcli.tasks.labels import relabelled

    train, dev = options.labelled(options.train), options.labelled(options.dev) if options.dev else None
    task = options.task
    if not task:
        first, train = _first(train)
        task = guess_task(first)
        messages.note(f"task: {task} (as the first record looks; -t names another)")
    model = resolve(options.model) if options.model else None
    settings = Settings(
        model=options.model or "",
        output="",
        task=task,
        problem=options.problem,
        text_field=options.text_field,
        pair_field=options.pair_field,
        label_field=options.label_field,
        label_separator=options.label_separator,
        scheme=options.scheme,
        map_labels=options.map_labels,
    )
    several, task_class = options.problem == "multi", registry.load("tasks", task).Task
    rename = partial(relabelled, task_class, options=settings.options, several=several)
    with RecordCount(messages, (*options.train, *options.dev)) as counter:
        facts, findings = check(settings, model, rename(counter.passed(train)), dev and rename(counter.passed(dev)))
    listed = findings.listed()
    counts = {name: sum(finding["count"] for finding in listed if finding["severity"] == name) for name in COLOURS}
    if is_for_people(options.output_format):
        console = stdout_console()
        _render(console, facts, listed)
        verdict = ", ".join(f"{n:,} {severity}{'s' * (n != 1)}" for severity, n in counts.items())
        if counts["error"]:
            verdict += "; finetune refuses this data until the errors are mended"
        console.print(f"\n{verdict}", highlight=False)
    elif options.output_format != "json":
        for finding in listed:
            for example in finding["places"]:
                print_line(f"{example['place']}: {finding['severity']}: {example['message']} [{finding['code']}]")
    else:
        totals = {f"{severity}s": count for severity, count in counts.items()}
        print_json([{**facts, **totals, "findings": listed}])
    return Exit.FAILED if counts["error"] else Exit.OK


def _first(records: Iterator["Record"]) -> tuple["Record | None", Iterator["Record"]]:
    """The first good record, and all records. A UsageError while reading is raised when they are iterated over."""

    def refusing(error: UsageError) -> Iterator["Record"]:
        raise error
        yield

    held: list[Record] = []
    try:
        for record in records:
            held.append(record)
            if not record.fault:
                return record, chain(held, records)
    except UsageError as error:
        return None, chain(held, refusing(error))
    return None, iter(held)


def _render(console: "Console", facts: dict[str, Any], listed: list[dict[str, Any]]) -> None:
    """Print the facts as tables, then each kind of fault with its first places; errors last, above the prompt."""
    from rich.padding import Padding
    from rich.text import Text

    from bertcli.cli.tables import render
    from bertcli.data import visible

    facts = dict(facts)
    counts = {f"{name} records": f"{count:,}" for name, count in facts.pop("records").items()}
    names = list(facts.get("labels", {}).items())
    if len(names) > LABELS:
        facts[f"labels, the most frequent of {len(names):,}"] = dict(names[:LABELS])
        del facts["labels"]
    render(console, {"task": facts.pop("task"), **counts, **facts}, "data")
    for finding in sorted(listed, key=lambda finding: finding["severity"] == "error"):
        title = (f"{finding['severity']}: {finding['code']}", COLOURS[finding["severity"]])
        console.print(Text.assemble("\n", title, f" ({finding['count']:,}): {visible(finding['message'])}"))
        for example in finding["places"][:SHOWN]:
            line = Text(visible(f"{example['place']}: {example['message']}", mask=True))
            console.print(Padding(line, (0, 0, 0, 2)))
        if finding["count"] > SHOWN:
            console.print(f"  and {finding['count'] - SHOWN:,} more", style="dim", highlight=False)
