"""What every training run does around its loop: check the output, choose precision, start or resume, log, publish.

Knows no task and no data. finetune.py and pretraining/pretrain.py say what is trained; loop.py is the loop.
"""

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, is_tensorboard_available

from bertcli.data.sinks import remove_files, replace_file, writing
from bertcli.device import Device, has_fast_bf16, keep_attention_off_cudnn, keep_freed_memory, use_threads
from bertcli.errors import UsageError
from bertcli.model import DECISIVE
from bertcli.tasks.training import file_hash
from bertcli.training import artifacts, checkpoint
from bertcli.training.artifacts import METRICS, plain
from bertcli.training.checkpoint import CHECKPOINTS, GONE, LOG, NO_RUN, SETTINGS
from bertcli.training.loop import Eval, Job, Step, Stop, Trainer, require_same

NEUTRAL = ("device", "threads", "export")  # options that may change when a finished run is looked at again
ROOM = "make room and go on with --resume"
Arguments = ParamSpec("Arguments")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Note:
    """A choice made for the user with its reason, or (warning) something about the data that the user should know."""

    message: str
    warning: bool = False


@dataclass(frozen=True)
class Saved:
    """The model is in `path`. step: its weights are of this step. metrics: on dev; None without dev."""

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


def finished(
    accelerator: Accelerator, output: Path, command: str, options: Mapping[str, object], corpus: Mapping[str, str],
    resume: bool, overwrite: bool,
) -> Saved | None:  # fmt: skip
    """The finished model of an earlier run, for --resume; None where there still is a training to do.

    Files that a crash left on their way are moved into place. corpus: the identity of the raw text, if there is any.
    Raises UsageError for the model of another run, unless it is overwritten.
    """
    if not resume:
        return None
    saved = [_finished(output, command, options, corpus, overwrite) if accelerator.is_main_process else None]
    return broadcast_object_list(saved)[0] if accelerator.num_processes > 1 else saved[0]


def _finished(
    output: Path, command: str, options: Mapping[str, object], corpus: Mapping[str, str], overwrite: bool
) -> Saved | None:
    folder = output / CHECKPOINTS
    ready = checkpoint.latest(folder, "ready")
    if not ready and (checkpoint.latest(folder, "last") or not (output / "config.json").is_file()):
        return None
    written = ready / SETTINGS if ready and (ready / SETTINGS).exists() else output / SETTINGS
    try:
        document = yaml.safe_load(written.read_text(encoding="utf-8"))
        splits = document["provenance"].get("data", {}).values()
        data = {name: facts["sha256"] for files in splits for name, facts in files.items() if "sha256" in facts}
        # The options among what a corpus is known by stand in the command's own too.
        before, texts = (
            {name: value for name, value in identity.items() if name.startswith("corpus file")}
            for identity in (document["provenance"].get("corpus", {}), corpus)
        )
        require_same(
            {name: value for name, value in {**document[command], **data, **before}.items() if name not in NEUTRAL},
            {name: value for name, value in {**plain(options), **texts}.items() if name not in NEUTRAL}
            | {name: file_hash(name).get("sha256") for name in data},
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError, UsageError) as error:
        if overwrite:
            return None
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{output} {NO_RUN}") from error
    if ready:
        with writing(output, ROOM):
            _move(ready, output)
    shutil.rmtree(output / GONE, ignore_errors=True)
    numbers = json.loads((output / METRICS).read_text(encoding="utf-8"))
    return Saved(output, numbers["step"], numbers["dev"])


def choose_precision(wanted: str, device: Device) -> tuple[str, Note]:
    """bf16 or fp32, and a note that names the device, the precision and the reasons."""
    if wanted != "auto":
        precision, reason = wanted, "asked for"
    elif device.type == "cuda" and torch.cuda.is_bf16_supported():
        precision, reason = "bf16", "the GPU has it"
    elif device.type == "cpu" and has_fast_bf16():
        precision, reason = "bf16", "this CPU multiplies bf16 natively"
    else:
        precision, reason = "fp32", f"this {device.type} has no fast bf16"
    threads = f"{device.threads} threads ({device.reason})"
    return precision, Note(f"device: {device.type}, {threads}; precision: {precision} ({reason})")


@contextmanager
def open_accelerator(device: Device, precision: str, track: str | None, output: Path) -> Iterator[Accelerator]:
    """accelerate's view of device, processes and precision. track: the name of a tracker of accelerate's, or None."""
    # torch and oneDNN keep what they prepared for 16 shapes, not 1,024; they look when they first multiply. Each number
    # of masked positions is a shape: 1.5 GB in 5,000 steps of BERT-mini, and no step is slower without.
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(name, "16")
    use_threads(device.threads)
    keep_freed_memory()
    if device.type == "cuda":
        keep_attention_off_cudnn()
        # A GPU adds up in another order each time unless it is asked not to, and a run that is resumed would end in
        # other weights. cuBLAS reads the variable when it first multiplies.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        # No kernel here reads memory that was not written before, and to fill it takes time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if track == "tensorboard" and not is_tensorboard_available():
        raise UsageError("--track tensorboard needs a package: pip install 'bertcli[tensorboard]'.")
    mixed = "bf16" if precision == "bf16" else "no"
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=mixed, log_with=track, project_dir=output)
    try:
        yield accelerator
    finally:
        accelerator.end_training()
        torch.use_deterministic_algorithms(False)
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


def start(trainer: Trainer, output: Path, resume: bool) -> Iterator[Note]:
    """Load the last checkpoint, or clear what an earlier run left. Warns of a card that will be kept."""
    if artifacts.is_edited(output):
        yield Note(
            f"{output / artifacts.CARD} is not as bertcli wrote it and stays; the new one is {artifacts.NEW}",
            warning=True,
        )
    last = checkpoint.latest(trainer.plan.folder, "last")
    trainer.accelerator.wait_for_everyone()
    if resume and last:
        trainer.resume(last)
        yield Note(f"resumed after step {trainer.step:,} of {trainer.plan.total:,}")
        return
    if resume:
        yield Note("nothing to resume: the run begins")
    if trainer.accelerator.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        with _alone(output):
            for folder in (trainer.plan.folder, output / GONE):
                shutil.rmtree(folder, ignore_errors=True)
            (output / LOG).unlink(missing_ok=True)


def train(trainer: Trainer, job: Job, output: Path, resume: bool, stop: Stop) -> Iterator[Note | Step | Eval]:
    """Start or resume, and train to the end; each event of the loop is logged before it is told."""
    yield from start(trainer, output, resume)
    with event_log(trainer.accelerator, output, trainer.step) as log:
        for event in trainer.run(job, stop):
            log(event)
            yield event


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the directory; the system lets go of it when the process ends, however it ends.

    The directory itself, for filelock would leave a file in what becomes a model. Raises UsageError where another run
    has it: each would take the checkpoints of the other for its own.
    """
    descriptor = os.open(output, os.O_RDONLY)
    try:
        with suppress(OSError):  # A network's file system may have no locks.
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = f"{output}: another run is writing there; wait for its end, or name another directory."
                raise UsageError(message) from error
        yield
    finally:
        os.close(descriptor)


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
    with _alone(output):
        accelerator.init_trackers("tensorboard")
        path = output / LOG
        with writing(path, ROOM):
            kept = []
            for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else []:
                with suppress(ValueError, TypeError, KeyError):  # of a line that a kill has cut
                    if json.loads(line)["step"] <= step:
                        kept.append(line)
            replace_file(path, b"".join(kept))
            file = path.open("ab", buffering=0)
        with file:

            def log(event: Step | Eval) -> None:
                entry = {"event": type(event).__name__.lower(), "time": round(time.time(), 3), **asdict(event)}
                line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
                with writing(path, ROOM):
                    if file.write(line) < len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    if isinstance(event, Eval):  # a checkpoint comes next, and the lines before it are not said again
                        os.fsync(file.fileno())
                if isinstance(event, Eval):
                    metrics = event.metrics.items()
                    numbers = {f"dev/{name}": value for name, value in metrics if isinstance(value, int | float)}
                else:
                    numbers = {f"train/{name}": entry[name] for name in ("loss", "lr", "grad_norm", "tokens_per_s")}
                accelerator.log(numbers, step=event.step)

            yield log


def publish(trainer: Trainer, output: Path, fill: Callable[[Path], None]) -> None:
    """Add what `fill` writes to the best weights, and move all of it to the output; the run is over then."""
    best, step = best_step(trainer)
    if trainer.accelerator.is_main_process:
        with writing(output, ROOM):
            fill(best)
            if artifacts.is_edited(output):
                (best / artifacts.CARD).replace(best / artifacts.NEW)
            checkpoint.sync(best)
            # Some files of a model that is being replaced would be read beside those of this one.
            shutil.rmtree(output / "onnx", ignore_errors=True)
            remove_files(output, (*DECISIVE, "*.safetensors*"))
            _move(best.rename(trainer.plan.folder / f"ready-{step}"), output)  # which `finished` can do as well
    trainer.accelerator.wait_for_everyone()


def _move(ready: Path, output: Path) -> None:
    """The files of a finished model into the output; then the checkpoints go, at once by their name."""
    checkpoint.publish(ready, output, last="config.json")
    shutil.rmtree(output / GONE, ignore_errors=True)
    ready.parent.rename(output / GONE)
    shutil.rmtree(output / GONE)


def best_step(trainer: Trainer) -> tuple[Path, int]:
    """Where the best weights are, and of which step they are."""
    best = checkpoint.latest(trainer.plan.folder, "best")
    assert best is not None  # the last step of a run is always an evaluation
    return best, checkpoint.step_of(best)
