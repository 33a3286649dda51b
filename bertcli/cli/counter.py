"""How far the records of a run have come: one line at the foot of a terminal. Knows no task and no format.

Try: bertcli predict big.jsonl -o out.jsonl
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bertcli.cli.terminal import Voice
from bertcli.errors import BertcliError

if TYPE_CHECKING:
    from bertcli.data.records import Record
    from bertcli.inference.stream import Outcome

DRAW_EVERY = 0.2  # seconds between two states of the line
COUNTED = 1 << 30  # bytes, half a second of reading
TABLES = {b"PAR1": "parquet", b"ARRO": "arrow", b"\xff\xff\xff\xff": "arrow"}  # whose rows are counted, by first bytes
ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zX")  # gzip, bzip2, xz
GAP = "  "


class Counter:
    """How far records have come, on one line of a terminal's stderr; nothing anywhere else. Use it in a `with`.

    files: the input. How much of it is left is told by the lines that it has, which are counted if it is files of no
    more than COUNTED bytes; a pipe and an archive have a count and a speed only.
    """

    def __init__(self, voice: Voice, files: Sequence[str]) -> None:
        self.voice = voice
        self.lines = _lines(files) if voice.draws else {}
        self.before = dict(zip(self.lines, accumulate([0, *self.lines.values()]), strict=False))
        self.records, self.line, self.first_line = 0, 0, 0
        self.began, self.last = time.monotonic(), 0.0
        self.is_shown = False

    def __enter__(self) -> "Counter":
        return self

    def __exit__(self, *error: object) -> None:
        self._draw("")

    def count(self, record: "Record") -> None:
        """A record is done."""
        self.records += 1
        self.line = self.before.get(record.source, 0) + record.line
        self.first_line = self.first_line or self.line

    def watched(self, windows: "Iterable[list[Outcome]]") -> "Iterator[list[Outcome]]":
        """The windows, counted and shown as they come."""
        for window in windows:
            for outcome in window:
                self.count(outcome.record)
            self.show()
            yield window

    def passed(self, records: "Iterable[Record]") -> "Iterator[Record]":
        """The records, counted and shown as they come."""
        for record in records:
            self.count(record)
            self.show()
            yield record

    def show(self) -> None:
        """Bring the line up to date, if the last is a while ago."""
        now = time.monotonic()
        if not self.voice.draws or now - self.last < DRAW_EVERY:
            return
        self.last, seconds = now, max(now - self.began, 0.001)
        parts = [f"{self.records:,} records", f"{self.records / seconds:,.0f} records/s"]
        total, done = sum(self.lines.values()), self.line - self.first_line
        if total and done:
            parts.append(f"{self.line / total:.0%}, {left(seconds * max(total - self.line, 0) / done)}")
        self._draw(GAP.join(parts))

    def _draw(self, line: str) -> None:
        if line or self.is_shown:
            self.is_shown = bool(line)
            with suppress(OSError):
                click.echo(f"\r{line}\x1b[K", nl=False, err=True)


def left(seconds: float) -> str:
    """A time for people, as "1:05 left" or "2:00:05 left"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} left" if hours else f"{minutes}:{rest:02d} left"


def _lines(files: Sequence[str]) -> dict[str, int]:
    """The lines of each file; nothing where one is no plain file, or all are too large to count for a line of text."""
    paths = [Path(name) for name in files]
    if not all(path.is_file() for path in paths) or sum(path.stat().st_size for path in paths) > COUNTED:
        return {}
    counts = {}
    for name, path in zip(files, paths, strict=True):
        with path.open("rb") as file:
            head = file.read(4)
            if head.startswith(ARCHIVES):
                return {}
            if head in TABLES:
                from bertcli.data.formats.table_reader import count

                with suppress(BertcliError):  # which reading it raises too
                    counts[name] = count(name, TABLES[head])
                continue
            file.seek(0)
            counts[name] = 1 + sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return counts
