"""A part of the input for each of n processes: by byte ranges over all files, one after the other.

A record belongs to the shard in which its first line begins, so that shards have no record in common, miss none, and
their results one after the other are those of the whole input. What cannot be entered in the middle (an archive, a
JSON document, an encoding in which a line end may be two bytes) belongs where its file begins.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bertcli.errors import UsageError

CHUNK = 1 << 20  # bytes read at once to count line ends: 3 GB/s from the page cache


@dataclass(frozen=True)
class Shard:
    """Number i, from 1, of `count`."""

    number: int
    count: int


@dataclass(frozen=True)
class Part:
    """Bytes [start, end) of a file, either of which may lie outside it."""

    path: str
    start: int
    end: int

    @property
    def has_start(self) -> bool:
        """Whether the file begins in it."""
        return self.start <= 0 < self.end

    def lines(self) -> tuple[int, int]:
        """Numbers of the first line that begins in it and the first that begins after it."""
        start = max(self.start, 1)  # a line begins after a line end, and the first one anyway
        first = 2 + _line_ends(self.path, 0, start - 1)
        after = first + _line_ends(self.path, start - 1, self.end - 1)
        return (1 if self.has_start else first), after


def parse(text: str) -> Shard:
    """`2/8` is the second of eight. Raises UsageError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard '{text}': write I/N with I from 1 to N, as in 1/8.")
    return Shard(int(match[1]), int(match[2]))


def parts(paths: Sequence[str], shard: Shard) -> list[Part]:
    """What the shard reads. Raises UsageError for stdin and other things without a size."""
    total = sum(_size(path) for path in paths)
    return _between(paths, total * (shard.number - 1) // shard.count, total * shard.number // shard.count)


def parts_before(paths: Sequence[str], shard: Shard) -> list[Part]:
    """What the shards before it read."""
    return _between(paths, 0, sum(_size(path) for path in paths) * (shard.number - 1) // shard.count)


def _between(paths: Sequence[str], start: int, end: int) -> list[Part]:
    found, place = [], 0
    for path in paths:
        size = _size(path)
        if start < place + size and end > place:
            found.append(Part(path, start - place, min(end - place, size)))
        place += size
    return found


def _size(path: str) -> int:
    """Bytes and one more: an empty file too belongs to a shard."""
    if path == "-" or not Path(path).is_file():
        name = "stdin" if path == "-" else path
        raise UsageError(f"--shard needs regular files, whose size is known; {name} is none. Write it to a file first.")
    return Path(path).stat().st_size + 1


def _line_ends(path: str, start: int, end: int) -> int:
    return sum(chunk.count(b"\n") for chunk in _chunks(path, start, end))


def _chunks(path: str, start: int, end: int) -> Iterator[bytes]:
    with Path(path).open("rb", buffering=0) as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(CHUNK, end - start))):
            start += len(chunk)
            yield chunk
