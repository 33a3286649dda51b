"""The directory of a run: what is in it, and whether a run may use it; asked before torch is imported.

Try: bertcli finetune --train train.tsv -m MODEL -o DIR, twice
"""

from pathlib import Path

from bertcli.errors import UsageError
from bertcli.training import checkpoint

SETTINGS = "bertcli.yaml"
CHECKPOINTS, LOG, GONE = "checkpoints", "log.jsonl", "checkpoints.old"
RESTS = {CHECKPOINTS, LOG, f"{LOG}.part", GONE, "tensorboard"}  # what a run has before its first checkpoint
NO_RUN = "holds no run that --resume could go on with; --overwrite replaces what is there."


def require_usable(output: Path, resume: bool, overwrite: bool) -> None:
    """Raise UsageError unless the directory is empty, or what is in it is to be resumed or replaced.

    What a run leaves that ended before its first checkpoint is nothing to keep.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; -o takes a directory.")
    if overwrite or not output.is_dir():
        return
    last = checkpoint.latest(output / CHECKPOINTS, "last")
    kept = sorted(path.name for path in output.iterdir() if path.name not in RESTS)
    if resume and kept and not last and not (output / SETTINGS).is_file():
        raise UsageError(f"{output} {NO_RUN}")
    if not resume and (kept or last):
        hint = "--resume continues its run, --overwrite starts anew" if last else "--overwrite replaces its model"
        raise UsageError(f"{output} is not empty; {hint}.")
