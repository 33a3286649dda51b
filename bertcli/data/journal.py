"""What a run has done so far: counts and, for an output that is a file, a side file from which --resume goes on.

FILE.resume holds one line of JSON that says what the run is, then a line for each write to FILE.part. After a kill, the
last line whose bytes are in FILE.part tells where to go on: earlier records are read again, compared by their digest,
and dropped. Output is on the disk before its line is written. Nobody waits for the line to reach the disk, since a lost
one costs only its chunk. Knows no task; `run` is whatever must be the same for the result to be the same.

Try: bertcli predict corpus.txt -o out.jsonl & sleep 3; kill $!; bertcli predict corpus.txt -o out.jsonl --resume
"""

import errno
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from bertcli.data.records import Record
from bertcli.data.sinks import Rewrite, Sink, open_sink, part_of, replace_file, require_no_unfinished, side_of, writing
from bertcli.errors import BertcliError, UsageError


@dataclass(frozen=True)
class Mark:
    """A point of a run. digest: of the records before it; position: bytes of the output; state: of its formatter.

    learned: what the task has put into its memory since the mark before; of the mark at which a run begins, all of it.
    unknown: how many texts the model could mostly not read, by script.
    """

    records: int = 0
    failed: int = 0
    first: str = ""
    digest: str = ""
    position: int = 0
    state: Any = None
    complete: bool = False
    learned: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)


class Journal:
    """Counts of a run, and its first failure for the closing sentence; without a side file it leaves no trace.

    side: the side file. run: what tells this run apart from others. begin: where it goes on. stays: whether the side
    file is kept after the end, as proof of what was done.
    """

    def __init__(
        self,
        side: Path | None = None,
        run: Mapping[str, Any] | None = None,
        begin: Mark | None = None,
        stays: bool = False,
    ) -> None:
        self.begin = begin or Mark()
        self.records, self.failed, self.first = self.begin.records, self.begin.failed, self.begin.first
        self.unknown = Counter(self.begin.unknown)
        self._side, self._stays = side, stays
        self._has_marks = self.begin.records > 0
        self._memory = dict(self.begin.learned)
        self._noted = len(self._memory)  # of the memory, in marks
        if side:
            from hashlib import blake2b  # 8 ms, which a run without a side file need not take

            self._digest = blake2b(digest_size=16)
            self._header = _line(run)
            replace_file(side, self._header + (_line(asdict(self.begin)) if self._has_marks else b""))
            self._file = side.open("ab", buffering=0)

    def rest(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records after the mark. Raises UsageError where earlier ones are not those of the earlier run."""
        left = iter(records)
        for _ in range(self.begin.records):
            record = next(left, None)
            if record is None:
                break
            self._update(record)
        differs = self.begin.records and self._digest.hexdigest() != self.begin.digest
        if self._side and (differs or (self.begin.complete and next(left, None) is not None)):
            reason = f"the {self.begin.records:,} records that it has read are not those of this input"
            raise _refusal(self._side, reason)
        yield from left

    def share(self, memory: dict[str, Any]) -> None:
        """Restore a task's memory as it was at the mark; later marks note what is added to it."""
        memory |= self._memory
        self._memory = memory

    def add(self, record: Record, error: str | None) -> None:
        """Count a record whose result comes next."""
        self.records += 1
        if error is not None:
            self.fail(f"{record.location}: {error}")
        if self._side:
            self._update(record)

    def fail(self, message: str) -> None:
        """Count a failure."""
        self.failed += 1
        self.first = self.first or message

    def _update(self, record: Record) -> None:
        self._digest.update(repr((record.line, record.fault, record.fields)).encode("utf-8", "backslashreplace"))

    def mark(self, position: int, state: Any, complete: bool = False) -> bool:
        """Note that the results of all added records are in the output; returns whether a run can go on from here."""
        if not self._side:
            return False
        news = [*islice(reversed(self._memory.items()), len(self._memory) - self._noted)]
        self._noted += len(news)
        learned = {} if complete else dict(reversed(news))
        digest, unknown = self._digest.hexdigest(), dict(self.unknown)
        point = Mark(self.records, self.failed, self.first, digest, position, state, complete, learned, unknown)
        line = _line(asdict(point))
        try:
            if complete and self._stays and self._memory:
                replace_file(self._side, self._header + line)  # What was learnt has served its purpose.
            elif self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise BertcliError(f"cannot write to {self._side}: {error.strerror or error}") from error
        self._has_marks = True
        return True

    def close(self, failed: bool = False) -> None:
        """The run is over: remove the side file, unless it is to stay or, after a failure, tells where to go on."""
        if self._side:
            self._file.close()
            if not (self._has_marks if failed else self._stays):
                self._side.unlink(missing_ok=True)


def open_journal(
    path: str, run: Mapping[str, Any], *, resume: bool, force: bool, rewrite: Rewrite | None = None
) -> tuple[Journal, Sink]:
    """The journal of an output file, and the file opened where the journal says.

    Raises UsageError for a file that is there already unless `force`, or, with `resume`, for a run that is another one.
    """
    target = Path(os.path.realpath(path))
    side = side_of(target)
    begin = _read(side, run, target) if resume else Mark()
    if target.exists() and not force and not begin.records and not begin.complete:
        hint = "--force replaces it" + ("" if resume else ", --resume goes on with an unfinished one")
        raise UsageError(f"{path} exists; {hint}")
    if not resume and not force:
        require_no_unfinished(path)
    if begin.complete:
        if part_of(target).exists():  # killed just before it got its name
            with writing(path):
                open_sink(path, begin.position, rewrite).commit()
        sink = Sink(path, io.BytesIO())
        sink.seekable = True
    else:
        sink = open_sink(path, begin.position, rewrite)
        sink.keep = begin.records > 0
    try:
        with writing(side):
            return Journal(side, run, begin, resume), sink
    except BertcliError:
        sink.discard()
        raise


def _read(side: Path, run: Mapping[str, Any], target: Path) -> Mark:
    """The last mark that the bytes reach; records=0 where there is nothing to go on from."""
    lines = side.read_bytes().splitlines() if side.exists() else []
    header, *marks = [_parsed(line) for line in lines] or [None]
    if header is None:
        return Mark()
    if header != _parsed(_line(run)):
        changes = {name: (header.get(name), run.get(name)) for name in {**header, **run}}
        shown = {name: ["not given" if value is None else value for value in pair] for name, pair in changes.items()}
        said = [f"{name} was {old} and is {new}" for name, (old, new) in shown.items() if old != new]
        raise _refusal(side, ", ".join(said))
    points = [Mark(**mark) for mark in takewhile(bool, marks)]
    part = part_of(target)
    if points and points[-1].complete and target.exists() and not part.exists():
        return points[-1]
    size = part.stat().st_size if part.exists() else -1
    count = next((count for count in range(len(points), 0, -1) if points[count - 1].position <= size), 0)
    learned = {name: value for point in points[:count] for name, value in point.learned.items()}
    return replace(points[count - 1], learned=learned) if count else Mark()


def _parsed(line: bytes) -> Any:
    """None for a line that a kill has cut."""
    with suppress(ValueError):
        return json.loads(line)
    return None


def _refusal(side: Path, reason: str) -> UsageError:
    return UsageError(f"cannot resume from {side}: {reason}. --force without --resume begins anew.")


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"
