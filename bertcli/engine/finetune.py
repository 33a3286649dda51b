"""Fine-tuning: labelled records and a base model in, a model directory out, and events on the way.

Knows the order of things and the files of a run; the data is labelled.py's, the loop train.py's, batches and losses
job.py's. Try: python -c "from bertcli.engine.finetune import finetune; help(finetune)"
"""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from bertcli.backends import pytorch
from bertcli.data.records import Record
from bertcli.device import Device, has_fast_bf16, keep_freed_memory
from bertcli.engine import checkpoint, job, optim
from bertcli.engine.artifacts import Result
from bertcli.engine.labelled import Data, prepare
from bertcli.engine.settings import Settings
from bertcli.engine.train import Eval, Plan, Step, Stop, Trainer
from bertcli.errors import ModelError, UsageError
from bertcli.model import Model, read, resolve, update

CHECKPOINTS, LOG = "checkpoints", "log.jsonl"
DROPOUTS = (  # what the families call it: BERT and most others; DistilBERT
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout",
    "dropout", "attention_dropout", "seq_classif_dropout",
)  # fmt: skip


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


Event = Note | Step | Eval | Saved


def finetune(
    settings: Settings,
    train: Iterable[Record],
    dev: Iterable[Record] | None,
    device: Device,
    *,
    resume: bool = False,
    overwrite: bool = False,
    stop: Stop = lambda: None,
    options: Mapping[str, Any] | None = None,
) -> Iterator[Event]:
    """Train and publish a model in settings.output. In a distributed run only the first process yields events.

    options: of the command, for the model's bertcli.yaml; the settings alone where there is no command.

    Raises UsageError for data, settings or an output directory that cannot be used, ModelError for such a base model,
    Interrupted after a checkpoint when `stop` returns a signal number.
    """
    base = resolve(settings.model)
    base.demand_weights()
    output = Path(settings.output)
    _demand_usable(output, resume, overwrite)
    precision, reason = _precision(settings.precision, device)
    note = f"device: {device.kind}, {device.threads} threads ({device.reason}); precision: {precision} ({reason})"
    with _accelerator(device, precision) as accelerator:
        kept = settings.as_dict() if options is None else options
        run = _Run(settings, kept, base, output, f"{device.kind} {precision}", accelerator, resume)
        for event in run.events(note, train, dev, stop):
            if accelerator.is_main_process:
                yield event


def _demand_usable(output: Path, resume: bool, overwrite: bool) -> None:
    last = checkpoint.latest(output / CHECKPOINTS, "last")
    if resume and last is None:
        raise UsageError(f"{output}: there is no unfinished run to resume; start it without --resume.")
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; -o takes a directory.")
    if not (resume or overwrite) and output.is_dir() and any(output.iterdir()):
        hint = "--resume continues its run, --overwrite starts anew" if last else "--overwrite replaces its model"
        raise UsageError(f"{output} is not empty; {hint}.")


def _precision(wanted: str, device: Device) -> tuple[str, str]:
    if wanted != "auto":
        return wanted, "asked for"
    if device.kind == "cuda" and torch.cuda.is_bf16_supported():
        return "bf16", "the GPU has it"
    if device.kind == "cpu" and has_fast_bf16():
        return "bf16", "this CPU multiplies bf16 natively"
    return "fp32", f"this {device.kind} has no fast bf16"


@contextmanager
def _accelerator(device: Device, precision: str) -> Iterator[Accelerator]:
    torch.set_num_threads(device.threads)
    keep_freed_memory()
    try:
        yield Accelerator(cpu=device.kind == "cpu", mixed_precision="bf16" if precision == "bf16" else "no")
    finally:
        # A process-wide singleton, which refuses another precision in the next run of the same process.
        AcceleratorState._reset_state()


@dataclass(frozen=True)
class _Run:
    """One run. where: device and precision, for people and for the check on resuming."""

    settings: Settings
    options: Mapping[str, Any]
    base: Model
    output: Path
    where: str
    accelerator: Accelerator
    resume: bool

    def events(self, note: str, train: Iterable[Record], dev: Iterable[Record] | None, stop: Stop) -> Iterator[Event]:
        yield Note(note)
        data = prepare(self.settings, self.base, train, dev)
        yield from map(Note, data.choices())
        yield from (Note(text, warning=True) for text in data.warnings())
        torch.manual_seed(self.settings.seed)
        work = self._job(data)
        trainer, new = self._trainer(data, work)
        yield Note(f"new weights: {', '.join(new) or 'none'}")
        yield from self._start(trainer)
        with self._log(trainer.step) as log:
            for event in trainer.run(work, stop):
                log(event)
                yield event
        yield self._publish(data, work, trainer)

    def _job(self, data: Data) -> job.FinetuneJob:
        settings, labels = self.settings, data.decision.labels
        weights = job.class_weights(settings.class_weights, data.train.targets, labels)
        loss = job.loss(data.decision.problem, weights, settings.label_smoothing)
        kind = job.PairJob if data.decision.problem == "similarity" else job.FinetuneJob
        return kind(data.task, settings, data.train, data.dev, loss, self.accelerator)

    def _trainer(self, data: Data, work: job.FinetuneJob) -> tuple[Trainer, list[str]]:
        settings = self.settings
        plan = self._plan(data, work)
        module, new = open_base(self.base, data.task.head, data.decision.config, settings.dropout)
        module.train()
        optimizer = optim.adamw(module.to(self.accelerator.device), settings.lr, settings.weight_decay)
        average = optim.Average(module, settings.ema, round(settings.warmup * plan.total)) if settings.ema else None
        model, optimizer = self.accelerator.prepare(module, optimizer)
        return Trainer(self.accelerator, model, optimizer, average, plan), new

    def _plan(self, data: Data, work: job.FinetuneJob) -> Plan:
        settings = self.settings
        steps = len(work.steps(0))
        total = settings.epochs * steps
        metric, direction = _metric(settings, data)
        return Plan(
            epochs=settings.epochs,
            steps_per_epoch=steps,
            rate=optim.learning_rate(settings.lr, settings.warmup, total, settings.schedule),
            clip_norm=settings.clip_norm,
            eval_every=settings.eval_steps or steps,
            metric=metric,
            direction=direction,
            patience=settings.patience,
            folder=self.output / CHECKPOINTS,
            identity=self._identity(data),
        )

    def _identity(self, data: Data) -> dict[str, Any]:
        options = {f"--{name.replace('_', '-')}": value for name, value in self.settings.as_dict().items()}
        del options["--output"]  # a run may be moved
        return options | data.identity() | {"device": self.where, "processes": self.accelerator.num_processes}

    def _start(self, trainer: Trainer) -> Iterator[Note]:
        """Load the last checkpoint, or clear what an earlier run left."""
        last = checkpoint.latest(trainer.plan.folder, "last")
        self.accelerator.wait_for_everyone()
        if self.resume and last:
            trainer.resume(last)
            yield Note(f"resumed after step {trainer.step:,} of {trainer.plan.total:,}")
        elif self.accelerator.is_main_process:
            self.output.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(trainer.plan.folder, ignore_errors=True)
            (self.output / LOG).unlink(missing_ok=True)

    @contextmanager
    def _log(self, step: int) -> Iterator[Callable[[Any], None]]:
        """A function that appends an event to log.jsonl, from which the events after `step` are dropped first."""
        if not self.accelerator.is_main_process:
            yield lambda event: None
            return
        path = self.output / LOG
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= step]
        with path.open("w", encoding="utf-8") as file:
            file.writelines(kept)
            yield lambda event: print(json.dumps(_loggable(event), ensure_ascii=False), file=file, flush=True)

    def _publish(self, data: Data, work: job.FinetuneJob, trainer: Trainer) -> Saved:
        """Score the best weights as predict will compute them, and move everything into place."""
        best = checkpoint.latest(trainer.plan.folder, "best")
        assert best is not None  # the last step of a run is always an evaluation
        step = int(best.name.rpartition("-")[2])
        module = pytorch.load(read(best), data.task.head).to(self.accelerator.device)
        metrics = work.evaluate(module)
        if self.accelerator.is_main_process:
            sources = {name: split.examples.provenance() for name, split in data.splits.items()}
            Result(
                self.settings, self.options, self.base, data.decision.problem, data.decision.labels, sources,
                self.where, step, metrics, trainer.history,
            ).write(best, data.max_length)  # fmt: skip
            shutil.rmtree(self.output / "onnx", ignore_errors=True)  # of the model that is being replaced
            update(read(best), data.task.learned(metrics or {}))
            checkpoint.publish(best, self.output, last="config.json")
            shutil.rmtree(trainer.plan.folder)
        self.accelerator.wait_for_everyone()
        return Saved(self.output, step, metrics)


def open_base(base: Model, head: str, changes: dict[str, Any], dropout: float | None) -> tuple[Any, list[str]]:
    """The base model in fp32 with a head for `changes` (labels, problem), and the names of the weights that are new.

    Only head and pooler may be new. Raises ModelError for a checkpoint that lacks others.
    """
    import transformers

    pytorch.quiet()
    try:
        config = transformers.AutoConfig.from_pretrained(base.path, local_files_only=True, **changes)
        for name in DROPOUTS:
            if dropout is not None and hasattr(config, name):
                setattr(config, name, dropout)
        module, info = getattr(transformers, f"AutoModelFor{head}" if head else "AutoModel").from_pretrained(
            base.path, config=config, use_safetensors=True, local_files_only=True, output_loading_info=True,
            ignore_mismatched_sizes=True, dtype=torch.float32,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{base.path}: transformers cannot open it ({error}).") from error
    if not head:
        module.pooler = None  # no part of the encoder: see pytorch.load
    new = sorted({*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])})
    _demand_encoder(base, module.base_model_prefix, new)
    return module, new


def _demand_encoder(base: Model, prefix: str, new: list[str]) -> None:
    missing = [name for name in new if name.startswith(f"{prefix}.") and ".pooler." not in name]
    if missing:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ModelError(f"{base.path}: the checkpoint lacks weights of the encoder, or has others in size ({names}).")


def _metric(settings: Settings, data: Data) -> tuple[str, int]:
    """What decides about the best weights, and whether more (1) or less (-1) of it is better.

    Raises UsageError for a name that the evaluation does not report.
    """
    if data.dev is None and (settings.metric or settings.patience):
        raise UsageError("--metric and --patience need --dev.")
    directions = {**data.task.directions, "loss": -1}
    name = settings.metric or next(iter(directions))
    if name not in directions:
        raise UsageError(f"--metric {name}: the evaluation reports {', '.join(directions)}.")
    return name, directions[name]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []


def _loggable(event: Step | Eval) -> dict[str, Any]:
    return {"event": type(event).__name__.lower(), "time": round(time.time(), 3), **asdict(event)}
