r"""Records in: files and stdin, in any format of input_formats/, as one stream of Record.

An input format is a module with EXTENSIONS and

    def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]

that sets `fields`, `line` and `fault`; index and source are set here. What cannot be read becomes a record with a
`fault` in its place; only what makes the whole input unusable (a missing file, a bad header) is a UsageError.

    python -c 'from bertcli.data.readers import read; print(*read(["a.csv.gz", "-"]), sep="\n")' < more.txt
"""

import errno
import os
from collections.abc import Iterator, Sequence
from itertools import chain, dropwhile, takewhile
from pathlib import Path

from bertcli.data.formats import by_extension, compression, extension, load
from bertcli.data.records import Record
from bertcli.data.shards import Part, Shard, parts, parts_before
from bertcli.data.streams import Source, check_encoding
from bertcli.errors import UsageError


def read(
    paths: Sequence[str],
    *,
    input_format: str | None = None,
    encoding: str = "utf-8",
    columns: Sequence[str] | None = None,
    shard: Shard | None = None,
) -> Iterator[Record]:
    """The records of all inputs, in order, each as soon as its last line is there; memory is constant.

    paths: files and "-" for stdin; none means stdin. input_format: else by extension, else lines. columns: the names
    of a csv or tsv without a header. shard: only these records; their index begins at 0. Raises UsageError at once for
    a path, format or encoding that cannot be used, and during iteration for a header that names no columns or a .json
    file that is one document.
    """
    paths = list(paths) or ["-"]
    check_encoding(encoding)
    for path in paths:
        check_path(path)
    if input_format:
        load("input", input_format)
    _check_columns(columns, [input_format or _format(path) for path in paths])
    pieces = parts(paths, shard) if shard else [Part(path, 0, 0) for path in paths]
    return _records(pieces, input_format, encoding, columns, shard is not None)


def count_before(
    paths: Sequence[str],
    shard: Shard,
    *,
    input_format: str | None = None,
    encoding: str = "utf-8",
    columns: Sequence[str] | None = None,
) -> int:
    """How many records the shards before this one have: the index of its first. Reads them all."""
    return sum(1 for _ in _records(parts_before(paths, shard), input_format, encoding, columns, True))


def _records(
    pieces: Sequence[Part], input_format: str | None, encoding: str, columns: Sequence[str] | None, is_cut: bool
) -> Iterator[Record]:
    index = 0
    for part in pieces:
        name = input_format or _format(part.path)
        if not input_format and extension(part.path) == ".json" and _is_squad(part.path, encoding):
            name = "squad"
        records = _part(part, name, encoding, columns) if is_cut else _whole(part.path, name, encoding, columns)
        if not input_format and extension(part.path) == ".json" and name != "squad" and part.start <= 0:
            records = _json_lines(part.path, records)
        for record in records:
            record.index = index
            record.source = part.path
            yield record
            index += 1


def _whole(path: str, name: str, encoding: str, columns: Sequence[str] | None) -> Iterator[Record]:
    records: Iterator[Record] = load("input", name).read(Source(path, encoding), columns)
    return records


def _part(part: Part, name: str, encoding: str, columns: Sequence[str] | None) -> Iterator[Record]:
    """The records of a file whose line begins in the part; only formats of single lines are entered in the middle."""
    reader = load("input", name)
    if getattr(reader, "WHOLE", False) or compression(part.path) or not Source(part.path, encoding).is_utf8:
        return _whole(part.path, name, encoding, columns) if part.has_start else iter(())
    first, after = part.lines()
    if getattr(reader, "BY_LINE", False) and not part.has_start:
        records: Iterator[Record] = reader.read(Source(part.path, encoding, part.start, first), columns)
    else:
        records = dropwhile(lambda record: record.line < first, _whole(part.path, name, encoding, columns))
    return takewhile(lambda record: record.line < after, records)


def _is_squad(path: str, encoding: str) -> bool:
    return bool(load("input", "squad").is_squad(Source(path, encoding)))


def _format(path: str) -> str:
    return by_extension("input", path) or "lines"


def _json_lines(path: str, records: Iterator[Record]) -> Iterator[Record]:
    """Tell a .json file that is one big document from JSON lines by its first line."""
    first = next(records, None)
    if first is None:
        return iter(())
    if first.fault:
        raise UsageError(
            f"{path}:{first.line}: {first.fault}; bertcli reads one JSON object a line: "
            f"make it with `jq -c '.[]' {path} > {Path(path).stem}.jsonl`, or say --input-format jsonl"
        )
    return chain([first], records)


def check_path(path: str) -> None:
    """Raise UsageError unless `path` is stdin or something that can be opened and read."""
    if path == "-":
        return
    try:
        Path(path).stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if Path(path).is_dir():
        raise UsageError(f"cannot read {path}: it is a directory; name the files in it")
    if not os.access(path, os.R_OK):
        raise UsageError(f"cannot read {path}: {os.strerror(errno.EACCES)}")


def _check_columns(columns: Sequence[str] | None, formats: Sequence[str]) -> None:
    if columns is None:
        return
    if not set(formats) & {"csv", "tsv", "conll"}:
        raise UsageError(f"column names are for csv, tsv and conll, not {formats[0]}; --input-format says which it is")
    from bertcli.data.tables import check_names

    check_names(columns, "the column names given")
