"""Options that several commands have, and how they open their input.

Imports nothing heavy, for --help. Try: bertcli predict --help
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from bertcli.cli.terminal import announce_terminal
from bertcli.errors import RecordError, UsageError
from bertcli.option import like, option
from bertcli.tasks.options import Options

if TYPE_CHECKING:
    from bertcli.data.readers import Shard
    from bertcli.data.records import Record

PATH = click.Path()


@dataclass(frozen=True, kw_only=True)
class Files:
    """What is read."""

    files: tuple[str, ...] = option((), is_argument=True, type=PATH)


@dataclass(frozen=True, kw_only=True)
class Formatted:
    """What a command prints once, at its end."""

    output_format: Literal["rich", "json"] | None = option(
        None, "[default: rich on a terminal, else json]", flags="-f --format"
    )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How records are read."""

    text_field: str = like(Options, "text_field")
    pair_field: str | None = like(Options, "pair_field")
    input_format: str | None = option(None, "[default: by file extension, else lines]", room="data/input_formats")
    columns: str | None = option(None, "Comma-separated names for a CSV or TSV file without a header.", "NAMES")
    encoding: str = option("utf-8", "Encoding of the input.")

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

        if not files or "-" in files:
            announce_terminal()

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
