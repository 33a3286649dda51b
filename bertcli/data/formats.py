"""Which format and which compression a file's name asks for. A new format is one new file, found here by its name.

input_formats/NAME.py is an input format and output_formats/NAME.py an output format of that name; the heads of the two
folders say what such a file holds. Its EXTENSIONS are those it has besides `.NAME`. Listing formats imports none.

Try: python -c 'from bertcli.data.formats import by_extension; print(by_extension("input", "train.iob2.xz"))'
"""

from collections.abc import Callable
from io import BufferedReader
from pathlib import PurePath
from typing import Any, Literal, NamedTuple

from bertcli import registry
from bertcli.errors import UsageError

Direction = Literal["input", "output"]


class Compression(NamedTuple):
    """open: a path to a stream of what is in it. error: what that raises for wrong bytes. compress: a whole member."""

    open: Callable[[str], Any]
    error: type[Exception]
    compress: Callable[[bytes], bytes]


def load(direction: Direction, name: str) -> Any:
    """The module of one format; an unknown name is a UsageError."""
    folder = f"data/{direction}_formats"
    names = registry.names(folder)
    if name not in names:
        raise UsageError(f"no {direction} format '{name}'; there are: {', '.join(names)}")
    return registry.load(folder, name)


def by_extension(direction: Direction, path: str) -> str | None:
    """The format that a file's name asks for, or None."""
    suffix = extension(path)
    if not suffix:
        return None
    names = registry.names(f"data/{direction}_formats")
    if suffix[1:] in names:
        return suffix[1:]
    return next((name for name in names if suffix in load(direction, name).EXTENSIONS), None)


def of_output(path: str) -> str:
    """The output format of a file that is written: by its extension, jsonl without one. Raises UsageError.

    A number is no extension: `part.7` is a piece of JSON lines.
    """
    suffix = extension(path)
    name = by_extension("output", path)
    if name is None and suffix and not suffix[1:].isdigit() and not path.startswith(("/dev/", "/proc/")):
        names = ", ".join(registry.names("data/output_formats"))
        raise UsageError(f"cannot write {path}: no output format has the ending {suffix}; --format says which: {names}")
    return name or "jsonl"


def extension(path: str) -> str:
    """The extension under that of the compression: `.csv` for a.csv.gz."""
    name = PurePath(path.lower())
    return PurePath(name.stem).suffix if compression(path) else name.suffix


def compression(path: str) -> Compression | None:
    """How a file of that name is compressed. Its module is imported only here: 1 to 2 ms, and a Python may lack it."""
    match PurePath(path).suffix.lower():
        case ".gz":
            import gzip
            import zlib

            return Compression(gzip.open, zlib.error, lambda data: gzip.compress(data, mtime=0))
        case ".bz2":
            import bz2

            return Compression(lambda path: _buffered(path, "bz2"), OSError, bz2.compress)
        case ".xz":
            import lzma

            return Compression(lambda path: _buffered(path, "xz"), lzma.LZMAError, lzma.compress)
        case _:
            return None


def _buffered(path: str, name: Literal["xz", "bz2"]) -> BufferedReader:
    from bertcli.data.archives import CHUNK, Streams

    return BufferedReader(Streams(path, name), CHUNK)
