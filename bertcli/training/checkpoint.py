"""The directory of a run: whether a run may use it, and files that are whole or not there, for they are renamed last.

A checkpoint is a directory `best-STEP` or `last-STEP`; the older one of its prefix goes only after the newer is there,
so a crash at any moment leaves at least one that can be read. A checkpoint of the same step is set aside as
`last-STEP.old` before the new one takes its name. A finished model is `ready-STEP` until its last file is in place.
Does not import torch. Try: bertcli finetune … -o DIR, kill -9, and the same again with --resume
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from bertcli.data import sinks
from bertcli.errors import BertcliError, UsageError
from bertcli.safety import require_name

OLD = ".old"


def save(folder: Path, prefix: str, step: int, fill: Callable[[Path], None]) -> None:
    """Write the checkpoint `prefix-step` by `fill(directory)`, then drop the older ones of that prefix."""
    from safetensors import SafetensorError

    target = folder / f"{prefix}-{step}"
    if target.exists():  # The same step again, from a resumed run; one of the two is whole at any moment.
        aside = target.with_name(target.name + OLD)
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
    try:
        with sinks.new_directory(target) as draft:
            fill(draft)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors raise their own on a full disk
        reason = error.strerror if isinstance(error, OSError) else "is the disk full?"
        raise BertcliError(f"{target}: cannot be written ({reason}); make room and go on with --resume.") from error
    for path in _all(folder, prefix):
        if path != target:
            shutil.rmtree(path)


def latest(folder: Path, prefix: str) -> Path | None:
    """The newest checkpoint of that prefix."""
    return max(_all(folder, prefix), key=lambda path: (step_of(path), path.suffix != OLD), default=None)


def _all(folder: Path, prefix: str) -> list[Path]:
    return [
        path for path in folder.glob(f"{prefix}-*") if path.name.removeprefix(f"{prefix}-").removesuffix(OLD).isdigit()
    ]


def step_of(checkpoint: Path) -> int:
    """The step whose weights it has."""
    return int(checkpoint.name.removesuffix(OLD).rpartition("-")[2])


def publish(draft: Path, target: Path, last: str) -> None:
    """Move the files of a finished draft into `target`, the file `last` at the end: it makes the directory valid.

    After a crash it goes on with the files that are left. The draft is then empty.
    """
    sync(draft)
    for path in sorted(draft.iterdir(), key=lambda path: path.name == last):
        if (target / path.name).is_dir():
            shutil.rmtree(target / path.name)
        path.replace(target / path.name)
    sinks.sync(target)


def sync(directory: Path) -> None:
    """Force every file of a directory, and the directory, to disk."""
    for path in (*directory.rglob("*"), directory):
        sinks.sync(path)


SETTINGS = "bertcli.yaml"
CHECKPOINTS, LOG, GONE = "checkpoints", "log.jsonl", "checkpoints.old"
RESTS = {CHECKPOINTS, LOG, f"{LOG}.part", GONE, "tensorboard"}  # what a run has before its first checkpoint
NO_RUN = "holds no run that --resume could go on with; --overwrite replaces what is there."


def require_usable(output: Path, resume: bool, overwrite: bool) -> None:
    """Raise UsageError unless the directory is empty, or what is in it is to be resumed or replaced.

    Raises ModelError for a name that no library opens.
    What a run leaves that ended before its first checkpoint is nothing to keep.
    """
    require_name(output)
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; -o takes a directory.")
    if overwrite or not output.is_dir():
        return
    last = latest(output / CHECKPOINTS, "last")
    kept = sorted(path.name for path in output.iterdir() if path.name not in RESTS)
    if resume and kept and not last and not (output / SETTINGS).is_file():
        raise UsageError(f"{output} {NO_RUN}")
    if not resume and (kept or last):
        hint = "--resume continues its run, --overwrite starts anew" if last else "--overwrite replaces its model"
        raise UsageError(f"{output} is not empty; {hint}.")
