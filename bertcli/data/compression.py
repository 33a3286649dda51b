"""What .gz, .xz and .bz2 hold: all streams one after the other, as `xz -dc` gives it; what is broken or left raises.

Python's lzma and bz2 files end without a word at the first stream that they cannot read, and at the padding that may
stand between two (https://tukaani.org/xz/xz-file-format.txt, section 2.2). Knows no line and no record.

Try: python -c 'from bertcli.data.compression import decompressed; print(decompressed("texts.xz", "xz").read(80))'
"""

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

CHUNK = 1 << 16  # bytes read at once, and most that are decompressed at once
Name = Literal["xz", "bz2"]
STREAMS = {  # how a stream begins, and the module and class that decompress it
    "xz": (b"\xfd7zXZ\x00", "lzma", "LZMADecompressor"),
    "bz2": (b"BZh", "bz2", "BZ2Decompressor"),
}


class Compression(NamedTuple):
    """open: a path to a stream of what is in it. error: what that raises for wrong bytes. compress: a whole member."""

    open: Callable[[str], Any]
    error: type[Exception]
    compress: Callable[[bytes], bytes]


def compression(path: str) -> Compression | None:
    """How a file of that name is compressed. Its module is imported only here: 1 to 2 ms, and a Python may lack it."""
    match PurePath(path).suffix.lower():
        case ".gz":
            import gzip
            import zlib

            return Compression(gzip.open, zlib.error, lambda data: gzip.compress(data, mtime=0))
        case ".bz2":
            import bz2

            return Compression(lambda path: io.BufferedReader(decompressed(path, "bz2"), CHUNK), OSError, bz2.compress)
        case ".xz":
            import lzma

            return Compression(
                lambda path: io.BufferedReader(decompressed(path, "xz"), CHUNK), lzma.LZMAError, lzma.compress
            )
        case _:
            return None


def extension(path: str) -> str:
    """The extension under that of the compression: `.csv` for a.csv.gz."""
    name = PurePath(path.lower())
    return PurePath(name.stem).suffix if compression(path) else name.suffix


class Pieces(io.RawIOBase):
    """The bytes that an iterator gives, as a file; what it raises, each further read raises too. Closes `file`."""

    def __init__(self, pieces: Iterator[bytes], file: Any) -> None:
        self._pieces, self._file = pieces, file
        self._ready = b""
        self._error: tuple[type[Exception], tuple[Any, ...]] | None = None  # itself it would hold on to the file

    def readable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """Of `file`."""
        return int(self._file.fileno())

    def readinto(self, buffer: Any) -> int:
        """At most what the buffer takes; 0 at the end."""
        if self._error:
            raise self._error[0](*self._error[1])
        try:
            while not self._ready and (piece := next(self._pieces, None)) is not None:
                self._ready = piece
        except Exception as error:
            self._error = type(error), error.args
            raise
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()


def decompressed(path: str, compression: Name) -> Pieces:
    """What is in a file. read() raises OSError or lzma.LZMAError after the last byte that is right."""
    file = Path(path).open("rb", buffering=CHUNK)  # noqa: SIM115 - Pieces closes it
    return Pieces(_streams(file, compression), file)


def _streams(file: Any, compression: Name) -> Iterator[bytes]:
    """The bytes of all streams. Raises OSError for what is behind the end of one and neither padding nor another."""
    magic, module, name = STREAMS[compression]
    new, begin = getattr(import_module(module), name), 0
    while True:
        decompressor, delivered, data, position = new(), 0, b"", begin
        file.seek(begin)
        while not decompressor.eof:
            if decompressor.needs_input:
                position = file.tell()
                data = file.read(CHUNK)
                if not data:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
            try:
                piece = decompressor.decompress(data, CHUNK)
            except Exception:
                # What was right before the fault is lost in the decoder: decode again, the last bytes one by one.
                yield from _rest(file, new(), begin, position, delivered)
                raise
            data = b""
            delivered += len(piece)
            if piece:
                yield piece
        file.seek(-len(decompressor.unused_data), io.SEEK_CUR)
        padding = 0
        while (head := file.read(1)) == b"\0":
            padding += 1
        if compression == "xz" and padding % 4:
            raise OSError("padding that is no multiple of four bytes")
        if not head:
            return
        begin = file.tell() - 1
        if head + file.read(len(magic) - 1) != magic:
            raise OSError(f"bytes that are no {compression} after the end of a stream")


def _rest(file: Any, decompressor: Any, begin: int, position: int, delivered: int) -> Iterator[bytes]:
    """What a stream that breaks after `position` has beyond the bytes that were delivered."""
    file.seek(begin)
    data, size = b"", CHUNK
    with suppress(Exception):
        while True:
            if decompressor.needs_input:
                size = max(1, min(CHUNK, position - file.tell()))
                data = file.read(size)
                if not data:
                    return
            piece = decompressor.decompress(data, size)
            data = b""
            if len(piece) > delivered:
                yield piece[delivered:]
            delivered = max(delivered - len(piece), 0)
