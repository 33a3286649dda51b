"""Fine-tuning: labelled records and a base model in, a model directory out, and events on the way.

Knows the order of things and the files of a run; the data is labelled.py's, the loop train.py's, batches and losses
job.py's. Try: python -c "from bertcli.training.finetune import finetune; help(finetune)"
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from bertcli.backends import pytorch
from bertcli.data.records import Record
from bertcli.device import Device
from bertcli.errors import ModelError, UsageError
from bertcli.model import Model, read, resolve, update
from bertcli.training import job, optim, run
from bertcli.training.artifacts import Result
from bertcli.training.labelled import Data, prepare
from bertcli.training.plan import Eval, Plan, Step, Stop
from bertcli.training.run import Note, Saved
from bertcli.training.settings import Settings
from bertcli.training.train import Trainer

DROPOUTS = (  # what the families call it: BERT and most others; DistilBERT
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout",
    "dropout", "attention_dropout", "seq_classif_dropout",
)  # fmt: skip


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
    track: str | None = None,
) -> Iterator[Event]:
    """Train and publish a model in settings.output. In a distributed run only the first process yields events.

    options: of the command, for the model's bertcli.yaml; the settings alone where there is no command. track: where
    accelerate sends the numbers besides the log ("tensorboard"), None for nowhere.

    Raises UsageError for data, settings or an output directory that cannot be used, ModelError for such a base model,
    Interrupted after a checkpoint when `stop` returns a signal number.
    """
    base = resolve(settings.model)
    base.require_weights()
    output = Path(settings.output)
    run.demand_usable(output, resume, overwrite)
    precision, reason = run.choose_precision(settings.precision, device)
    note = f"device: {device.type}, {device.threads} threads ({device.reason}); precision: {precision} ({reason})"
    with run.open_accelerator(device, precision, track, output) as accelerator:
        kept = settings.as_dict() if options is None else options
        training = _Run(settings, kept, base, output, f"{device.type} {precision}", accelerator, resume)
        for event in training.events(note, train, dev, stop):
            if accelerator.is_main_process:
                yield event


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
        yield from run.start(trainer, self.output, self.resume)
        with run.event_log(self.accelerator, self.output, trainer.step) as log:
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
        model, optimizer = run.prepare(self.accelerator, module, optimizer)
        return Trainer(self.accelerator, model, optimizer, average, plan), new

    def _plan(self, data: Data, work: job.FinetuneJob) -> Plan:
        settings = self.settings
        steps = len(work.steps(0))
        total = settings.epochs * steps
        metric, direction = _metric(settings, data)
        return Plan(
            total=total,
            steps_per_epoch=steps,
            rate=optim.learning_rate(settings.lr, settings.warmup, total, settings.schedule),
            clip_norm=settings.clip_norm,
            eval_every=settings.eval_steps or steps,
            metric=metric,
            direction=direction,
            patience=settings.patience,
            folder=self.output / run.CHECKPOINTS,
            identity=self._identity(data),
        )

    def _identity(self, data: Data) -> dict[str, Any]:
        options = {f"--{name.replace('_', '-')}": value for name, value in self.settings.as_dict().items()}
        del options["--output"]  # a run may be moved
        return options | data.identity() | {"device": self.where, "processes": self.accelerator.num_processes}

    def _publish(self, data: Data, work: job.FinetuneJob, trainer: Trainer) -> Saved:
        """Score the best weights as predict will compute them, and move everything into place."""
        best, step = run.best_step(trainer)
        module = pytorch.load(read(best), data.task.head).to(self.accelerator.device)
        metrics = work.evaluate(module, with_intervals=True)

        def fill(draft: Path) -> None:
            Result(
                self.settings, self.options, self.base, data, self.where, step, metrics, trainer.history
            ).write(draft)  # fmt: skip
            update(read(draft), data.task.learned(metrics or {}))

        run.publish(trainer, self.output, fill)
        return Saved(self.output, step, metrics)


def open_base(base: Model, head: str, changes: dict[str, Any], dropout: float | None) -> tuple[Any, list[str]]:
    """The base model in fp32 with a head for `changes` (labels, problem), and the names of the weights that are new.

    Only head and pooler may be new. Raises ModelError for a checkpoint that lacks others.
    """
    import transformers

    pytorch.quiet()
    try:
        config = transformers.AutoConfig.from_pretrained(base.path, local_files_only=True, **changes)
        config.__dict__.pop("calibration", None)  # of the head that is to be trained anew
        if getattr(config, "is_decoder", False):  # pre-trained on the next word: a task's head reads both sides
            config.is_decoder = False
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
