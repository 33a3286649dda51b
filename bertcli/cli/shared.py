"""The options that several commands share, in classes: reading input, running a model, --report, and training.

Imports nothing heavy, for --help. Try: bertcli predict --help
"""

import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from bertcli.cli.options import Parsed, by_name, read_yaml
from bertcli.cli.terminal import Messages, is_for_people, print_json, stdout_console
from bertcli.data.formats import INPUT, by_extension
from bertcli.errors import Interrupted, RecordError, UsageError
from bertcli.inference import OF_ONNX, Batching, Request
from bertcli.option import REQUIRED, like, option
from bertcli.tasks.options import Options

if TYPE_CHECKING:
    from bertcli.data.readers import ReadOptions, Shard
    from bertcli.data.records import Header, Record
    from bertcli.evaluation import Evaluation
    from bertcli.inference.stream import Stop
    from bertcli.pretraining.source import Source
    from bertcli.report import Report
    from bertcli.training.run import Saved


def expanded(_ctx: click.Context, _param: click.Parameter, paths: tuple[str, ...]) -> tuple[str, ...]:
    """A click callback: the files that an option's paths, directories and patterns name."""
    from bertcli.data.readers import expand

    files = expand(paths)
    texts = {f"{file.removesuffix('.ann')}.txt" for file in files if file.endswith(".ann")}  # brat's reader opens both
    return tuple(file for file in files if file not in texts)


PATH = click.Path()
MANY = {"callback": expanded}
TABLES = ("csv", "tsv", "parquet", "arrow")  # formats whose records all have the same fields
WITHOUT_TEXT = ("context", "tokens")  # fields that some tasks read instead of a text
STOPPING = "stopping after this step, with a checkpoint for --resume"
NOT_SAVED = ("output", "resume", "overwrite", "cache", "track", "report")  # options that do not decide the result
HEADLESS = " --columns names the columns of a file without a header; --input-format conll reads tokens and tags."
NAME = re.compile(r"[\w .-]*")  # A column name with other characters may be an uncut header, or data.


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PrintOptions:
    """The format of what a command prints once, at its end."""

    output_format: Literal["rich", "json"] | None = option(
        None, "[default: rich on a terminal, else json]", flags="-f --format", group="output"
    )

    def show(self, rows: Iterable[Mapping[str, Any]], tables: Mapping[str, Any], title: str) -> None:
        """Print the tables on a terminal or for --format rich, else each row as a line of JSON."""
        if not is_for_people(self.output_format):
            return print_json(rows)
        from bertcli.cli.tables import render

        return render(stdout_console(), tables, title)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class InputOptions:
    """How records are read."""

    text_field: str = like(Options, "text_field")
    pair_field: str | None = like(Options, "pair_field")
    input_format: str | None = option(
        None, "[default: by file extension, else by the first line]", "FORMAT", choices=tuple(INPUT), group="data"
    )
    columns: str | None = option(
        None, "Comma-separated names for a CSV or TSV file without a header.", "NAMES", group="data"
    )
    delimiter: str | None = option(
        None,
        "What parts the cells of CSV.  [default: a comma, or the ; tab or | that is there instead]",
        "CHAR",
        group="data",
    )
    encoding: str = option("utf-8", "Encoding of the input.", group="data")

    @property
    def read_options(self) -> "ReadOptions":
        """These options as `read` and `count_before` take them. Raises UsageError for an unusable delimiter."""
        from bertcli.data.readers import ReadOptions

        delimiter = {"tab": "\t", "\\t": "\t"}.get(self.delimiter or "", self.delimiter)
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n' or not delimiter.isascii()):
            raise UsageError(f"--delimiter '{self.delimiter}': write one character, as in --delimiter ';', or tab.")
        columns = [name.strip() for name in self.columns.split(",")] if self.columns else None
        return ReadOptions(self.input_format, self.encoding, columns, delimiter, self.text_field)

    def labelled(self, files: Sequence[str]) -> Iterator["Record"]:
        """As `open`, without the records that their labelling tool calls unlabelled; a warning says how many."""
        records, messages = self.open(files), _messages()

        def kept() -> Iterator["Record"]:
            left, first = 0, ""
            for record in records:
                if record.unlabelled is None:
                    yield record
                else:
                    left, first = left + 1, first or f"{record.location}: {record.unlabelled}"
            if left:
                messages.warn(f"{left:,} records without a label are left out; the first: {first}")

        return kept()

    def open(
        self,
        files: Sequence[str],
        shard: "Shard | None" = None,
        headed: Callable[["Header"], None] = lambda header: None,
    ) -> Iterator["Record"]:
        """The records of files or stdin, as `read` gives them. Raises UsageError at once if they cannot be read.

        It also raises it at the first row of a table that lacks the field of an option: that is one mistake, not many.
        """
        from bertcli.data.readers import read
        from bertcli.data.records import lookup

        written = os.fstat(1)
        for name in files or ["-"]:
            with suppress(OSError, ValueError):  # `read` will say what cannot be read.
                status = os.fstat(0) if name == "-" else Path(name).stat()
                # `> FILE` has emptied it, `>> FILE` would never end.
                if stat.S_ISREG(written.st_mode) and os.path.samestat(status, written):
                    raise UsageError(f"{name}: it is the input, and stdout is redirected into it; name another output.")
        messages = _messages()
        if (not files or "-" in files) and messages.terminal and sys.stdin is not None and sys.stdin.isatty():
            messages.note("reading from the terminal; Ctrl-D ends")

        def checked(records: Iterator["Record"]) -> Iterator["Record"]:
            seen: set[str] = set()
            for record in records:
                if record.source not in seen and not record.fault:
                    seen.add(record.source)
                    name = self.input_format or by_extension("input", record.source)
                    if name in TABLES and record.fields.keys().isdisjoint(WITHOUT_TEXT):
                        try:
                            lookup(record.fields, self.text_field, "--text-field")
                            if self.pair_field:
                                lookup(record.fields, self.pair_field, "--pair-field")
                        except RecordError as error:
                            is_odd = name == "csv" and not all(map(NAME.fullmatch, record.fields))
                            hint = HEADLESS if is_odd or name == "tsv" else ""
                            if is_odd and len(record.fields) == 1:
                                hint = " --delimiter says what parts the columns of CSV."
                            elif name == "tsv" and any(column.startswith('"') for column in record.fields):
                                hint = " --input-format csv reads what is in quotation marks."
                            raise UsageError(f"{record.source}: {error}{hint}") from None
                yield record

        return checked(read(files, **self.read_options._asdict(), shard=shard, note=messages.note, headed=headed))


def _messages() -> Messages:
    context = click.get_current_context(silent=True)  # None in an actor of Ray's
    return (context and context.find_object(Messages)) or Messages()


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RunOptions(InputOptions, Options, Request, Batching):
    """The options of a command that runs a model on records."""

    files: tuple[str, ...] = option((), is_argument=True, type=PATH, more=MANY)

    def write_missing_onnx(self, messages: Messages, records: Iterator["Record"]) -> Iterator["Record"]:
        """Write the ONNX file that --backend needs and the model lacks into the cache; returns all the records.

        The int8 scales are measured on the files of --calibrate, else on the first records.
        """
        if self.calibrate and self.precision != "int8":
            raise UsageError("--calibrate measures the scales of int8, so it needs --precision int8.")
        if self.backend not in OF_ONNX:
            return records
        from bertcli.export import write_missing

        return write_missing(self, self, records, self.open(self.calibrate) if self.calibrate else None, messages.note)


def label_map(value: Any) -> dict[str, str]:
    """From `A=B,C=`, or a file of such pairs: JSON, YAML, or one a line; --config gives a mapping."""
    is_file = isinstance(value, str) and os.path.isfile(value)  # noqa: PTH113 - Path's raises for a long list
    try:
        pairs = read_yaml(value) if is_file else value
    except UsageError as error:  # also where all lines are pairs, such as `@user=NAME`
        content = Path(value).read_bytes().splitlines()
        if isinstance(error.__cause__, UnicodeError) or not all(b"=" in line for line in content if line.strip()):
            raise
        pairs = None
    if isinstance(pairs, Mapping):
        return {str(old): "" if new is None else str(new) for old, new in pairs.items()}
    lines = Path(value).read_text(encoding="utf-8-sig").splitlines() if is_file else str(value).split(",")
    split = [tuple(part.strip() for part in line.partition("=")) for line in lines if line.strip()]
    if wrong := next((pair for pair in split if not (pair[0] and pair[1])), None):
        raise ValueError(f"'{wrong[0]}' is neither OLD=NEW, nor `OLD=`, which leaves OLD out, nor a file.")
    return {old: new for old, _, new in split}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LabelledInputOptions(InputOptions):
    """How labelled records are read."""

    map_labels: Mapping[str, str] | None = option(
        None,
        "Rename labels or entity types; C= leaves C out. Or a file of them: JSON, YAML, or one a line.",
        "A=B,C=|FILE",
        type=Parsed("LABELS", label_map),
        group="data",
    )


def require_different(outputs: Mapping[str, str | None], inputs: Iterable[str] = ()) -> None:
    """Raise UsageError if two outputs are one file, or an output is an input. outputs: paths by option."""
    seen: dict[str, str] = {}
    for option_name, path in outputs.items():
        if not path or path.startswith("/dev/"):
            continue
        real = os.path.realpath(path)
        if real in seen:
            raise UsageError(f"{seen[real]} and {option_name} both name {path}; give each a file of its own.")
        seen[real] = option_name
        if os.path.exists(path) and any(os.path.samefile(path, name) for name in filter(os.path.exists, inputs)):  # noqa: PTH110, PTH121 - Path's raise for a long name
            raise UsageError(f"{option_name} {path}: it is the input, and is not replaced; name another.")


def require_beside(options: Any, others: Mapping[str, str]) -> None:
    """Raise UsageError if an option is set, but not the option without which it does nothing.

    others: {"address": "engine ray"} says that --address does nothing without --engine ray.
    """
    defaults = {field.name: field.default for field in fields(options)}
    for name, other in others.items():
        beside = other.partition(" ")[0]
        if getattr(options, name) != defaults[name] and getattr(options, beside) == defaults[beside]:
            raise UsageError(f"--{name.replace('_', '-')} does nothing without --{other.replace('_', '-')}.")


# -- long runs


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ReportOptions:
    """The page of --report."""

    report: str | None = option(None, "HTML page of curves, tables and examples to search.", "FILE", type=PATH)

    def require_page(self, output: str | None = None) -> None:
        """Raise UsageError if the page cannot be written. Called before the run, which may take hours.

        output: the directory that the run will make.
        """
        if self.report:
            from bertcli.data.sinks import require_writable
            from bertcli.report import require_replaceable

            require_replaceable(self.report)
            folder = Path(self.report).parent
            if folder.is_dir() or not output or folder != Path(output):
                require_writable(self.report)

    def write_page(self, messages: Messages, page: "Report") -> None:
        """Write the page, if --report asks for it."""
        if self.report:
            from bertcli.data.sinks import write_file
            from bertcli.report import render

            write_file(self.report, render(page))
            messages.note(f"report: {self.report}")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TrainingOptions(ReportOptions):
    """The options of a training that are not settings of its result: where, on what, and how."""

    output: str = option(REQUIRED, "Where the model goes.", "DIR", flags="-o", type=PATH)
    device: str = like(Request, "device")
    threads: int | None = like(Request, "threads")
    resume: bool = option(False, "Finish the run in DIR, to the same weights.")
    overwrite: bool = option(False, "Replace what is in DIR.")
    cache: Path | None = option(
        None,
        "Keeps tokenised corpora and teachers' answers.  [default: ~/.cache/bertcli]",
        "DIR",
        type=click.Path(file_okay=False, path_type=Path),
        group="data",
    )
    track: Literal["tensorboard"] | None = option(
        None, "Send losses and metrics there too; DIR/log.jsonl has them anyway.", group="output"
    )

    def saved(self) -> Mapping[str, object]:
        """The options that bertcli.yaml keeps, by name: all but NOT_SAVED."""
        return {name: value for name, value in by_name(self).items() if name not in NOT_SAVED}

    def write_training_page(
        self, messages: Messages, saved: "Saved", facts: Mapping[str, object], evaluation: "Evaluation | None" = None
    ) -> None:
        """Write the page of a training. facts: by name; None is left out. evaluation: on the dev data."""
        if not self.report:
            return
        from bertcli.report import Report
        from bertcli.training.checkpoint import LOG

        known = {name: value for name, value in facts.items() if value is not None}
        title = saved.path.resolve().name
        self.write_page(messages, Report(title, evaluation, saved.path / LOG, saved.metrics or {}, known))


def until_stopped(stop: "Stop", records: Iterable["Record"]) -> Iterator["Record"]:
    """The same records. Raises Interrupted after a signal, for callers that do not look at `stop` themselves."""
    for record in records:
        if stop.signum is not None:
            raise Interrupted(stop.signum)
        yield record


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RawTextOptions:
    """How raw text is read."""

    corpus: tuple[str, ...] = option(REQUIRED, is_argument=True, type=PATH)
    text_field: str = option(
        "text",
        "Field or column with the text of JSONL and of tables, where a record is a document; a.b goes inside.",
        "NAME",
        group="data",
    )
    document_per: Literal["blank-line", "file", "line"] = option(
        "blank-line", "What parts the documents of plain text.", group="data"
    )
    encoding: str = option("utf-8", "Encoding of the text.", group="data")
    on_error: Literal["skip", "fail"] = option(
        "skip", "A line or record that cannot be read: left out and counted, or the end of the run.", group="data"
    )

    def source(self) -> "Source":
        """The files, how to read them, and what to do at a fault. Raises UsageError for a name without a file."""
        from bertcli.pretraining.source import Source, expand

        return Source(
            expand(self.corpus), self.text_field, self.encoding, self.document_per, skip_faults=self.on_error == "skip"
        )
