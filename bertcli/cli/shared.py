"""Options that several commands have, each written once: its type, its flags and its help, and how input is opened.

A command lists them in its dataclass, as `model: shared.Model`. Where click needs no more, the choices are those of the
type. Imports nothing heavy, for --help. Try: bertcli predict --help
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import click

from bertcli import registry
from bertcli.cli.options import argument, option
from bertcli.cli.terminal import Voice
from bertcli.device import KINDS
from bertcli.errors import RecordError, UsageError
from bertcli.tasks.base import Language as Languages
from bertcli.tasks.base import Scheme as Schemes
from bertcli.tokenizer import Long as LongTexts
from bertcli.training.settings import Problem as Problems
from bertcli.training.settings import Schedule as Schedules

if TYPE_CHECKING:
    from bertcli.data.records import Record
    from bertcli.data.shards import Shard
    from bertcli.evaluation.results import Evaluation
    from bertcli.pretraining.source import Source
    from bertcli.report.page import Report as Page
    from bertcli.training.run import Saved

COUNT = click.IntRange(1)
SHARE = click.FloatRange(0, 1)
PATH = click.Path()


class Number(click.ParamType[Any]):
    """A number, or `auto`."""

    name = "NUMBER|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse it."""
        try:
            return value if value == "auto" else float(value)
        except ValueError:
            self.fail(f"'{value}' is neither a number nor `auto`.", param, ctx)


def _task_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Turn a task's alias into its name."""
    return value if value is None else str(registry.load("tasks", value).Task.name)


TASK = option(
    "-t",
    metavar="TASK",
    callback=_task_name,
    show_default=False,
    help=f"One of {', '.join(registry.names('tasks'))}; needed only where the model does not say.",
    shell_complete=lambda ctx, param, incomplete: [n for n in registry.names("tasks") if n.startswith(incomplete)],
)

# What is read.
Files = Annotated[tuple[str, ...], argument(type=PATH)]
TextField = Annotated[str, option(metavar="NAME", help="Field or column with the text; a.b goes inside.")]
PairField = Annotated[str | None, option(metavar="NAME", help="Field with the second text of a pair.")]
InputFormat = Annotated[
    str | None,
    option(type=click.Choice(registry.names("data/input_formats")), help="[default: by file extension, else lines]"),
]
Columns = Annotated[
    str | None, option(metavar="NAMES", help="Comma-separated names for a CSV or TSV file without a header.")
]
Encoding = Annotated[str, option(help="Encoding of the input.")]
LabelField = Annotated[str, option(metavar="NAME", help="Field with the label or labels.")]
LabelSeparator = Annotated[str, option(metavar="TEXT", help="Between several labels in one CSV or TSV cell.")]
Scheme = Annotated[
    Schemes,
    option(help="How the data's entity tags are written; auto reads all of these, the others refuse what differs."),
]
Problem = Annotated[
    Problems, option(help="auto: lists are several labels, decimal numbers regression, else one label.")
]

# What is asked of a task.
Model = Annotated[
    str | None, option("-m", metavar="MODEL", help="Model directory or Hub name.  [default: the embedded model]")
]
Task = Annotated[str | None, TASK]
Threshold = Annotated[
    float | None, option(type=SHARE, help="Least score for a label to be given.  [default: 0.5 for multi-label]")
]
Mask = Annotated[str | None, option(metavar="TOKEN", help="Accept this for the model's own mask token.")]
Question = Annotated[str | None, option(metavar="TEXT", help="Ask this of every record; its text is the context.")]
Language = Annotated[Languages, option(help="Compare answers as SQuAD (en) or CMRC 2018 (zh) does; auto: by the text.")]
Long = Annotated[
    LongTexts,
    option(help="Texts over the model's length: overlapping windows, a cut that is reported, or an error record."),
]

# Where it is computed.
Backend = Annotated[
    str,
    option(
        type=click.Choice(["auto", *registry.names("backends")]),
        help="Inference engine; auto takes onnx on a CPU when the model has ONNX files.",
    ),
]
Device = Annotated[str, option(type=click.Choice(KINDS), help="Where to compute.")]
Threads = Annotated[int | None, option(type=COUNT, metavar="N", help="CPU threads.  [default: all cores]")]
Precision = Annotated[
    str,
    option(
        type=click.Choice(["auto", "int8", "bf16", "fp32"]),
        help="auto: int8 with ONNX where there is such a file, bf16 on a GPU, else fp32.",
    ),
]
BatchTokens = Annotated[int, option(type=COUNT, help="Most tokens in a batch.")]

# What is written.
FORMAT = option("-f", "--format", help="[default: rich on a terminal, else json]")
Format = Annotated[Literal["rich", "json"] | None, FORMAT]
FormatOrJson = Annotated[
    Literal["rich", "json"] | None, FORMAT, option("--json", flag_value="json", type=str, help="As --format json.")
]
Report = Annotated[
    str | None,
    option(
        type=PATH,
        metavar="FILE",
        help="Write an HTML page that needs no network: curves, tables, and examples to search.",
    ),
]

# What trainings have.
Output = Annotated[str, option("-o", type=PATH, metavar="DIR", help="Where the model goes.")]
LearningRate = Annotated[float, option(type=click.FloatRange(0, min_open=True), help="Highest learning rate.")]
Schedule = Annotated[Schedules, option(help="How the learning rate falls to 0.")]
Warmup = Annotated[float, option(type=SHARE, help="Share of the steps in which the learning rate rises.")]
Accumulate = Annotated[int, option(type=COUNT, help="Batches in a step of the optimiser.")]
WeightDecay = Annotated[
    float, option(type=click.FloatRange(0), help="AdamW's weight decay, not on biases and LayerNorm.")
]
ClipNorm = Annotated[float, option(type=click.FloatRange(0), help="Largest norm of the gradients.")]
Seed = Annotated[int, option(type=click.IntRange(0), help="Seed of everything random.")]
Resume = Annotated[bool, option(help="Continue the unfinished run in DIR, to the same weights.")]
Overwrite = Annotated[bool, option(help="Replace what is in DIR.")]
Track = Annotated[
    Literal["tensorboard"] | None, option(help="Send losses and metrics there too; DIR/log.jsonl has them anyway.")
]

# What the raw text of pretrain and tokenizer train has.
CorpusFiles = Annotated[tuple[str, ...], argument(type=PATH, required=True)]
CorpusTextField = Annotated[
    str,
    option(
        metavar="NAME",
        help="Field or column with the text of JSONL, CSV and TSV, where a record is a document; a.b goes inside.",
    ),
]
DocumentPer = Annotated[Literal["blank-line", "file", "line"], option(help="What parts the documents of plain text.")]
CorpusEncoding = Annotated[str, option(help="Encoding of the text.")]
OnFault = Annotated[
    Literal["skip", "fail"],
    option("--on-error", help="A line or record that cannot be read: left out and counted, or the end of the run."),
]
Lowercase = Annotated[
    bool,
    option(
        "--uncased/--cased",
        help="Whether a vocabulary that is trained drops case and accents as BERT's does.  [default: uncased]",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What records are read by."""

    text_field: str = "text"
    pair_field: str | None = None
    input_format: str | None = None
    columns: str | None = None
    encoding: str = "utf-8"

    @property
    def names(self) -> Sequence[str] | None:
        """Those of a table's columns, where --columns says them."""
        return self.columns.split(",") if self.columns else None

    def open(self, files: Sequence[str], shard: "Shard | None" = None) -> Iterator["Record"]:
        """The records of files or stdin. Raises UsageError at once for what cannot be read, or later for a table.

        A table without the field that an option names is one mistake, not one for each of its rows.
        """
        from bertcli.data import formats
        from bertcli.data.readers import read
        from bertcli.data.records import lookup

        def checked(records: Iterator["Record"]) -> Iterator["Record"]:
            seen: set[str] = set()
            for record in records:
                if record.source not in seen and not record.fault:
                    seen.add(record.source)
                    is_table = (self.input_format or formats.by_extension("input", record.source)) in ("csv", "tsv")
                    if is_table and "context" not in record.fields:
                        try:
                            lookup(record.fields, self.text_field, "--text-field")
                            if self.pair_field:
                                lookup(record.fields, self.pair_field, "--pair-field")
                        except RecordError as error:
                            raise UsageError(f"{record.source}: {error}") from None
                yield record

        return checked(
            read(files, input_format=self.input_format, encoding=self.encoding, columns=self.names, shard=shard)
        )


@dataclass(frozen=True, kw_only=True)
class RawText:
    """What raw text is read by."""

    corpus: tuple[str, ...]
    text_field: str = "text"
    document_per: Literal["blank-line", "file", "line"] = "blank-line"
    encoding: str = "utf-8"
    on_error: Literal["skip", "fail"] = "skip"

    def source(self) -> "Source":
        """Files, how they are read, and what happens at a fault. Raises UsageError for what names no file."""
        from bertcli.data.documents import expand, read
        from bertcli.pretraining.source import Source

        documents = partial(read, text_field=self.text_field, encoding=self.encoding, per=self.document_per)
        chosen = {"text_field": self.text_field, "encoding": self.encoding, "document_per": self.document_per}
        return Source(expand(self.corpus), documents, chosen, self.on_error == "skip")


def require_page(report: str | None, output: str | None = None) -> None:
    """Raise UsageError where --report names a file that cannot be written; before the run, not after it.

    output: the directory that the run will make.
    """
    if report:
        from bertcli.data.sinks import demand_writable
        from bertcli.report.page import require_replaceable

        require_replaceable(report)
        folder = Path(report).parent
        if folder.is_dir() or not output or folder != Path(output):
            demand_writable(report)


def write_page(voice: Voice, path: str, page: "Page") -> None:
    """Write the HTML page of --report."""
    from bertcli.report.page import render, write

    write(path, render(page))
    voice.note(f"report: {path}")


def write_training_page(
    voice: Voice, path: str, saved: "Saved", facts: Mapping[str, object], evaluation: "Evaluation | None" = None
) -> None:
    """Write the HTML page of a training run: its curves, facts of it, and its dev data where they were scored."""
    from bertcli.report.page import Report
    from bertcli.training.run import LOG

    title, log = saved.path.resolve().name, saved.path / LOG
    write_page(voice, path, Report(title, evaluation, log, saved.metrics or {}, facts))
