"""Options that several commands have, and how they open their input.

Imports nothing heavy, for --help. Try: bertcli predict --help
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from bertcli.cli.config import read_yaml
from bertcli.cli.terminal import Voice, announce_terminal
from bertcli.data.formats import INPUT, by_extension
from bertcli.errors import RecordError, UsageError
from bertcli.inference.settings import OF_ONNX, Request, Settings
from bertcli.option import like, option
from bertcli.tasks.options import Options

if TYPE_CHECKING:
    from bertcli.data.readers import Manner, Shard
    from bertcli.data.records import Record


def expanded(_ctx: click.Context, _param: click.Parameter, paths: tuple[str, ...]) -> tuple[str, ...]:
    """A click callback: the files that the names given to an option stand for, directories and patterns too."""
    from bertcli.data.readers import expand

    files = expand(paths)
    texts = {f"{file.removesuffix('.ann')}.txt" for file in files if file.endswith(".ann")}  # brat's, read with these
    return tuple(file for file in files if file not in texts)


PATH = click.Path()
MANY = {"callback": expanded}
TABLES = ("csv", "tsv", "parquet", "arrow")  # formats whose records all have the same fields
NAME = re.compile(r"[\w .-]*")  # of a column; one with other marks may be a whole header


@dataclass(frozen=True, kw_only=True)
class Files:
    """What is read."""

    files: tuple[str, ...] = option((), is_argument=True, type=PATH, more=MANY)


@dataclass(frozen=True, kw_only=True)
class Formatted:
    """What a command prints once, at its end."""

    output_format: Literal["rich", "json"] | None = option(
        None, "[default: rich on a terminal, else json]", flags="-f --format", group="output"
    )


@dataclass(frozen=True, kw_only=True)
class Reading:
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
    def manner(self) -> "Manner":
        """How `read` and `count_before` are to read. Raises UsageError for a delimiter that is none."""
        from bertcli.data.readers import Manner

        delimiter = {"tab": "\t", "\\t": "\t"}.get(self.delimiter or "", self.delimiter)
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n' or not delimiter.isascii()):
            raise UsageError(f"--delimiter '{self.delimiter}': write one character, as in --delimiter ';', or tab.")
        columns = [name.strip() for name in self.columns.split(",")] if self.columns else None
        return Manner(self.input_format, self.encoding, columns, delimiter, self.text_field)

    def labelled(self, files: Sequence[str]) -> Iterator["Record"]:
        """As `open`, without the records that a labelling tool says have no label; warns how many these are."""
        records, voice = self.open(files), click.get_current_context().find_object(Voice) or Voice()

        def kept() -> Iterator["Record"]:
            left, first = 0, ""
            for record in records:
                if record.unlabelled is None:
                    yield record
                else:
                    left, first = left + 1, first or f"{record.location}: {record.unlabelled}"
            if left:
                voice.warn(f"{left:,} records without a label are left out; the first: {first}")

        return kept()

    def open(self, files: Sequence[str], shard: "Shard | None" = None) -> Iterator["Record"]:
        """The records of files or stdin. Raises UsageError at once for what cannot be read, or later for a table.

        A table without the field that an option names is one mistake, not one for each of its rows.
        """
        from bertcli.data.readers import read
        from bertcli.data.records import lookup

        if not files or "-" in files:
            announce_terminal()

        def checked(records: Iterator["Record"]) -> Iterator["Record"]:
            seen: set[str] = set()
            for record in records:
                if record.source not in seen and not record.fault:
                    seen.add(record.source)
                    is_table = (self.input_format or by_extension("input", record.source)) in TABLES
                    if is_table and "context" not in record.fields:
                        try:
                            lookup(record.fields, self.text_field, "--text-field")
                            if self.pair_field:
                                lookup(record.fields, self.pair_field, "--pair-field")
                        except RecordError as error:
                            is_whole = len(record.fields) == 1 and not all(map(NAME.fullmatch, record.fields))
                            hint = " --delimiter says what parts the columns of CSV." if is_whole else ""
                            raise UsageError(f"{record.source}: {error}{hint}") from None
                yield record

        voice = click.get_current_context().find_object(Voice) or Voice()
        return checked(read(files, **self.manner._asdict(), shard=shard, note=voice.note))


@dataclass(frozen=True, kw_only=True)
class Running(Files, Reading, Options, Request, Settings):
    """What is asked of a run of a model on records."""

    def complete(self, voice: Voice, records: Iterator["Record"]) -> Iterator["Record"]:
        """Write the ONNX file that --backend asks for and the model lacks into the cache; returns all the records.

        The scales of int8 are measured on the first of them, or on the files of --calibrate.
        """
        if self.calibrate and self.precision != "int8":
            raise UsageError("--calibrate measures the scales of int8, so it needs --precision int8.")
        if self.backend not in OF_ONNX:
            return records
        from bertcli.export.cached import complete

        return complete(self, self, records, self.open(self.calibrate) if self.calibrate else None, voice.note)


class LabelMap(click.ParamType[Any]):
    """`A=B,C=`, or a file of such pairs: JSON, YAML, or one a line."""

    name = "LABELS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        """Parse it; a mapping comes from a config file as it is."""
        is_file = isinstance(value, str) and os.path.isfile(value)  # noqa: PTH113 - Path's raises for a long list
        pairs = read_yaml(value) if is_file else value
        if isinstance(pairs, Mapping):
            return {str(old): "" if new is None else str(new) for old, new in pairs.items()}
        lines = Path(value).read_text(encoding="utf-8").splitlines() if is_file else str(value).split(",")
        split = [tuple(part.strip() for part in line.partition("=")) for line in lines if line.strip()]
        if wrong := next((pair for pair in split if not (pair[0] and pair[1])), None):
            self.fail(f"'{wrong[0]}' is neither OLD=NEW, nor `OLD=`, which leaves OLD out, nor a file.", param, ctx)
        return {old: new for old, _, new in split}


@dataclass(frozen=True, kw_only=True)
class Labelled(Reading):
    """How labelled records are read."""

    map_labels: Mapping[str, str] | None = option(
        None,
        "Rename labels or entity types; C= leaves C out. Or a file of them: JSON, YAML, or one a line.",
        "A=B,C=|FILE",
        type=LabelMap(),
        group="data",
    )


def require_different(outputs: Mapping[str, str | None], inputs: Iterable[str] = ()) -> None:
    """Raise UsageError where two outputs, by their options, are one file, or one is an input; before the run."""
    seen: dict[str, str] = {}
    for option_name, path in outputs.items():
        if not path or path.startswith("/dev/"):
            continue
        real = os.path.realpath(path)
        if real in seen:
            raise UsageError(f"{seen[real]} and {option_name} both name {path}; give each a file of its own.")
        seen[real] = option_name
        if Path(path).exists() and any(Path(path).samefile(name) for name in inputs if Path(name).exists()):
            raise UsageError(f"{option_name} {path}: it is the input, and is not replaced; name another.")
