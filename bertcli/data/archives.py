"""What .xz and .bz2 hold, all streams one after the other, as `xz -dc` gives it; what is broken or left over raises.

Python's lzma and bz2 files end without a word at the first stream that they cannot read, and at the padding that may
stand between two (https://tukaani.org/xz/xz-file-format.txt, section 2.2). Knows no line and no record.

Try: python -c 'from bertcli.data.archives import Streams; print(Streams("texts.xz", "xz").read(80))'
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

CHUNK = 1 << 16  # bytes read at once, and most that are decompressed at once
XZ, BZ2 = b"\xfd7zXZ\x00", b"BZh"
Name = Literal["xz", "bz2"]


class Streams(io.RawIOBase):
    """The decompressed bytes of a file. read() raises OSError or lzma.LZMAError after the last byte that is right."""

    def __init__(self, path: str, compression: Name) -> None:
        self._file = Path(path).open("rb", buffering=CHUNK)  # noqa: SIM115 - close() closes it
        self._pieces = _pieces(self._file, compression)
        self._ready = b""
        self._error: Exception | None = None  # raised again by each read, as a file's

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """At most what the buffer takes; 0 at the end."""
        if self._error:
            raise self._error
        try:
            self._ready = self._ready or next(self._pieces, b"")
        except Exception as error:
            self._error = error
            raise
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()


def _pieces(file: Any, compression: Name) -> Iterator[bytes]:
    begin: int | None = 0
    while begin is not None:
        yield from _stream(file, _decoder(compression), begin)
        begin = _next_stream(file, compression)


def _decoder(compression: Name) -> Callable[[], Any]:
    if compression == "bz2":
        import bz2

        return bz2.BZ2Decompressor
    import lzma

    return lzma.LZMADecompressor


def _stream(file: Any, decoder: Callable[[], Any], begin: int) -> Iterator[bytes]:
    """The bytes of the stream that begins there; afterwards the file stands behind its end."""
    decompressor, delivered, data, position = decoder(), 0, b"", begin
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
            yield from _rest(file, decoder(), begin, position, delivered)
            raise
        data = b""
        delivered += len(piece)
        if piece:
            yield piece
    file.seek(-len(decompressor.unused_data), io.SEEK_CUR)


def _rest(file: Any, decompressor: Any, begin: int, position: int, delivered: int) -> Iterator[bytes]:
    """What a stream that breaks after `position` has beyond the bytes that were delivered."""
    file.seek(begin)
    data, size = b"", CHUNK
    try:
        while True:
            if decompressor.needs_input:
                size = CHUNK if file.tell() < position else 1
                data = file.read(min(size, position - file.tell()) if size > 1 else 1)
                if not data:
                    return
            piece = decompressor.decompress(data, size)
            data = b""
            if len(piece) > delivered:
                yield piece[delivered:]
            delivered = max(delivered - len(piece), 0)
    except Exception:
        return


def _next_stream(file: Any, compression: Name) -> int | None:
    """Where another stream begins behind padding, None at the end. Raises OSError for anything else."""
    padding = 0
    while (head := file.read(1)) == b"\0":
        padding += 1
    if compression == "xz" and padding % 4:
        raise OSError("padding that is no multiple of four bytes")
    if not head:
        return None
    begin: int = file.tell() - 1
    magic = XZ if compression == "xz" else BZ2
    if head + file.read(len(magic) - 1) != magic:
        raise OSError(f"bytes that are no {compression} after the end of a stream")
    return begin
