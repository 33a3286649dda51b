r"""Results out: to stdout or a file, in any format of formats/.

Each result goes to the formatter, which makes bytes. A flush sends them to the sink in one write, and then the journal
notes how far the output is. The bytes are in no buffer of Python's, which after a full disk would try to write again
when the interpreter exits. Knows no format.

    python -c 'from bertcli.data.writers import open_writer as o
    with o(None, "csv") as w: w.write({"text": "a, b", "label": "positive"})'
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from bertcli.data import visible
from bertcli.data.formats import BaseFormatter, load, output_format_of
from bertcli.data.journal import Journal, open_journal
from bertcli.data.records import Record, error_result, is_error
from bertcli.data.sinks import Sink, is_special, open_sink
from bertcli.errors import BertcliError, RecordError, UsageError

OnError = Literal["record", "skip", "fail"]  # what stands in the place of a bad record: its error, nothing; or the end


def open_writer(
    path: str | None,
    output_format: str | None = None,
    *,
    optional: Sequence[str] = (),
    example: Mapping[str, Any] | None = None,
    text_field: str = "text",
    run: Mapping[str, Any] | None = None,
    resume: bool = False,
    force: bool = True,
    first_index: Callable[[], int] | None = None,
    first_result: Mapping[str, Any] | None = None,
    on_error: OnError = "record",
    has_files: bool = False,
) -> "Writer":
    """A writer to a file or, for None and "-", to stdout; use it in a `with`.

    output_format: else by the file's extension; else rich on a terminal and jsonl anywhere else. optional: result
    fields that only some records have (`windows`): a table gives them a column from the start. example: a value
    of each field that a result may have besides those of its record: some formats ask for its type. text_field: where
    the records have their text, for labelling tools. A regular file appears under its name when it is complete, or not
    at all; .gz, .bz2 and .xz are compressed. run: what tells this run apart from others; with it a file has a journal,
    from which `resume` goes on. force: a file there is replaced. first_index: for an output that continues others, the
    index of the first record in the whole. first_result: of the whole, whose fields are the columns of a table; {} for
    errors alone. has_files: whether errors name the file too. Raises UsageError for an unknown format or a path that
    cannot be written.
    """
    if path in ("-", "/dev/stdout"):
        path = None
    terminal = sys.stdout if path is None else None
    is_terminal = terminal is not None and terminal.isatty()
    if output_format is None:
        output_format = "rich" if is_terminal else output_format_of(path or "")
    class_: type[BaseFormatter] = load("output", output_format)
    for refusal in (class_.NO_STDOUT if terminal is not None else "", class_.NO_TERMINAL if is_terminal else ""):
        if refusal:
            raise UsageError(refusal)
    formatter = class_(terminal, optional, text_field, first_index, first_result, example=example or {})
    if example is not None and class_.NEEDS and not any(needed <= example.keys() for needed in class_.NEEDS):
        needed = " or ".join(" and ".join(sorted(names)) for names in class_.NEEDS)
        raise UsageError(f"{output_format} holds results with {needed}, and this task's have none; use --format jsonl")
    if path is not None and run is not None and not is_special(path):
        journal, sink = open_journal(path, run, resume=resume, force=force, rewrite=formatter.rewrite)
    elif resume:
        raise UsageError("--resume needs a regular file to go on with: -o FILE")
    else:
        journal, sink = Journal(), open_sink(path, rewrite=formatter.rewrite)
    if (formatter.header or formatter.rewrite) and not sink.seekable:
        sink.discard()
        journal.close(failed=True)
        raise UsageError(f"{output_format} is written to a regular file, uncompressed; {path} is none")
    if journal.begin.state is not None:
        formatter.state = journal.begin.state
    is_watched = is_terminal and output_format != "rich"
    return Writer(formatter, sink, journal, first_index, is_watched, on_error, has_files)


@dataclass(eq=False)
class Writer(AbstractContextManager["Writer"]):
    """Writes results in order; nothing leaves before flush(), unless an archive has a whole block.

    is_watched: whether the bytes go to a terminal, which would obey escape sequences. failures: how many results the
    format could not hold; an error result is in the place of each.
    """

    formatter: BaseFormatter
    sink: Sink
    journal: Journal
    first_index: Callable[[], int] | None = None
    is_watched: bool = False
    on_error: OnError = "record"
    has_files: bool = False
    failures: int = 0
    _pending: list[bytes] = field(default_factory=list)
    _size: int = 0  # bytes that are pending
    _count: int = 0  # results given to write()
    _written: int = 0  # those whose bytes have left

    def write(self, result: Mapping[str, Any], record: Record | None = None) -> None:
        """Add one result. `record` gives the place to name if the format cannot hold it."""
        try:
            text = self.formatter.add(result, record)
        except RecordError as error:
            if is_error(result):
                raise
            self.failures += 1
            self.journal.fail(f"{record.location}: {error}" if record else str(error))
            self.write_error(str(error), record)
            return
        if text:
            self._append(text)
        self._count += 1
        if self.sink.block and self._size >= self.sink.block:
            self._send()

    def write_error(self, message: str, record: Record | None) -> None:
        """Add what stands in the place of a record's result, or raise RecordError, as `on_error` says."""
        if self.on_error == "fail":
            raise RecordError(f"{record.location}: {message}" if record else message)
        if self.on_error == "skip":
            return
        if record is None:
            result = error_result(self._count, self._count + 1, message)
        else:
            index = record.index + (self.first_index() if self.first_index else 0)
            result = error_result(index, record.line, message, file=record.source if self.has_files else "")
        self.write(result, record)

    def flush(self) -> None:
        """Send what was added, in one write. Raises BertcliError if it cannot be written, and drops it."""
        if not self.sink.block:
            self._send()

    def close(self) -> None:
        """Flush, and give a file its final name. Raises BertcliError if that fails; the file is then not made."""
        try:
            self._finish()
            self.sink.commit()
        except BaseException as error:
            self._abandon()
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                raise self._cannot_write(error) from error
            raise
        self.journal.close()

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Close. After an exception stdout gets what was finished, and a file is not made."""
        if error is None:
            self.close()
            return
        try:
            if self.sink.streams:
                self._finish()
        finally:
            self._abandon()

    def _append(self, text: str | bytes) -> None:
        if self.is_watched and isinstance(text, str):
            text = visible(text, lines=True)
        # In JSON the \udc80 of backslashreplace is the escape for just that surrogate; elsewhere it is readable.
        data = text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
        self._pending.append(data)
        self._size += len(data)

    def _send(self, complete: bool = False) -> None:
        self._append(self.formatter.flush())
        data = b"".join(self._pending)
        self._pending.clear()
        self._size = 0
        try:
            if data:
                self.sink.write(data)
            self._written = self._count
            if data or complete:
                self.sink.sync()  # the bytes reach the disk before the mark that counts on them
        except BrokenPipeError:
            raise  # the reader has left: no fault of this run
        except OSError as error:
            raise self._cannot_write(error) from error
        if data or complete:
            self.sink.keep = self.journal.mark(self.sink.position, self.formatter.state, complete)

    def _finish(self) -> None:
        self._append(self.formatter.end())
        if self.formatter.header:
            self._send()
            self.sink.overwrite(self.formatter.header)
        self._send(complete=True)

    def _abandon(self) -> None:
        self.sink.discard()
        self.journal.close(failed=True)

    def _cannot_write(self, error: OSError) -> BertcliError:
        if self.sink.streams:
            rest = f"{self._written} records were written"
        else:
            rest = "--resume goes on with what is finished" if self.sink.keep else "the file was not made"
        return BertcliError(f"cannot write to {self.sink.name}: {error.strerror or error}; {rest}")
