"""What every training run does around its loop: check the output, choose precision, start or resume, log, publish.

Knows no task and no data. finetune.py and pretraining/pretrain.py say what is trained; loop.py is the loop.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from bertcli.device import Device, has_fast_bf16, keep_freed_memory
from bertcli.errors import UsageError
from bertcli.training import card, checkpoint
from bertcli.training.loop import Eval, Step, Trainer

CHECKPOINTS, LOG = "checkpoints", "log.jsonl"
Arguments = ParamSpec("Arguments")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Note:
    """A choice made for the user with its reason, or (warning) something about the data that the user should know."""

    message: str
    warning: bool = False


@dataclass(frozen=True)
class Saved:
    """The model is in `path`. step: which step's weights it has; metrics: theirs on dev, in fp32; None without dev."""

    path: Path
    step: int
    metrics: dict[str, Any] | None


def first_process_only(events: Callable[Arguments, Iterator[Item]]) -> Callable[Arguments, Iterator[Item]]:
    """Let a generator yield in the first process of a distributed run alone; the others work in silence.

    torchrun says in WORLD_SIZE that there are several, and in RANK which one this is.
    """

    @wraps(events)
    def filtered(*arguments: Arguments.args, **named: Arguments.kwargs) -> Iterator[Item]:
        for event in events(*arguments, **named):
            if "WORLD_SIZE" not in os.environ or os.environ.get("RANK", "0") == "0":
                yield event

    return filtered


def require_usable(output: Path, resume: bool, overwrite: bool) -> None:
    """Raise UsageError unless the directory is empty, or what is in it is to be resumed or replaced."""
    last = checkpoint.latest(output / CHECKPOINTS, "last")
    if resume and last is None:
        raise UsageError(f"{output}: there is no unfinished run to resume; start it without --resume.")
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; -o takes a directory.")
    if not (resume or overwrite) and output.is_dir() and any(output.iterdir()):
        hint = "--resume continues its run, --overwrite starts anew" if last else "--overwrite replaces its model"
        raise UsageError(f"{output} is not empty; {hint}.")


def choose_precision(wanted: str, device: Device) -> tuple[str, str]:
    """bf16 or fp32, and why."""
    if wanted != "auto":
        return wanted, "asked for"
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return "bf16", "the GPU has it"
    if device.type == "cpu" and has_fast_bf16():
        return "bf16", "this CPU multiplies bf16 natively"
    return "fp32", f"this {device.type} has no fast bf16"


@contextmanager
def open_accelerator(device: Device, precision: str, track: str | None, output: Path) -> Iterator[Accelerator]:
    """accelerate's view of device, processes and precision. track: the name of a tracker of accelerate's, or None."""
    _bound_caches()
    torch.set_num_threads(device.threads)
    keep_freed_memory()
    _require_tracker(track)
    mixed = "bf16" if precision == "bf16" else "no"
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=mixed, log_with=track, project_dir=output)
    try:
        yield accelerator
    finally:
        accelerator.end_training()
        # A process-wide singleton, which refuses another precision in the next run of the same process.
        AcceleratorState._reset_state()


def prepare(accelerator: Accelerator, module: torch.nn.Module, optimizer: Any) -> tuple[Any, Any]:
    """accelerate's `prepare`, but under bf16 the outputs stay bf16.

    accelerate makes them fp32. For logits over a vocabulary that is a copy of them all, and one more of their gradient.
    """
    forward = module.forward
    model, optimizer = accelerator.prepare(module, optimizer)
    if accelerator.mixed_precision == "bf16":
        module.forward = torch.autocast(accelerator.device.type, torch.bfloat16)(forward)
    return model, optimizer


def _bound_caches() -> None:
    """Let torch and oneDNN keep what they prepared for 16 shapes, not 1,024; they look when they first multiply.

    Each number of masked positions is a shape: 1.5 GB in 5,000 steps of BERT-mini, and no step is slower without.
    """
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(name, "16")


def _require_tracker(track: str | None) -> None:
    from accelerate.utils import is_tensorboard_available

    if track == "tensorboard" and not is_tensorboard_available():
        raise UsageError("--track tensorboard needs a package: pip install 'bertcli[tensorboard]'.")


def start(trainer: Trainer, output: Path, resume: bool) -> Iterator[Note]:
    """Load the last checkpoint, or clear what an earlier run left. Warns of a card that will be kept."""
    if card.is_edited(output):
        yield Note(
            f"{output / card.CARD} is not as bertcli wrote it and stays; the new one is {card.NEW}", warning=True
        )
    last = checkpoint.latest(trainer.plan.folder, "last")
    trainer.accelerator.wait_for_everyone()
    if resume and last:
        trainer.resume(last)
        yield Note(f"resumed after step {trainer.step:,} of {trainer.plan.total:,}")
    elif trainer.accelerator.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(trainer.plan.folder, ignore_errors=True)
        (output / LOG).unlink(missing_ok=True)


def identity(settings: Mapping[str, object], data: Mapping[str, Any], where: str, processes: int) -> dict[str, Any]:
    """What must be the same for a run to be resumed, by the names that a user knows. where: device and precision."""
    options = {f"--{name.replace('_', '-')}": value for name, value in settings.items() if name != "output"}
    return {**options, **data, "device": where, "processes": processes}  # a run may be moved, so output is left out


@contextmanager
def event_log(accelerator: Accelerator, output: Path, step: int) -> Iterator[Callable[[Step | Eval], None]]:
    """A function that appends an event to log.jsonl and to the tracker, if there is one.

    Events after `step`, which a resumed run repeats, are dropped from the file first.
    """
    if not accelerator.is_main_process:
        yield lambda event: None
        return
    accelerator.init_trackers("tensorboard")
    path = output / LOG
    kept = [line for line in _lines(path) if json.loads(line)["step"] <= step]
    with path.open("w", encoding="utf-8") as file:
        file.writelines(kept)

        def log(event: Step | Eval) -> None:
            print(json.dumps(_loggable(event), ensure_ascii=False), file=file, flush=True)
            accelerator.log(_scalars(event), step=event.step)

        yield log


def publish(trainer: Trainer, output: Path, fill: Callable[[Path], None]) -> None:
    """Add what `fill` writes to the best weights, and move all of it to the output; the run is over then."""
    best, _ = best_step(trainer)
    if trainer.accelerator.is_main_process:
        fill(best)
        if card.is_edited(output):
            (best / card.CARD).replace(best / card.NEW)
        shutil.rmtree(output / "onnx", ignore_errors=True)  # of the model that is being replaced
        checkpoint.publish(best, output, last="config.json")
        shutil.rmtree(trainer.plan.folder)
    trainer.accelerator.wait_for_everyone()


def best_step(trainer: Trainer) -> tuple[Path, int]:
    """Where the best weights are, and of which step they are."""
    best = checkpoint.latest(trainer.plan.folder, "best")
    assert best is not None  # the last step of a run is always an evaluation
    return best, int(best.name.rpartition("-")[2])


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []


def _loggable(event: Step | Eval) -> dict[str, Any]:
    return {"event": type(event).__name__.lower(), "time": round(time.time(), 3), **asdict(event)}


def _scalars(event: Step | Eval) -> dict[str, float]:
    if isinstance(event, Eval):
        return {f"dev/{name}": value for name, value in event.metrics.items() if isinstance(value, int | float)}
    named = {"loss": event.loss, "lr": event.lr, "grad_norm": event.grad_norm, "tokens_per_s": event.tokens_per_s}
    return {f"train/{name}": value for name, value in named.items()}
