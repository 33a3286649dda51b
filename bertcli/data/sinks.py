"""Bytes out: stdout, a special file, or a regular file that appears complete or not at all."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from bertcli.data.formats import compression
from bertcli.errors import BertcliError, UsageError

BLOCK = 1 << 16  # bytes of results; under a window of 4,096 records as soon as a result has 16


class Sink:
    """A raw stream. write() raises OSError and BrokenPipeError as the system gives them."""

    streams = True  # what was written stays written, whatever happens next
    seekable = False  # whether `overwrite` can be used
    keep = False  # see FileSink
    block = 0
    position = 0  # bytes of the file, where it is one

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

    def sync(self) -> None:
        """Make sure that what was written outlives a loss of power, where it is a file."""

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
    """A file written as FILE.part and renamed when complete; an existing one is replaced only then.

    keep: whether what was written stays in FILE.part when the run fails. block: an archive gets a member for so many
    bytes, wherever windows end, so that the same results give the same bytes.
    """

    streams = False

    def __init__(self, path: str, position: int = 0) -> None:
        self._target = Path(os.path.realpath(path))  # a symbolic link stays one
        self._part = part_of(self._target)
        raw = os.fdopen(os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b", buffering=0)
        try:
            _lock(raw, path)
            raw.truncate(position)
            raw.seek(position)
        except BaseException:
            raw.close()
            raise
        super().__init__(path, raw)
        self._compress = _compressor(compression(path))
        self.seekable = self._compress is None  # the bytes of an archive cannot be replaced
        self.block = 0 if self._compress is None else BLOCK
        self.position = position

    def write(self, data: bytes) -> None:
        """Write all of it, as one more member of the archive where the file is one."""
        data = self._compress(data) if self._compress else data
        super().write(data)
        self.position += len(data)

    def sync(self) -> None:
        """Wait for the disk: 10 to 20 ms, in which the next window computes."""
        getattr(os, "fdatasync", os.fsync)(self._raw.fileno())  # macOS has only fsync

    def commit(self) -> None:
        """Make the file durable and give it its name."""
        try:
            if self._compress and not self.position:
                super().write(self._compress(b""))  # an empty file is no archive
            os.fsync(self._raw.fileno())
            if self._target.exists():
                self._part.chmod(self._target.stat().st_mode)
            self._part.replace(self._target)
            sync_directory(self._target.parent)  # before the journal, which could make it anew, is removed
            self._raw.close()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Leave the final name as it was."""
        if not self.keep and not self._raw.closed:
            self._part.unlink(missing_ok=True)
        self._raw.close()


def sync_directory(path: Path) -> None:
    """Make sure that the names in a directory outlive a loss of power, where its file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    with suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)


def part_of(target: Path) -> Path:
    """Where a file is while it is not complete."""
    return target.with_name(f"{target.name}.part")


def _lock(raw: Any, path: str) -> None:
    """Keep a second run off the file: two writers would mix their results. The lock ends with the process."""
    import fcntl

    try:
        fcntl.flock(raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"cannot write to {path}: another run is writing it; wait for its end") from None


AnySink = TypeVar("AnySink", bound=Sink)


def open_sink(path: str | None) -> Sink:
    """stdout for None. Raises UsageError for a place that cannot be written."""
    if path is None:
        if sys.stdout is None:
            raise BertcliError("cannot write to stdout: it is closed")
        sys.stdout.flush()
        binary = sys.stdout.buffer
        return Sink("stdout", getattr(binary, "raw", binary))
    return (
        _opened(path, lambda: Sink(path, Path(path).open("ab", buffering=0))) if is_special(path) else open_file(path)
    )


def write_file(path: str, data: bytes) -> None:
    """A whole file at once. Raises BertcliError where that fails; the file is then as it was."""
    sink = open_sink(path)
    try:
        sink.write(data)
        sink.commit()
    except OSError as error:
        sink.discard()
        raise BertcliError(f"cannot write to {path}: {error.strerror or error}") from error


def open_file(path: str, position: int = 0) -> FileSink:
    """A regular file. position: bytes of FILE.part to keep. Raises UsageError where it cannot be written."""
    return _opened(path, lambda: FileSink(path, position))


def _opened(path: str, opening: Callable[[], AnySink]) -> AnySink:
    try:
        return opening()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write to {path}: {getattr(error, 'strerror', None) or error}") from error


def demand_writable(path: str) -> None:
    """Raise UsageError where a file cannot be written: asked before a run that writes it at its end."""
    if not is_special(path):
        open_file(path).discard()


def is_special(path: str) -> bool:
    """Whether it is a device, a named pipe or a descriptor such as /dev/fd/3, which cannot be renamed into place."""
    place = Path(path)
    try:
        if place.is_dir():
            raise UsageError(f"cannot write to {path}: it is a directory; name a file in it")
        return place.exists() and (not place.is_file() or path.startswith(("/dev/", "/proc/")))
    except ValueError as error:  # a NUL in the name
        raise UsageError(f"cannot write to {path}: {error}") from error


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
