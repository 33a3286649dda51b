r"""Results out: to stdout or a file, in any format of output_formats/.

An output format is a module with EXTENSIONS and

    def formatter(terminal: TextIO | None, optional: Sequence[str]) -> Formatter

Bytes are kept here, not in a buffer of Python's, and leave in one write per flush: what a full disk refused is not
tried again when the interpreter exits.

    python -c 'from bertcli.data.writers import open_writer as o
    with o(None, "csv") as w: w.write({"text": "a, b", "label": "positive"})'
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from bertcli.data.formats import by_extension, load
from bertcli.data.records import Record
from bertcli.data.results import error_result, is_error
from bertcli.data.sinks import Sink, open_sink
from bertcli.errors import BertcliError, RecordError, UsageError


class Formatter(Protocol):
    """Turns results into text, or into bytes. terminal: stdout where the text goes there; optional: see open_writer."""

    def record(self, result: Mapping[str, Any]) -> str | bytes:
        """The text of one result, its line end included; RecordError if the format cannot hold it."""

    def end(self) -> str | bytes:
        """The text that closes the stream."""


@runtime_checkable
class Headed(Protocol):
    """A formatter whose first bytes depend on all that follows; `record` has left room for them."""

    def header(self) -> bytes:
        """Those bytes."""


def open_writer(path: str | None, output_format: str | None = None, *, optional: Sequence[str] = ()) -> "Writer":
    """A writer to a file or, for None and "-", to stdout; use it in a `with`.

    output_format: else by the file's extension; else rich on a terminal and jsonl anywhere else. optional: result
    fields that only some records have (`windows`): a table gives them a column from the start. A regular file appears
    under its name when it is complete, or not at all; .gz, .bz2 and .xz are compressed. Raises UsageError for an
    unknown format or a place that cannot be written.
    """
    if path in ("-", "/dev/stdout"):
        path = None
    terminal = sys.stdout if path is None else None
    if output_format is None:
        is_terminal = terminal is not None and terminal.isatty()
        output_format = "rich" if is_terminal else by_extension("output", path or "") or "jsonl"
    formatter: Formatter = load("output", output_format).formatter(terminal, optional)
    sink = open_sink(path)
    if isinstance(formatter, Headed) and not sink.seekable:
        sink.discard()
        raise UsageError(f"{output_format} is written to a regular file, uncompressed; {path} is none")
    return Writer(formatter, sink)


class Writer:
    """Writes results in order; nothing leaves before flush().

    failures: how many results the format could not hold, each replaced by an error result in its place.
    """

    def __init__(self, formatter: Formatter, sink: Sink) -> None:
        self.failures = 0
        self._formatter = formatter
        self._sink = sink
        self._pending: list[bytes] = []
        self._count = 0  # results given to write()
        self._written = 0  # those whose bytes have left

    def write(self, result: Mapping[str, Any], record: Record | None = None) -> None:
        """Add one result. `record` gives the place to name if the format cannot hold it."""
        try:
            text = self._formatter.record(result)
        except RecordError as error:
            if is_error(result):
                raise
            self.failures += 1
            text = self._formatter.record(self._failure(error, record))
        self._pending.append(_bytes(text))
        self._count += 1

    def write_many(self, results: Iterable[Mapping[str, Any]]) -> None:
        """Add the results of a window."""
        for result in results:
            self.write(result)

    def flush(self) -> None:
        """Send what was added, in one write. Raises BertcliError if it cannot be written, and drops it."""
        data = b"".join(self._pending)
        self._pending.clear()
        if data:
            self._send(data)
        self._written = self._count

    def close(self) -> None:
        """Flush, and give a file its final name. Raises BertcliError if that fails; the file is then not made."""
        try:
            self._finish()
        except BaseException:
            self._sink.discard()
            raise
        try:
            self._sink.commit()
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close. After an exception stdout gets what was finished, and a file is not made."""
        if kind is None:
            self.close()
            return
        try:
            if self._sink.streams:
                self._finish()
        finally:
            self._sink.discard()

    def _finish(self) -> None:
        self._pending.append(_bytes(self._formatter.end()))
        self.flush()
        if isinstance(self._formatter, Headed):
            self._sink.overwrite(self._formatter.header())

    def _failure(self, error: RecordError, record: Record | None) -> dict[str, Any]:
        if record is None:
            return error_result(self._count, self._count + 1, str(error))
        return error_result(record.index, record.line, str(error))

    def _send(self, data: bytes) -> None:
        try:
            self._sink.write(data)
        except BrokenPipeError:
            raise  # the reader has left: no fault of this run
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> BertcliError:
        rest = f"{self._written} records were written" if self._sink.streams else "the file was not made"
        return BertcliError(f"cannot write to {self._sink.name}: {error.strerror or error}; {rest}")


def _bytes(text: str | bytes) -> bytes:
    # in JSON the \udc80 of backslashreplace is the escape for just that surrogate; elsewhere it is readable
    return text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
