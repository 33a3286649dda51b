"""What is kept between runs, named by the content it was made from, and made by one process at a time."""

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bertcli.errors import Interrupted

PAUSE = 0.05  # seconds between two looks at a lock that another process has


def key(version: int, identity: Mapping[str, Any]) -> str:
    """A name for the content; the names by which people know its parts do not matter."""
    return hashlib.sha256(json.dumps([version, *identity.values()]).encode()).hexdigest()[:20]


@contextmanager
def locked(folder: Path, stop: Callable[[], int | None]) -> Iterator[None]:
    """Hold the folder, made if need be; another process that wants it waits.

    Raises Interrupted when `stop` returns a signal number meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        while not _taken(file):
            if signum := stop():
                raise Interrupted(signum)
            time.sleep(PAUSE)
        yield


def _taken(file: IO[str]) -> bool:
    """Whether the lock is ours now; the system lets go of it when the process ends, however it ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sha256(name: str) -> str:
    """Of a file's content."""
    with Path(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
