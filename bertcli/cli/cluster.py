"""`predict --engine ray` between its options and the engine: which piece of which file, and its place in the whole."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from bertcli.cli.run import Answer, open_input, select
from bertcli.data.records import Record
from bertcli.errors import UsageError
from bertcli.inference.session import Request
from bertcli.inference.stream import Settings, Stop
from bertcli.tasks.base import Options

PIECE = 1 << 22  # bytes that an actor answers at once: what a dead worker costs
MOST_PIECES = 1000


def answers(given: Mapping[str, Any], stop: Stop) -> Iterator[list[Answer]]:
    """The answers of each piece, in input order, their records named and counted as one process would."""
    from bertcli.inference.ray import answers as run

    _refuse(given)
    paths = {str(Path(path).resolve()): path for path in given["files"]}
    here = {**given, "files": tuple(paths), "model": _absolute(given["model"])}
    pieces = max(1, min(MOST_PIECES, sum(Path(path).stat().st_size for path in paths) // PIECE))
    request, options, settings = (select(kind, here) for kind in (Request, Options, Settings))
    with redirect_stdout(sys.stderr):  # what Ray prints is no result; the writer has stdout already
        count = 0
        read = partial(_piece, here, pieces)
        for window in run(request, options, settings, read, pieces, given["address"], stop):
            for record, _, _ in window:
                record.index, record.source = count, paths[record.source]
                count += 1
            yield list(window)


def _refuse(given: Mapping[str, Any]) -> None:
    for option, value in (("--resume", given["resume"]), ("--shard", given["shard"])):
        if value:
            raise UsageError(f"--engine ray has no {option}: Ray cuts the input and replaces dead workers by itself.")
    if not given["files"] or not all(Path(path).is_file() for path in given["files"]):
        raise UsageError("--engine ray reads files that every node can open; stdin and pipes have to be files first.")


def _absolute(model: str | None) -> str | None:
    """A directory as workers find it, whose working directory is another; a Hub name stays one."""
    return str(Path(model).resolve()) if model is not None and Path(model).is_dir() else model


def _piece(given: Mapping[str, Any], pieces: int, number: int) -> Iterator[Record]:
    return open_input({**given, "shard": f"{number}/{pieces}"})
