"""Bytes out: stdout, a special file, or a regular file that appears complete or not at all.

Whatever must be whole is written here: as a draft, forced to the disk, then renamed. `write_file` writes what a user
names, `replace_file` and `new_directory` what the program keeps for itself. Knows no format.

Try: python -c 'from bertcli.data.sinks import write_file; write_file("hello.txt.gz", "hello")' && zcat hello.txt.gz
"""

import errno
import fcntl
import os
import select
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertcli.data.compression import compression
from bertcli.errors import BertcliError, UsageError

Rewrite = Callable[[Path, Path], None]
BLOCK = 1 << 16  # bytes of results in a member of an archive


@dataclass(eq=False)
class Sink:
    """A raw stream. write() raises OSError and BrokenPipeError as the system gives them."""

    name: str
    _raw: Any
    streams = True  # what was written stays written, whatever happens next
    seekable = False  # whether `overwrite` can be used
    keep = False  # see FileSink
    block = 0
    position = 0  # bytes of the file, where it is one

    def write(self, data: bytes) -> None:
        """Write all of it, waiting where the other end is slow."""
        rest = memoryview(data)
        while rest:
            size = self._raw.write(rest)
            if size is None:  # some parents make the pipe non-blocking
                select.select([], [self._raw], [])
            rest = rest[size or 0 :]

    def sync(self) -> None:
        """Make sure that what was written outlives a loss of power, where it is a file."""

    def overwrite(self, data: bytes) -> None:
        """Replace the first bytes; only where it is seekable."""
        self._raw.seek(0)
        Sink.write(self, data)  # not the subclass's, which would count them once more

    def commit(self) -> None:
        """Everything was written."""
        self.discard()

    def discard(self) -> None:
        """The run failed; close what this sink opened."""
        if self.name != "stdout":
            self._raw.close()


class FileSink(Sink):
    """A file written as FILE.part and renamed when complete; an existing one is replaced only then.

    position: bytes of FILE.part that an earlier run has left. keep: whether what was written stays in FILE.part when
    the run fails. block: an archive gets a member for so many bytes, wherever chunks end, so that the same results
    give the same bytes. rewrite: makes what the file is to be of FILE.part, where that is not the same.
    """

    streams = False

    def __init__(self, path: str, position: int = 0, rewrite: Rewrite | None = None) -> None:
        self._rewrite = rewrite
        self._target = Path(os.path.realpath(path))  # a symbolic link stays one
        self._part = part_of(self._target)
        raw = os.fdopen(os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b", buffering=0)
        try:
            # Two writers would mix their results. The lock ends with the process.
            fcntl.flock(raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
            raw.truncate(position)
            raw.seek(position)
        except BaseException as error:
            raw.close()
            if isinstance(error, BlockingIOError):
                raise UsageError(f"cannot write to {path}: another run is writing it; wait for its end") from None
            raise
        super().__init__(path, raw)
        self._compression = compression(path)
        self.seekable = self._compression is None  # the bytes of an archive cannot be replaced
        self.block = 0 if self._compression is None else BLOCK
        self.position = position

    def write(self, data: bytes) -> None:
        """Write all of it, as one more member of the archive where the file is one."""
        data = self._compression.compress(data) if self._compression else data
        super().write(data)
        self.position += len(data)

    def sync(self) -> None:
        """Wait for the disk: 10 to 20 ms, in which the next chunk of records computes."""
        getattr(os, "fdatasync", os.fsync)(self._raw.fileno())  # macOS has only fsync

    def commit(self) -> None:
        """Make the file durable and give it its name."""
        try:
            if self._compression and not self.position:
                self.write(b"")  # an empty file is no archive
            os.fsync(self._raw.fileno())
            whole = self._part
            if self._rewrite:
                whole = part_of(self._part)
                self._rewrite(self._part, whole)
                sync(whole)
            if self._target.exists():
                whole.chmod(self._target.stat().st_mode)
            whole.replace(self._target)
            sync(self._target.parent)  # before the journal, which could make it anew, is removed
            self._part.unlink(missing_ok=True)
            self._raw.close()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Leave the final name as it was."""
        if not self.keep and not self._raw.closed:
            self._part.unlink(missing_ok=True)
        self._raw.close()


def open_sink(path: str | None, position: int = 0, rewrite: Rewrite | None = None) -> Sink:
    """stdout for None. position, rewrite: see FileSink. Raises UsageError for what cannot be written."""
    if path is None:
        if sys.stdout is None:
            raise BertcliError("cannot write to stdout: it is closed")
        sys.stdout.flush()
        binary = sys.stdout.buffer
        return Sink("stdout", getattr(binary, "raw", binary))
    try:
        return Sink(path, Path(path).open("ab", buffering=0)) if is_special(path) else FileSink(path, position, rewrite)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write to {path}: {getattr(error, 'strerror', None) or error}") from error


def require_no_unfinished(path: str) -> None:
    """Raise UsageError where a killed run has left FILE.part and FILE.resume, which a new one would replace."""
    target = Path(os.path.realpath(path))
    part = part_of(target)
    if side_of(target).exists() and part.exists() and part.stat().st_size:
        raise UsageError(
            f"{path} is unfinished: a run that was interrupted has left {part.name}; --resume goes on with it, "
            f"--force begins anew"
        )


def is_special(path: str) -> bool:
    """Whether it is a device, a named pipe or a descriptor such as /dev/fd/3, which cannot be renamed into place."""
    file = Path(path)
    try:
        if file.is_dir() or path.endswith("/"):
            raise UsageError(f"cannot write to {path}: it is a directory; name a file in it")
        return file.exists() and (not file.is_file() or path.startswith(("/dev/", "/proc/")))
    except ValueError as error:  # a NUL in the name
        raise UsageError(f"cannot write to {path}: {error}") from error


def require_writable(path: str) -> None:
    """Raise UsageError where a file cannot be written: asked before a run that writes it at its end."""
    if not is_special(path):
        require_no_unfinished(path)
        open_sink(path).discard()


def write_file(path: str, text: str) -> None:
    """A whole file at once. Raises BertcliError where that fails; the file is then as it was.

    Halves of surrogate pairs are spelt as escapes.
    """
    sink = open_sink(path)
    with writing(path):
        try:
            sink.write(text.encode("utf-8", "backslashreplace"))
            sink.commit()
        except OSError:
            sink.discard()
            raise


@contextmanager
def writing(path: object, hint: str = "") -> Iterator[None]:
    """Within it what a full disk raises becomes a BertcliError that names `path`. hint: what to do next.

    Libraries raise classes of their own there: shutil, tokenizers and safetensors with the system's sentence in it,
    torch RuntimeError with its writer's name.
    """
    try:
        yield
    except Exception as error:
        full = [os.strerror(number) for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)]
        reason = next((sentence for sentence in full if sentence in str(error)), "")
        if isinstance(error, OSError):
            reason = error.strerror or reason or str(error)
        elif "PytorchStreamWriter" in str(error):
            reason = "is the disk full?"
        if not reason or isinstance(error, BertcliError | BrokenPipeError):
            raise
        raise BertcliError(f"cannot write to {path}: {reason}{'; ' if hint else ''}{hint}") from error


def replace_file(path: Path, data: bytes) -> None:
    """A small file of the program's own, such as a journal, at once or not at all. Raises OSError with its name."""
    draft = part_of(path)
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a loss of power may leave its name without its bytes
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_files(directory: Path, patterns: Iterable[str]) -> None:
    """Delete the files in a directory whose names fit one of the patterns, but no directories. Raises OSError."""
    for pattern in patterns:
        for path in [path for path in directory.glob(pattern) if not path.is_dir()]:
            path.unlink()


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """A draft to be filled with files, which becomes `target`, in place of what is there, when the `with` ends.

    After an exception the target is as it was, and the draft is gone. Raises OSError.
    """
    import shutil  # brings bz2 and lzma, which a run that only reads and writes lines has no use for

    target = Path(os.path.realpath(target))  # a symbolic link stays one
    draft = target.with_name(f"draft-{target.name}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        # As the umask says, where safetensors makes files 0600. The directory's own mode tells the umask, which can be
        # asked for only by setting it, for all threads.
        mode = draft.stat().st_mode
        for path in draft.rglob("*"):
            path.chmod(mode if path.is_dir() else mode & 0o666)
        for path in (*draft.rglob("*"), draft):
            sync(path)
        if target.exists():
            shutil.rmtree(target)
        draft.rename(target)
    except Exception:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync(target.parent)


def sync(path: Path) -> None:
    """Make sure that a file, or the names in a directory where its file system can, outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def part_of(target: Path) -> Path:
    """Where a file is while it is not complete."""
    return target.with_name(f"{target.name}.part")


def side_of(target: Path) -> Path:
    """Where the journal of an output is."""
    return target.with_name(f"{target.name}.resume")
