"""The formats that are read and written, by name: which function or class each is, and which a file's name asks for.

A format is a function here, `read(source, columns)`, or a `Formatter`, in a module that knows it, and an entry in the
table of its direction: only the format that a run needs is imported. `read` gives a Record for each of the source's,
with `fields` and `line`, or `line` and `fault` for what cannot be read (readers.py sets index and source); `unlabelled`
says why one has no label to learn from, where the format has a word for it. Only what makes the whole input unusable is
a UsageError. columns: names given by the user, where the format has any.

Try: python -c 'from bertcli.data.formats import by_extension; print(by_extension("input", "train.iob2.xz"))'
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TextIO

from bertcli.data.compression import extension
from bertcli.errors import UsageError

if TYPE_CHECKING:
    from bertcli.data.records import Header, Record

Direction = Literal["input", "output"]


class Format(NamedTuple):
    """address: where in this folder it is. extensions: that name it besides its own.

    Of an input format: is_whole, a file is one piece, of which no process reads a part; is_by_line, reading may begin
    at any line; is_table, it is no text but rows, which table_reader.py counts: `read` takes the first row of a shard,
    and that after the last, too.
    """

    address: str
    extensions: tuple[str, ...] = ()
    is_whole: bool = False
    is_by_line: bool = False
    is_table: bool = False


INPUT = {
    "arrow": Format("table_reader.read_arrow", (".feather", ".arrows", ".ipc"), is_table=True),
    "brat": Format("brat.read", (".ann",), is_whole=True),
    "cluener": Format("labelling.read_cluener"),
    "conll": Format(
        "conll.read",
        (".conllu", ".conllup", ".gold_conll", ".v4_gold_conll", ".iob", ".iob2", ".bio", ".bioes", ".bmes"),
    ),
    "csv": Format("csv.read_csv"),
    "doccano": Format("labelling.read_doccano"),
    "document": Format("lines.read_document", is_whole=True),
    "jsonl": Format("jsonl.read", (".ndjson", ".json"), is_by_line=True),
    "label-studio": Format("labelling.read_label_studio"),
    "lines": Format("lines.read", (".txt", ".text"), is_by_line=True),
    "parquet": Format("table_reader.read_parquet", (".pq", ".parq"), is_table=True),
    "prodigy": Format("labelling.read_prodigy"),
    "squad": Format("jsonl.read_squad", is_whole=True),
    "tsv": Format("csv.read_tsv", (".tab",)),
    "webanno": Format("webanno.read"),
}
OUTPUT = {
    "arrow": Format("table_writer.ArrowFormatter", (".feather", ".ipc")),
    "brat": Format("brat.Formatter", (".tar",)),
    "conll": Format("conll.Formatter", (".iob2",)),
    "csv": Format("csv.CsvFormatter"),
    "doccano": Format("labelling.DoccanoFormatter"),
    "jsonl": Format("jsonl.Formatter", (".ndjson", ".json")),
    "label-studio": Format("labelling.LabelStudioFormatter"),
    "npy": Format("npy.Formatter"),
    "parquet": Format("table_writer.ParquetFormatter", (".pq", ".parq")),
    "prodigy": Format("labelling.ProdigyFormatter"),
    "rich": Format("rich.Formatter"),
    "tsv": Format("csv.TsvFormatter", (".tab",)),
}
FORMATS = {"input": INPUT, "output": OUTPUT}


def load(direction: Direction, name: str) -> Any:
    """The function `read`, or class, of one format; an unknown name is a UsageError."""
    formats = FORMATS[direction]
    if name not in formats:
        raise UsageError(f"no {direction} format '{name}'; there are: {', '.join(formats)}")
    module, _, attribute = formats[name].address.partition(".")
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def by_extension(direction: Direction, path: str) -> str | None:
    """The format that a file's name asks for, or None."""
    suffix = extension(path)
    names = (name for name, format_ in FORMATS[direction].items() if suffix in (f".{name}", *format_.extensions))
    return next(names, None)


def output_format_of(path: str) -> str:
    """The output format of a file that is written: by its extension, jsonl without one. Raises UsageError.

    A number is no extension: `part.7` is a piece of JSON lines.
    """
    suffix = extension(path)
    name = by_extension("output", path)
    if name is None and suffix and not suffix[1:].isdigit() and not path.startswith(("/dev/", "/proc/")):
        names = ", ".join(OUTPUT)
        raise UsageError(f"cannot write {path}: no output format has the ending {suffix}; --format says which: {names}")
    return name or "jsonl"


@dataclass(eq=False)
class BaseFormatter(ABC):
    """Turns results into text, or into bytes, one after the other.

    terminal: stdout where the text goes there, else None. optional: result fields that only some records have.
    text_field: where the records have their text. first_index: how many records others before this output have, if some
    do. first: of several outputs that are one, the first result of all. input_header: known at the end: of the input's
    first table, if it has one. example: a value of each field that a result may have, where that is known.
    """

    terminal: TextIO | None = None
    optional: Sequence[str] = ()
    text_field: str = "text"
    first_index: Callable[[], int] | None = None
    first: Mapping[str, Any] | None = None
    input_header: "Header | None" = None
    example: Mapping[str, Any] = field(default_factory=dict)

    # Names of the attributes to which it matters what was written before, as JSON has them: an output that is resumed
    # gets them back.
    REMEMBERED: ClassVar[tuple[str, ...]] = ()
    # Makes the file, in the end, of all that was written, where that is not it yet.
    rewrite: ClassVar[Any] = None  # a Rewrite of sinks.py
    header = b""  # the first bytes, where they depend on all that follows: `add` leaves room for them
    # Sets of fields, of which a task must give one: without them a record's own would be written in their place.
    NEEDS: ClassVar[tuple[Set[str], ...]] = ()
    NO_STDOUT = NO_TERMINAL = ""  # why a regular file is needed, or at least a pipe, where one is

    @property
    def state(self) -> Any:
        """The attributes of REMEMBERED, None without any."""
        return [getattr(self, name) for name in self.REMEMBERED] or None

    @state.setter
    def state(self, state: Any) -> None:
        for name, value in zip(self.REMEMBERED, state, strict=True):
            setattr(self, name, value)

    @abstractmethod
    def add(self, result: Mapping[str, Any], record: "Record | None" = None) -> str | bytes:
        """The text of the result of a record, its line end included; RecordError if the format cannot hold it."""

    def flush(self) -> bytes:
        """What was held back until now, for a format that writes many results at once."""
        return b""

    def end(self) -> str | bytes:
        """The text that closes the stream."""
        return ""
