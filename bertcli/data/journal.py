"""What a run has done so far: counts and, for an output that is a file, a side file from which another run goes on.

FILE.resume holds one line of JSON that says what the run is, then a line for each write to FILE.part. After a kill the
last line whose bytes are there tells where to go on: records before it are read again, compared by their digest and
dropped. Output is on the disk before its line is written; lines themselves are not waited for, as a lost one costs only
its window. Knows no task; `run` is whatever must be the same for the result to be the same.
"""

import errno
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from bertcli.data.records import Record
from bertcli.data.sinks import Sink, open_file, part_of
from bertcli.errors import BertcliError, UsageError


@dataclass(frozen=True)
class Mark:
    """A point of a run. digest: of the records before it; position: bytes of the output; state: of its formatter."""

    records: int = 0
    failed: int = 0
    first: str = ""
    digest: str = ""
    position: int = 0
    state: Any = None
    complete: bool = False


class Journal:
    """Counts of a run, and its first failure for the closing sentence. This one leaves no trace."""

    def __init__(self, begin: Mark | None = None) -> None:
        self.begin = begin or Mark()
        self.records, self.failed, self.first = self.begin.records, self.begin.failed, self.begin.first

    def rest(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records that are still to be dealt with."""
        return iter(records)

    def add(self, record: Record, error: str | None) -> None:
        """Count a record whose result comes next."""
        self.records += 1
        if error is not None:
            self.fail(f"{record.place}: {error}")

    def fail(self, message: str) -> None:
        """Count a failure."""
        self.failed += 1
        self.first = self.first or message

    def mark(self, position: int, state: Any, complete: bool = False) -> bool:
        """Note that the results of all records added are in the output; whether a run can go on from here."""
        return False

    def close(self) -> None:
        """The output has its final name."""

    def abandon(self) -> None:
        """The run failed."""


class SideFile(Journal):
    """The journal of an output file. stays: whether the side file is kept after the end, as proof of what was done."""

    def __init__(self, path: Path, run: Mapping[str, Any], begin: Mark, stays: bool) -> None:
        from hashlib import blake2b

        super().__init__(begin)
        self._path, self._run, self._stays = path, run, stays
        self._digest = blake2b(digest_size=16)
        self._marks = bool(begin.records)

    def start(self) -> Self:
        """Begin the file anew with what is known, at once or not at all."""
        lines = [self._run, *([asdict(self.begin)] if self._marks else [])]
        draft = self._path.with_name(f"{self._path.name}.new")
        with draft.open("w", encoding="utf-8") as file:
            file.writelines(map(_line, lines))
            file.flush()
            os.fsync(file.fileno())  # else a loss of power may leave its name without its bytes
        draft.replace(self._path)
        self._file = self._path.open("ab", buffering=0)
        return self

    def rest(self, records: Iterable[Record]) -> Iterator[Record]:
        """Those after the mark; the others must be those that the earlier run read."""
        left = iter(records)
        for _ in range(self.begin.records):
            record = next(left, None)
            if record is None:
                break
            self._update(record)
        if self.begin.records and self._digest.hexdigest() != self.begin.digest:
            raise self._other_input()
        if self.begin.complete and next(left, None) is not None:
            raise self._other_input()
        yield from left

    def _other_input(self) -> UsageError:
        count = self.begin.records
        return UsageError(_refusal(self._path, f"the {count:,} records that it has read are not those of this input"))

    def add(self, record: Record, error: str | None) -> None:
        """Count a record, and take it into the digest."""
        super().add(record, error)
        self._update(record)

    def _update(self, record: Record) -> None:
        self._digest.update(repr((record.line, record.fault, record.fields)).encode("utf-8", "backslashreplace"))

    def mark(self, position: int, state: Any, complete: bool = False) -> bool:
        """Append a line; one that was cut by a kill does not count."""
        point = Mark(self.records, self.failed, self.first, self._digest.hexdigest(), position, state, complete)
        line = _line(asdict(point)).encode()
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise BertcliError(f"cannot write to {self._path}: {error.strerror or error}") from error
        self._marks = True
        return True

    def close(self) -> None:
        """Done: keep the side file, or remove it."""
        self._file.close()
        if not self._stays:
            self._path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Leave what another run can go on from, if there is any."""
        self._file.close()
        if not self._marks:
            self._path.unlink(missing_ok=True)


def open_journal(path: str, run: Mapping[str, Any], *, resume: bool, force: bool) -> tuple[SideFile, Sink]:
    """The journal of an output file, and the file opened where the journal says.

    Raises UsageError for a file that is there already unless `force`, or, with `resume`, for a run that is another one.
    """
    target = Path(os.path.realpath(path))
    side = target.with_name(f"{target.name}.resume")
    begin = _read(side, run, target) if resume else Mark()
    if target.exists() and not force and not begin.records and not begin.complete:
        hint = "--force replaces it" + ("" if resume else ", --resume goes on with an unfinished one")
        raise UsageError(f"{path} exists; {hint}")
    sink: Sink
    if begin.complete:
        if part_of(target).exists():  # killed just before it got its name
            open_file(path, begin.position).commit()
        sink = Sink(path, io.BytesIO())
        sink.seekable = True
    else:
        sink = open_file(path, begin.position)
        sink.keep = begin.records > 0
    return SideFile(side, run, begin, resume).start(), sink


def _read(side: Path, run: Mapping[str, Any], target: Path) -> Mark:
    """The last mark that the bytes reach; records=0 where there is nothing to go on from."""
    lines = side.read_bytes().splitlines() if side.exists() else []
    header, *marks = [_parsed(line) for line in lines] or [None]
    if header is None:
        return Mark()
    if header != _parsed(_line(run).encode()):
        raise UsageError(_refusal(side, _differences(header, run)))
    points = [Mark(**mark) for mark in marks if mark]
    part = part_of(target)
    if points and points[-1].complete and target.exists() and not part.exists():
        return points[-1]
    there = part.stat().st_size if part.exists() else -1
    return next((point for point in reversed(points) if point.position <= there), Mark())


def _parsed(line: bytes) -> Any:
    with suppress(ValueError):
        return json.loads(line)
    return None


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return ", ".join(f"{name} was {_shown(then.get(name))} and is {_shown(now.get(name))}" for name in names)


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)


def _refusal(side: Path, reason: str) -> str:
    return f"cannot resume from {side}: {reason}. --force without --resume begins anew."


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True) + "\n"
