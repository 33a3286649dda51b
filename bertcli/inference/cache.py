"""The cache of ONNX files for checkpoints that have none: where they are, and which one a run needs.

A folder's name is a hash of all that decides its content, so a file never changes. export/__init__.py writes the files,
training/teacher.py the answers of teachers, pretraining/ corpora and vocabularies. Hashes of weights are kept too,
because hashing 500 MB takes as long as the rest of a run. Imports nothing heavy. Try: bertcli cache
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bertcli import __version__, safety
from bertcli.errors import UsageError
from bertcli.model import DECISIVE, ONNX, Model

ABOUT = "about.json"
DRAFT = "draft-"  # begins the name of an unfinished folder, as in data/sinks.py
PRETRAINING = re.compile("(vocabulary-)?[0-9a-f]{20}")  # names of pretraining's folders, which are of no model
LEARNED = ("calibration", "null_threshold")  # entries of config.json that do not change the ONNX graph
STEADY = 2 * 10**9  # nanoseconds. A file may change twice within one tick of its clock, so a younger hash is not kept.


def root() -> Path:
    """The folder of the cache, whether or not it exists: $BERTCLI_CACHE, else `bertcli` among the user's caches.

    For a user without a home, as in some containers, it is an impossible path: nothing is in it, and writing fails.
    """
    try:
        home = Path.home()
    except RuntimeError:
        home = Path(os.devnull)
    caches = os.environ.get("XDG_CACHE_HOME") or home / ".cache"
    return Path(os.environ.get("BERTCLI_CACHE") or Path(caches, "bertcli"))


def missing_precision(model: Model, head: str, precision: str) -> str | None:
    """The precision of the ONNX file that a run needs and the model lacks, else None.

    precision: of a Request. auto takes any file that the model has; bf16 is computed from the fp32 file.
    """
    stored = "int8" if precision == "int8" else "fp32"
    wanted = set(ONNX) if precision == "auto" else {stored}
    return None if wanted & set(model.precisions(head)) or not model.has_weights else stored


def folder_of(model: Model, head: str, precision: str, texts: Sequence[str]) -> Path:
    """The folder of a checkpoint's ONNX file, whether or not it exists. texts: the files for measuring int8 scales.

    Raises ModelError for incomplete weights, UsageError for texts that are no file.
    """
    from hashlib import sha256  # and OpenSSL: 4 ms, which few runs need

    if others := [name for name in texts if not Path(name).is_file()]:
        raise UsageError(f"--calibrate {others[0]}: no file; each run looks whether its scales were measured on it.")
    config = {name: value for name, value in model.config.items() if name not in LEARNED}
    patterns = [pattern for pattern in DECISIVE if pattern != "config.json"]
    files = {file for pattern in patterns for file in model.path.glob(pattern)} | set(safety.weight_files(model.path))
    hashes = {str(file.relative_to(model.path)): _sha256(file) for file in files if file.is_file()}
    measured = [_sha256(Path(name)) for name in texts] if precision == "int8" else []
    decisive = json.dumps([__version__, head, precision, config, hashes, measured], sort_keys=True)
    return root() / "onnx" / sha256(decisive.encode()).hexdigest()[:20]


def with_cached_onnx(model: Model, head: str, precision: str, texts: Sequence[str]) -> Model:
    """The model with the ONNX file that it lacks, if the cache has it; else as it is. Arguments are folder_of's."""
    stored = missing_precision(model, head, precision)
    if stored is None or not root().is_dir():
        return model
    folder = folder_of(model, head, stored, texts)
    return replace(model, onnx=folder) if folder.is_dir() else model


def named(model: str) -> str:
    """The name of a model in `entries`: the absolute path of a directory, or a Hub name."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def describe(folder: Path, **about: Any) -> None:
    """Write into a cache folder what it contains, so that `bertcli cache` can list it."""
    about |= {"version": __version__, "written": datetime.now(UTC).isoformat(timespec="seconds")}
    (folder / ABOUT).write_text(json.dumps(about) + "\n", "ascii")  # a path may be any bytes


def entries() -> list[dict[str, Any]]:
    """What `describe` wrote about each ONNX file and each teacher, with folder and size, sorted by model.

    Before them the corpora and vocabularies of `pretrain`, also unfinished ones, whose model is None.
    """
    rows: list[dict[str, Any]] = []
    for folder in root().glob("*"):
        if name := PRETRAINING.fullmatch(folder.name):
            with suppress(OSError):  # cleared at this moment
                written = datetime.fromtimestamp(folder.stat().st_mtime, UTC).isoformat(timespec="seconds")
                row = {"kind": "vocabulary" if name[1] else "corpus", "model": None, "task": "pretrain"}
                about = {"precision": None, "texts": None, "version": None, "written": written}
                rows.append({**row, **about, "megabytes": _megabytes(folder), "folder": str(folder)})
    for file in root().glob(f"*/*/{ABOUT}"):
        if file.parent.name.startswith(DRAFT):
            continue
        with suppress(OSError, ValueError):  # cleared at this moment, or damaged
            about = json.loads(file.read_text("utf-8"))
            about |= {"megabytes": _megabytes(file.parent), "folder": str(file.parent)}
            rows.append({"kind": file.parent.parent.name, **about})
    return sorted(rows, key=lambda row: (row["model"] or "", row["task"], row["precision"] or "", row["folder"]))


def _megabytes(folder: Path) -> float:
    return round(sum(part.stat().st_size for part in folder.rglob("*") if part.is_file()) / 1e6, 1)


def clear(folders: Iterable[Path]) -> None:
    """Remove these folders, all hashes, and what killed processes left. Raises OSError if a folder cannot be removed.

    A run that has opened an ONNX file or a corpus goes on. One whose teacher is answering, or that is tokenising, ends;
    the same command starts it anew.
    """
    from shutil import rmtree

    for folder in (*folders, *root().glob(f"onnx/{DRAFT}*"), root() / "hashes"):
        with suppress(FileNotFoundError):
            rmtree(folder)


@contextmanager
def locked(note: Callable[[str], None]) -> Iterator[None]:
    """Lock the cache: one process at a time writes to it or clears it. Readers need no lock."""
    from filelock import FileLock, Timeout

    root().mkdir(parents=True, exist_ok=True)
    lock = FileLock(root() / "lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        note(f"another process writes to {root()}; waiting for it")
        held = lock.acquire()
    with held:
        yield


def _sha256(file: Path) -> str:
    """The hash of a file, remembered as long as its path, size, times and inode stay the same."""
    from hashlib import file_digest, sha256

    status = file.stat()
    version = f"{file.resolve()} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
    memo = root() / "hashes" / sha256(os.fsencode(version)).hexdigest()[:20]
    with suppress(OSError):
        if len(remembered := memo.read_text("ascii")) == 64:  # A loss of power may have cut it off.
            return remembered
    with file.open("rb") as content:
        digest = file_digest(content, "sha256").hexdigest()
    if root().is_dir() and time.time_ns() - status.st_ctime_ns > STEADY:
        with suppress(OSError):  # The cache may be read-only.
            memo.parent.mkdir(exist_ok=True)
            draft = memo.with_name(f"{memo.name}.{os.getpid()}")
            draft.write_text(digest, "ascii")
            draft.replace(memo)
    return digest
