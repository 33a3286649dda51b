"""Bytes out: stdout, a special file, or a regular file that appears complete or not at all."""

import os
import sys
from pathlib import Path
from typing import Any

from bertcli.data.formats import compression
from bertcli.errors import BertcliError, UsageError


class Sink:
    """A raw stream. write() raises OSError and BrokenPipeError as the system gives them."""

    streams = True  # what was written stays written, whatever happens next
    seekable = False  # whether `overwrite` can be used

    def __init__(self, name: str, raw: Any) -> None:
        self.name = name
        self._raw = raw

    def write(self, data: bytes) -> None:
        """Write all of it, waiting where the other end is slow."""
        rest = memoryview(data)
        while rest:
            size = self._raw.write(rest)
            if size is None:  # some parents make the pipe non-blocking
                import select

                select.select([], [self._raw], [])
            rest = rest[size or 0 :]

    def overwrite(self, data: bytes) -> None:
        """Replace the first bytes; only where it is seekable."""
        self._raw.seek(0)
        self.write(data)

    def commit(self) -> None:
        """Everything was written."""
        self.discard()

    def discard(self) -> None:
        """The run failed; close what this sink opened."""
        if self.name != "stdout":
            self._raw.close()


class FileSink(Sink):
    """A file written beside its final name and renamed when complete; an existing one is replaced only then."""

    streams = False

    def __init__(self, path: str) -> None:
        self._target = Path(os.path.realpath(path))  # a symbolic link stays one
        self._temporary = self._target.with_name(f".{self._target.name}.{os.getpid()}.tmp")
        super().__init__(path, self._temporary.open("wb", buffering=0))
        self._compress = _compressor(compression(path))
        self.seekable = self._compress is None  # the bytes of an archive cannot be replaced

    def write(self, data: bytes) -> None:
        """Write all of it, as one more member of the archive where the file is one."""
        super().write(self._compress(data) if self._compress else data)

    def commit(self) -> None:
        """Make the file durable and give it its name."""
        try:
            if self._compress and not self._raw.tell():
                super().write(self._compress(b""))  # an empty file is no archive
            os.fsync(self._raw.fileno())
            self._raw.close()
            if self._target.exists():
                self._temporary.chmod(self._target.stat().st_mode)
            self._temporary.replace(self._target)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Leave the final name as it was."""
        self._raw.close()
        self._temporary.unlink(missing_ok=True)


def open_sink(path: str | None) -> Sink:
    """stdout for None. Raises UsageError for a place that cannot be written."""
    if path is None:
        if sys.stdout is None:
            raise BertcliError("cannot write to stdout: it is closed")
        sys.stdout.flush()
        binary = sys.stdout.buffer
        return Sink("stdout", getattr(binary, "raw", binary))
    try:
        return _special(path) or FileSink(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write to {path}: {getattr(error, 'strerror', None) or error}") from error


def _special(path: str) -> Sink | None:
    """A device, a named pipe or a descriptor such as /dev/fd/3 cannot be renamed into place: write to it directly."""
    place = Path(path)
    if place.is_dir():
        raise IsADirectoryError(0, "it is a directory; name a file in it")
    if place.is_file() and not path.startswith(("/dev/", "/proc/")):
        return None
    return Sink(path, place.open("ab", buffering=0)) if place.exists() else None


def _compressor(suffix: str) -> Any:
    """Each chunk is compressed by itself: an archive may have many members, and a chunk leaves when it is flushed."""
    match suffix:
        case ".gz":
            import gzip

            return lambda data: gzip.compress(data, mtime=0)
        case ".bz2":
            import bz2

            return bz2.compress
        case ".xz":
            import lzma

            return lzma.compress
        case _:
            return None
