"""Which files the names on a command line stand for: files, directories and patterns. Knows no format.

Try: python -c 'from bertcli.data.paths import expand; print(expand(["tests/", "*.md"]))'
"""

import os
from collections.abc import Iterable
from glob import glob
from pathlib import Path

from bertcli.errors import UsageError

MARKERS = {"_SUCCESS", "_metadata", "_common_metadata"}  # what Spark and Dask write beside their files of data


def expand(paths: Iterable[str]) -> list[str]:
    """The files that paths, directories and patterns name, in the order of `paths`, those of each sorted.

    What names nothing stays, as "-" does: who opens it says what is wrong. Raises UsageError as `below` does.
    """
    files: list[str] = []
    for path in paths:
        named: dict[str, str] = {}  # each once, for `**` matches a directory and the files in it
        for name in matches(path) or [path]:
            for file in below(name) if os.path.isdir(name) else [name]:  # noqa: PTH112 - Path() refuses a NUL
                named[os.path.normpath(file)] = file
        files += sorted(named.values())
    return files


def matches(path: str) -> list[str]:
    """The path itself, or what it matches as a pattern, sorted; none where a pattern matches nothing."""
    if os.path.lexists(path) or not any(mark in path for mark in "*?["):
        return [path]
    return sorted(glob(path, recursive=True))  # noqa: PTH207 - Path.glob() takes no absolute pattern


def below(directory: str) -> list[str]:
    """All files in a directory and those in it, sorted. Raises UsageError where there is none.

    Hidden ones are left out, and those beside an output that bertcli has not finished, which may lie in its own input.
    """

    def fail(error: OSError) -> None:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}; make it readable or name files.")

    files: list[str] = []
    for folder, folders, names in os.walk(directory, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        others = {name for name in names if name in MARKERS or name.startswith(".") or _is_unfinished(name, names)}
        files += [str(Path(folder, name)) for name in names if name not in others]
    if not files:
        raise UsageError(f"there is no file in {directory}; name files, directories or quoted patterns.")
    return sorted(files)


def _is_unfinished(name: str, names: list[str]) -> bool:
    """Whether a file beside these is what a run has written so far, or its journal; see sinks.py."""
    if name.endswith(".part"):
        return f"{name.removesuffix('.part').removesuffix('.part')}.resume" in names
    output = name.removesuffix(".resume")
    return output != name and (output in names or f"{output}.part" in names)
