"""Files that are there whole or not at all: written to a temporary directory, fsynced, renamed.

A checkpoint is a directory `best-STEP` or `last-STEP`; the older one of its prefix goes only after the newer is there,
so a crash at any moment leaves at least one that can be read. A checkpoint of the same step is set aside as
`last-STEP.old` before the new one takes its name. A finished model is `ready-STEP` until its last file is in place.
Try: bertcli finetune … -o DIR, kill -9 at any moment, and the same again with --resume
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bertcli.data.sinks import usual_modes
from bertcli.errors import BertcliError

STATE, OLD = "state.pt", ".old"
Fill = Callable[[Path], None]


def save(folder: Path, prefix: str, step: int, fill: Fill) -> Path:
    """Write the checkpoint `prefix-step` by `fill(directory)`, then drop the older ones of that prefix."""
    target = folder / f"{prefix}-{step}"
    _write(target, fill)
    for path in _all(folder, prefix):
        if path != target:
            shutil.rmtree(path)
    return target


def _write(target: Path, fill: Fill) -> None:
    from safetensors import SafetensorError

    draft = target.with_name(f"draft-{target.name}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        fill(draft)
        usual_modes(draft)
        sync(draft)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors raise their own on a full disk
        shutil.rmtree(draft, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) else "is the disk full?"
        raise BertcliError(f"{target}: cannot be written ({reason}); make room and go on with --resume.") from error
    if target.exists():  # The same step again, from a resumed run; one of the two is whole at any moment.
        shutil.rmtree(_aside(target), ignore_errors=True)
        target.rename(_aside(target))
    draft.rename(target)
    _fsync(target.parent)


def latest(folder: Path, prefix: str) -> Path | None:
    """The newest checkpoint of that prefix."""
    return max(_all(folder, prefix), key=lambda path: (step_of(path), path.suffix != OLD), default=None)


def _all(folder: Path, prefix: str) -> list[Path]:
    return [
        path for path in folder.glob(f"{prefix}-*") if path.name.removeprefix(f"{prefix}-").removesuffix(OLD).isdigit()
    ]


def _aside(target: Path) -> Path:
    return target.with_name(target.name + OLD)


def step_of(checkpoint: Path) -> int:
    """The step whose weights it has."""
    return int(checkpoint.name.removesuffix(OLD).rpartition("-")[2])


def save_state(directory: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values."""
    import torch

    torch.save(state, directory / STATE)


def load_state(directory: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; weights_only, so that a checkpoint runs no code. Raises BertcliError."""
    import torch

    try:
        state: dict[str, Any] = torch.load(directory / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything from OSError to UnpicklingError here
        raise BertcliError(f"{directory / STATE}: not a readable checkpoint ({error}).") from error
    return state


def publish(draft: Path, target: Path, last: str) -> None:
    """Move the files of a finished draft into `target`, the file `last` at the end: it makes the directory valid.

    After a crash it goes on with the files that are left. The draft is then empty.
    """
    sync(draft)
    if (draft / last).exists():
        (target / last).unlink(missing_ok=True)
    for path in sorted(draft.iterdir(), key=lambda path: path.name == last):
        if (target / path.name).is_dir():
            shutil.rmtree(target / path.name)
        path.replace(target / path.name)
    _fsync(target)


def sync(directory: Path) -> None:
    """Force every file of a directory, and the directory, to disk."""
    for path in (*directory.rglob("*"), directory):
        _fsync(path)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
