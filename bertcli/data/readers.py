r"""Records in: files and stdin, in any format of formats/, as one stream of Record.

What cannot be read becomes a record with a `fault` in its place; only what makes the whole input unusable (a missing
file, a bad header) is a UsageError. Knows no format but for what must be told by the first line: `.json`, which may be
JSON lines or one document; input whose name says nothing, such as stdin's; and what a labelling tool has written, where
a record is that tool's and no one else's.

A shard is a part of the input for each of n processes: a range of bytes of all files, one after the other. A record
belongs to the shard in which its first line begins, so that shards have no record in common, miss none, and their
results one after the other are those of the whole input. Rows of Parquet and Arrow count as if they had as many bytes
each. What cannot be entered in the middle (an archive, a JSON document, an encoding in which a line end may be two
bytes) belongs where its file begins.

    python -c 'from bertcli.data.readers import read; print(*read(["a.csv.gz", "-"]), sep="\n")' < more.txt
"""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from glob import glob
from itertools import dropwhile, islice, takewhile
from pathlib import Path, PurePath
from shlex import quote
from typing import NamedTuple

from bertcli.data.compression import compression, extension
from bertcli.data.formats import INPUT, by_extension, load
from bertcli.data.records import Header, Record
from bertcli.data.streams import LONE_RETURN, Source, check_encoding
from bertcli.errors import UsageError

CHUNK = 1 << 20  # bytes read at once to count line ends: 3 GB/s from the page cache
LINES = "lines"  # the format of a file whose name says none
COLUMNS = {"arrow", "csv", "jsonl", "parquet", "tsv"}  # formats whose records have fields of any name
TABLES = {"csv", "tsv", "conll"}  # formats whose columns may be named
HEAD = 1 << 20  # bytes of a file that tell a labelling tool; of what can be read only once it is the first line
FIRST = 100  # records that are looked at for one
OBJECT = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*:')  # how a line begins that is one of JSON, or was to be
DOCUMENT = re.compile(  # how JSON begins that is no lines of objects
    r'\s*(?:[\[{]\s*$|\[\s*[\[{]\s*"|\[\s*"(?:[^"\\]|\\.)*"\s*(?:,\s*["\[{]|\]\s*$))'
)
WEBANNO_2 = re.compile(r"\s*# [\w.]+ \| ")  # how its versions 1 and 2 begin, which are no table
LINES_OF = {  # how a document begins, and what jq needs to make lines of it: an object, items as spaCy's, rows, texts
    re.compile(r"\s*\{"): ".",
    re.compile(r'\s*\[\s*\[\s*"(?:[^"\\]|\\.)*"\s*,\s*\{'): "'.[] | {text: .[0]} + .[1]'",
    re.compile(r'\s*\[\s*"(?:[^"\\]|\\.)*"\s*,\s*\{'): "'{text: .[0]} + .[1]'",
    re.compile(r'\s*\[\s*\[\s*"'): "'.[] | {text: .[0], label: .[1]}'",
    re.compile(r'\s*\[\s*"'): "'.[] | {text: .}'",
    re.compile(""): "'.[]'",
}
UNPACK = {".gz": "gzip -dc", ".bz2": "bzip2 -dc", ".xz": "xz -dc"}
# What Spark, Dask, datasets and brat write beside their files of data.
MARKERS = {"_SUCCESS", "_metadata", "_common_metadata", "dataset_dict.json", "annotation.conf", "visual.conf"}
LOGS = {"_delta_log", ".hoodie"}  # of Delta Lake and Hudi; Iceberg's is metadata/*.metadata.json


@dataclass(frozen=True)
class Shard:
    """Number i, from 1, of `count`."""

    number: int
    count: int

    def span(self, size: int) -> tuple[int, int]:
        """Which of `size` bytes are in it: [start, end)."""
        return size * (self.number - 1) // self.count, size * self.number // self.count


@dataclass(frozen=True)
class Part:
    """Bytes [start, end) of a file, either of which may lie outside it; without an end it is the whole file."""

    path: str
    start: int = 0
    end: int | None = None

    @property
    def has_start(self) -> bool:
        """Whether the file begins in it."""
        return self.start <= 0 and (self.end is None or self.end > 0)


class ReadOptions(NamedTuple):
    """How input is read, as `read` says it."""

    input_format: str | None = None
    encoding: str = "utf-8"
    columns: Sequence[str] | None = None
    delimiter: str | None = None
    text_field: str = "text"


def read(
    paths: Sequence[str],
    *,
    input_format: str | None = None,
    encoding: str = "utf-8",
    columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    text_field: str = "text",
    shard: Shard | None = None,
    note: Callable[[str], None] = lambda message: None,
    headed: Callable[[Header], None] = lambda header: None,
) -> Iterator[Record]:
    """The records of all inputs, in order, each as soon as its last line is there; memory is constant.

    paths: files and "-" for stdin; none means stdin. input_format: else by extension, else by the first line. columns:
    the names of a csv or tsv without a header. delimiter: what parts the cells of csv. text_field: how the field with
    the text is called, by which a table is told from lines. shard: only these records; their index begins at 0. note:
    told which format was read off a first line. headed: given the header of each table, after its rows. Raises
    UsageError at once for a path, format or encoding that cannot be used, and during iteration for a header that names
    no columns, a .json file that is one document, or a stdin that is no text.
    """
    paths = list(paths) or ["-"]
    check_encoding(encoding)
    for path in paths:
        check_path(path)
        name = by_extension("input", path)
        if not input_format and path != "-" and Path(path).is_file() and not (name and INPUT[name].is_table):
            Source(path, encoding, requires_text=True).head(0)  # to open it is to check it
    if input_format:
        load("input", input_format)
    formats = [input_format or by_extension("input", path) or LINES for path in paths]
    if columns is not None:
        if not TABLES.intersection(formats):
            tables = "column names are for csv, tsv and conll"
            raise UsageError(f"{tables}, not {formats[0]}; --input-format says which it is")
        from bertcli.data.formats.csv import check_names

        check_names(columns, "the column names given")
    if delimiter is not None and "csv" not in formats:
        raise UsageError(f"a delimiter is for csv, not {formats[0]}; --input-format says which it is")
    read_options = ReadOptions(input_format, encoding, columns, delimiter, text_field)
    parts = _parts(paths, *shard.span(sum(map(_size, paths)))) if shard else [Part(path) for path in paths]
    return _records(parts, read_options, note, headed)


def count_before(paths: Sequence[str], shard: Shard, read_options: ReadOptions) -> int:
    """How many records the shards before this one have: the index of its first. Reads them all."""
    begin, _ = shard.span(sum(map(_size, paths)))
    return sum(1 for _ in _records(_parts(paths, 0, begin), read_options))


def _records(
    parts: Sequence[Part],
    read_options: ReadOptions,
    note: Callable[[str], None] = lambda message: None,
    headed: Callable[[Header], None] = lambda header: None,
) -> Iterator[Record]:
    index = 0
    for part in parts:
        source = Source(part.path, read_options.encoding, requires_text=not read_options.input_format)
        for record in _part_records(part, source, read_options, note):
            record.index = index
            record.source = part.path
            yield record
            index += 1
        if source.header:
            headed(source.header)


def _part_records(
    part: Part, source: Source, read_options: ReadOptions, note: Callable[[str], None]
) -> Iterator[Record]:
    """The records of a file whose line begins in the part; only formats of single lines are entered in the middle."""
    stated = read_options.input_format or by_extension("input", part.path)
    name = stated or _told_by_first_line(source, read_options.text_field, note)
    if name == stated == LINES and not read_options.input_format:
        told = _told_by_first_line(source, read_options.text_field, lambda message: None)
        if told != LINES:
            note(f"{source.shown} is read as lines, for its name; --input-format {told} reads what it looks like")
    if not read_options.input_format and (tool := _tool_of(source, name)):
        note(f"{source.shown} is read as {tool}, as its first records look; --input-format {name} takes it as it is")
        name = tool
    elif not read_options.input_format and extension(part.path) == ".json" and Path(part.path).is_file():
        from bertcli.data.formats.jsonl import document_fault, is_squad

        head = source.head(HEAD).decode("utf-8", "replace").removeprefix("\ufeff")
        name = "squad" if is_squad(head) else "jsonl"
        if name == "jsonl" and (fault := document_fault(source)):
            items = _lines_of(head)
            path, lines = quote(part.path), quote(f"{PurePath(part.path).name.partition('.json')[0]}.jsonl")
            unpack = UNPACK.get(PurePath(part.path).suffix.lower())
            make = f"{unpack} {path} | jq -c {items} > {lines}" if unpack else f"jq -c {items} {path} > {lines}"
            raise UsageError(
                f"{part.path}:{fault}; bertcli reads one JSON object a line: make it with `{make}`, "
                "or say --input-format jsonl"
            )
    elif name == LINES and not stated and DOCUMENT.match(source.begin()[0]):
        raise UsageError(
            f"{source.shown}:1: JSON that is no lines of objects; `jq -c {_lines_of(source.begin()[0])}` makes them, "
            "and --input-format says what else it is: lines, squad or a labelling tool's"
        )
    if name == LINES and "\r" in source.begin()[0].rstrip("\r\n"):
        note(f"{source.shown}: {LONE_RETURN}")
    format_, read_format = INPUT[name], load("input", name)
    if format_.is_table and part.end is not None:
        from bertcli.data.formats.table_reader import count

        # numbers of the first row in the part and the first after it, as if all rows had as many bytes
        size, rows = _size(part.path), count(part.path, name)
        limits = (-(-max(byte, 0) * rows // size) for byte in (part.start, part.end))
        return read_format(source, read_options.columns, *limits)  # type: ignore[no-any-return]
    if read_options.delimiter and name == "csv":
        read_format = partial(read_format, delimiter=read_options.delimiter)
    is_piece = format_.is_whole or bool(compression(part.path)) or not source.is_utf8
    if part.end is None or is_piece:
        return read_format(source, read_options.columns) if part.has_start else iter(())
    first, after = _lines(part, part.end)
    records: Iterator[Record]
    if format_.is_by_line and not part.has_start:
        records = read_format(Source(part.path, read_options.encoding, part.start, first), read_options.columns)
    else:
        records = dropwhile(lambda record: record.line < first, read_format(source, read_options.columns))
    return takewhile(lambda record: record.line < after, records)


def _lines_of(head: str) -> str:
    return next(items for begin, items in LINES_OF.items() if begin.match(head))


def _told_by_first_line(source: Source, text_field: str, note: Callable[[str], None]) -> str:
    """The format of input whose name says none: jsonl, csv or tsv where the first line is clearly theirs, else lines.

    Clearly: it begins as an object with a name; or it is a header that names the text's field, or a question and its
    context, and has a row below it, for a line of prose must not be lost as a header.
    """
    name, line = LINES, source.begin()[0].strip()
    if OBJECT.match(line):  # one that is broken is a fault, and makes no texts of all others
        from bertcli.data.formats.jsonl import is_squad

        name = "squad" if is_squad(line) else "jsonl"
    has_sep = line.startswith(("sep=", '"sep='))  # as a first line tells Excel what parts the cells
    line = source.begin(2)[1].strip() if has_sep else line
    tabs = "csv" if has_sep or line.startswith('"') else "tsv"
    for separator, table in (("\t", tabs), (",", "csv"), (";", "csv"), ("|", "csv")):
        cells = [cell.strip('"') for cell in line.split(separator)]
        if len(cells) > 1 and (text_field in cells or {"question", "context"} <= set(cells)):
            row = source.begin(2 + has_sep)[-1].strip()
            name = table if separator in row or (table == "csv" and row.startswith('"')) else LINES
            break
    if name != LINES:
        note(f"{source.shown} is read as {name}, as its first line looks; --input-format lines takes lines as they are")
    return name


def _tool_of(source: Source, name: str) -> str | None:
    """The format of the tool that wrote what would otherwise be read as the format `name`."""
    if name not in ("jsonl", "csv", "tsv", "lines") or (name == "lines" and extension(source.name)):
        return None
    if source.name != "-" and Path(source.name).is_file() and source.is_utf8:
        head = source.head(HEAD).decode("utf-8", "replace").removeprefix("\ufeff")
    else:
        (head,) = source.begin()
    if head.startswith("#FORMAT=WebAnno") or (name == "tsv" and WEBANNO_2.match(head)):
        return "webanno"
    if name in ("csv", "tsv"):
        header = head.partition("\n")[0].replace('"', "").strip()
        items = [dict.fromkeys(re.split("[,\t]", header))]
    else:
        from bertcli.data.formats.jsonl import array_records

        records = islice(array_records(enumerate(head.split("\n"), 1)), FIRST)
        items = [record.fields for record in takewhile(lambda record: not record.fault, records)]  # the last may be cut
    if not items:  # as of plain text, which need not wait for what follows
        return None
    from bertcli.data.formats.labelling import tool_of

    return next(filter(None, (tool_of(item, is_row=name in ("csv", "tsv")) for item in items)), None)


def check_path(path: str) -> None:
    """Raise UsageError unless `path` is stdin or something that can be opened and read."""
    if path == "-":
        return
    try:
        os.stat(path)  # noqa: PTH116 - Path() drops a slash at the end, which asks for a directory
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if Path(path).is_dir():
        raise UsageError(f"cannot read {path}: it is a directory; name the files in it")
    if not os.access(path, os.R_OK):
        raise UsageError(f"cannot read {path}: {os.strerror(errno.EACCES)}")


# -- the files that names stand for


def expand(paths: Iterable[str]) -> list[str]:
    """The files that paths, directories and patterns name, in the order of `paths`, those of each sorted.

    What names nothing stays, as "-" does: who opens it says what is wrong. Raises UsageError as `below` does.
    """
    files: list[str] = []
    for path in paths:
        named: dict[str, str] = {}  # each once, for `**` matches a directory and the files in it
        for name in matches(path) or [path]:
            for file in below(name) if os.path.isdir(name) else [name]:  # noqa: PTH112 - Path() refuses a NUL
                named[os.path.normpath(file)] = file
        files += sorted(named.values())
    return files


def matches(path: str) -> list[str]:
    """The path itself, or what it matches as a pattern, sorted; none where a pattern matches nothing."""
    if os.path.lexists(path) or not any(mark in path for mark in "*?["):
        return [path]
    return sorted(glob(path, recursive=True))  # noqa: PTH207 - Path.glob() takes no absolute pattern


def below(directory: str) -> list[str]:
    """All files in a directory and those in it, sorted. Raises UsageError where there is none.

    Hidden ones are left out, and those beside an output that bertcli has not finished, which may lie in its own input.
    Raises it, too, where the name of a directory in it holds a column that its tables lack, as Spark parts them, and
    for a table of Delta Lake, Hudi or Iceberg, whose log says which of its files count.
    """

    def fail(error: OSError) -> None:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}; make it readable or name files.")

    files: list[str] = []
    for folder, folders, names in os.walk(directory, onerror=fail):
        if LOGS.intersection(folders) or any(Path(folder, "metadata").glob("*.metadata.json")):
            raise UsageError(
                f"{folder} is a table of Delta Lake, Hudi or Iceberg, whose files hold deleted rows, too; "
                "write its rows to a Parquet file with the library that made it, and name that."
            )
        folders[:] = [name for name in folders if not name.startswith(".")]
        others = {name for name in names if name in MARKERS or name.startswith(".") or _is_unfinished(name, names)}
        if {"dataset_info.json", "state.json"} <= {*names}:  # as datasets saves one, with what it has computed of it
            others |= {"dataset_info.json", "state.json", *(name for name in names if name.startswith("cache-"))}
        files += [str(Path(folder, name)) for name in names if name not in others]
    if not files:
        raise UsageError(f"there is no file in {directory}; name files, directories or quoted patterns.")
    for file in files:
        parts = PurePath(file).relative_to(directory).parts[:-1]
        if by_extension("input", file) in COLUMNS and (column := next((part for part in parts if "=" in part), None)):
            pattern = quote(str(PurePath(directory, "**", f"*{PurePath(file).suffix}")))
            raise UsageError(
                f"{directory}: the name '{column}' holds a column that the files in it lack, and it would be lost; "
                f"write it into them, or name {pattern} to read them without it."
            )
    return sorted(files)


def _is_unfinished(name: str, names: list[str]) -> bool:
    """Whether a file beside these is what a run has written so far, or its journal; see sinks.py."""
    if name.endswith(".part"):
        return f"{name.removesuffix('.part').removesuffix('.part')}.resume" in names
    output = name.removesuffix(".resume")
    return output != name and (output in names or f"{output}.part" in names)


# -- shards


def parse_shard(text: str) -> Shard:
    """`2/8` is the second of eight. Raises UsageError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard '{text}': write I/N with I from 1 to N, as in 1/8.")
    return Shard(int(match[1]), int(match[2]))


def _parts(paths: Sequence[str], start: int, end: int) -> list[Part]:
    """The files of which bytes [start, end) of all files have some."""
    parts, offset = [], 0
    for path in paths:
        size = _size(path)
        if start < offset + size and end > offset:
            parts.append(Part(path, start - offset, min(end - offset, size)))
        offset += size
    return parts


def _size(path: str) -> int:
    """Bytes and one more, for an empty file too belongs to a shard. Raises UsageError for what has no size."""
    if path == "-" or not Path(path).is_file():
        name = "stdin" if path == "-" else path
        raise UsageError(f"--shard needs regular files, whose size is known; {name} is none. Write it to a file first.")
    return Path(path).stat().st_size + 1


def _lines(part: Part, end: int) -> tuple[int, int]:
    """Numbers of the first line that begins in the part and the first that begins after it."""
    start = max(part.start, 1)  # a line begins after a line end, and the first one anyway
    first = 2 + _count_line_ends(part.path, 0, start - 1)
    after = first + _count_line_ends(part.path, start - 1, end - 1)
    return (1 if part.has_start else first), after


def _count_line_ends(path: str, start: int, end: int) -> int:
    count = 0
    with Path(path).open("rb", buffering=0) as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(CHUNK, end - start))):
            start += len(chunk)
            count += chunk.count(b"\n")
    return count
