"""What is kept between runs, named by the content it was made from, and made by one process at a time."""

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def key(version: int, identity: Mapping[str, Any]) -> str:
    """A name for the content; the names by which people know its parts do not matter."""
    return hashlib.sha256(json.dumps([version, *identity.values()]).encode()).hexdigest()[:20]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder, made if need be; another process that wants it waits."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the system lets go of it when the process ends, however it ends
        yield


def sha256(name: str) -> str:
    """Of a file's content."""
    with Path(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
