"""Files that are there whole or not at all: written to a temporary directory, fsynced, renamed.

A checkpoint is a directory `best-STEP` or `last-STEP`; the older one of its prefix goes only after the newer is there,
so a crash at any moment leaves at least one that can be read.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from bertcli.errors import BertcliError

STATE = "state.pt"
Fill = Callable[[Path], None]


def save(folder: Path, prefix: str, step: int, fill: Fill) -> Path:
    """Write the checkpoint `prefix-step` by `fill(directory)`, then drop the older ones of that prefix."""
    target = folder / f"{prefix}-{step}"
    older = [path for path in _all(folder, prefix) if path != target]
    _write(target, fill)
    for path in older:
        shutil.rmtree(path)
    return target


def _write(target: Path, fill: Fill) -> None:
    draft = target.with_name(f"draft-{target.name}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        fill(draft)
        sync(draft)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors raise their own on a full disk
        reason = error.strerror if isinstance(error, OSError) else "is the disk full?"
        raise BertcliError(f"{target}: cannot be written ({reason}); make room and go on with --resume.") from error
    if target.exists():  # the same step again, from a resumed run: the same content
        shutil.rmtree(target)
    draft.rename(target)
    _fsync(target.parent)


def latest(folder: Path, prefix: str) -> Path | None:
    """The newest checkpoint of that prefix."""
    return max(_all(folder, prefix), key=_step, default=None)


def _all(folder: Path, prefix: str) -> list[Path]:
    return [path for path in folder.glob(f"{prefix}-*") if path.name.removeprefix(f"{prefix}-").isdigit()]


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def save_state(directory: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values."""
    torch.save(state, directory / STATE)


def load_state(directory: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; weights_only, so that a checkpoint runs no code. Raises BertcliError."""
    try:
        state: dict[str, Any] = torch.load(directory / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything from OSError to UnpicklingError here
        raise BertcliError(f"{directory / STATE}: not a readable checkpoint ({error}).") from error
    return state


def publish(draft: Path, target: Path, last: str) -> None:
    """Move the files of a finished draft into `target`, the file `last` at the end: it makes the directory valid."""
    sync(draft)
    (target / last).unlink(missing_ok=True)
    for path in sorted(draft.iterdir(), key=lambda path: path.name == last):
        if (target / path.name).is_dir():
            shutil.rmtree(target / path.name)
        path.replace(target / path.name)
    draft.rmdir()
    _fsync(target)


def sync(directory: Path) -> None:
    """Force every file of a directory, and the directory, to disk."""
    for path in directory.iterdir():
        _fsync(path)
    _fsync(directory)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
