"""Formats found by file name: a new one is one new file. Listing them imports none of them.

input_formats/NAME.py holds `read(source, columns)`, output_formats/NAME.py holds `formatter(...)`, see the protocols
in readers.py and writers.py; either may name file extensions besides its own in EXTENSIONS.
"""

from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, Literal

from bertcli.errors import UsageError

Kind = Literal["input", "output"]
COMPRESSIONS = (".gz", ".bz2", ".xz")


def names(kind: Kind) -> list[str]:
    """The names of the formats that can be read or written, sorted."""
    return sorted(file.stem for file in Path(__file__).with_name(f"{kind}_formats").glob("[a-z]*.py"))


def load(kind: Kind, name: str) -> Any:
    """The module of one format; an unknown name is a UsageError."""
    if name not in names(kind):
        raise UsageError(f"no {kind} format '{name}'; there are: {', '.join(names(kind))}")
    return import_module(f"bertcli.data.{kind}_formats.{name}")


def compression(path: str) -> str:
    """`.gz`, `.bz2`, `.xz` or nothing."""
    suffix = PurePath(path).suffix.lower()
    return suffix if suffix in COMPRESSIONS else ""


def extension(path: str) -> str:
    """The extension under the compression suffix: `.csv` for a.csv.gz."""
    return PurePath(path.lower().removesuffix(compression(path))).suffix


def by_extension(kind: Kind, path: str) -> str | None:
    """The format that a file's name asks for, or None."""
    suffix = extension(path)
    known = names(kind)
    if suffix[1:] in known:
        return suffix[1:]
    return next((name for name in known if suffix in load(kind, name).EXTENSIONS), None)
