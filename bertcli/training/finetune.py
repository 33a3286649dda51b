"""Fine-tuning: labelled records and a base model in, a model directory out, and events on the way.

`finetune` is the whole story, from top to bottom; what it calls stands below it. Knows no task: labels, targets and
loss are the task's own (tasks/training.py), the loop is loop.py's, what surrounds every training is run.py's.
Try: python -c "from bertcli.training.finetune import finetune; help(finetune)"
"""

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from bertcli import registry, tokenizer_files
from bertcli.arrays import Indices
from bertcli.backends import pytorch
from bertcli.data.records import Record
from bertcli.device import Device
from bertcli.errors import UsageError
from bertcli.evaluation.evaluate import intervals
from bertcli.model import Model, read, resolve, update
from bertcli.pretrained import require_encoder
from bertcli.tasks.base import BaseTask
from bertcli.tasks.examples import Examples, Faults
from bertcli.tasks.labels import Decision, decide
from bertcli.tasks.training import BaseTraining, Labelled
from bertcli.training import optim, run, sampler
from bertcli.training.artifacts import Result
from bertcli.training.base_model import open_base
from bertcli.training.loop import Batch, Eval, Metrics, Plan, Step, Stop, Trainer
from bertcli.training.output import CHECKPOINTS, require_usable
from bertcli.training.run import Note, Saved
from bertcli.training.settings import Settings

FEW = 12  # labels that a note names
EVAL_TOKENS = 2048  # in a batch without gradients, at least
Event = Note | Step | Eval | Saved


@run.first_process_only
def finetune(
    settings: Settings,
    train: Iterable[Record],
    dev: Iterable[Record] | None,
    device: Device,
    *,
    resume: bool = False,
    overwrite: bool = False,
    stop: Stop = lambda: None,
    track: str | None = None,
) -> Iterator[Event]:
    """Train and publish a model in settings.output. In a distributed run only the first process yields events.

    track: where accelerate sends the numbers besides the log ("tensorboard"), None for nowhere.

    Raises UsageError for data, settings or an output directory that cannot be used, ModelError for such a base model,
    Interrupted after a checkpoint when `stop` returns a signal number.
    """
    base = resolve(settings.model)
    if settings.model is not None:
        base.require_weights()
    require_encoder(base.path, base.config)
    output = Path(settings.output)
    require_usable(output, resume, overwrite)
    precision, reason = run.choose_precision(settings.precision, device)
    hardware = f"{device.type} {precision}"
    with run.open_accelerator(device, precision, track, output) as accelerator:
        if saved := run.finished(accelerator, output, "finetune", settings.kept(), resume, overwrite):
            yield saved
            return
        yield run.device_note(device, precision, reason)
        data = read_data(settings, base, train, dev)
        yield from map(Note, data.choices())
        yield from (Note(text, warning=True) for text in data.warnings())

        torch.manual_seed(settings.seed)
        job = Job(settings, data, accelerator)
        plan = _plan(settings, data, job, output, hardware)
        module, new = open_base(base, data.task.head, data.decision.config, settings.dropout)
        optimizer = optim.adamw(module.train().to(accelerator.device), settings.lr, settings.weight_decay)
        average = optim.average(module, settings.ema) if settings.ema else None
        trainer = Trainer(accelerator, *run.prepare(accelerator, module, optimizer), average, plan)
        yield Note(f"new weights: {', '.join(new) or 'none'}")

        yield from run.start(trainer, output, resume)
        with run.event_log(accelerator, output, trainer.step) as log:
            for event in trainer.run(job, stop):
                log(event)
                yield event

        # The best weights are scored as predict will compute them, and everything is moved into place.
        best, step = run.best_step(trainer)
        metrics = job.evaluate(pytorch.load(read(best), data.task.head).to(accelerator.device), with_intervals=True)
        result = Result(
            settings, base, data.task, data.decision, data.splits, hardware, step, metrics,
            trainer.history,
        )  # fmt: skip

        def fill(draft: Path) -> None:
            result.write(draft)
            update(read(draft), data.task.learned(metrics or {}))

        run.publish(trainer, output, fill)
        yield Saved(output, step, metrics)


@dataclass(frozen=True)
class Data:
    """All splits, encoded. task: bound to the labels of `decision`, which `training` learns."""

    task: BaseTask
    decision: Decision
    training: BaseTraining
    splits: Mapping[str, Labelled]

    def choices(self) -> Iterator[str]:
        """What was chosen for the user, and why."""
        yield f"problem: {self.decision.problem.replace('_', ' ')} ({self.decision.reason})"
        if self.decision.has_classes:
            labels = self.decision.labels
            named = ", ".join(labels[:FEW]) + (f", … {len(labels):,} in all" if len(labels) > FEW else "")
            yield f"labels: {named} ({self.decision.labels_reason})"

    def warnings(self) -> Iterator[str]:
        """What was lost."""
        limit = self.task.tokenizer.max_length
        for name, split in self.splits.items():
            if cut := split.examples.truncated:
                total = len(split.examples)
                yield f"{cut:,} of {total:,} {name} texts were cut at {limit} tokens (--long window: none)"
            yield from (f"{name} data: {text}" for text in self.task.warnings(split.gold))


def read_data(settings: Settings, base: Model, train: Iterable[Record], dev: Iterable[Record] | None) -> Data:
    """Read and encode all records. Raises UsageError with the faults of both splits, or for unknown dev labels."""
    task_class: type[BaseTask] = registry.load("tasks", settings.task).Task
    tokens = tokenizer_files.load(base.path, base.config)
    if settings.max_length is not None:
        if settings.max_length > tokens.max_length:
            raise UsageError(f"--max-length {settings.max_length}: the model takes at most {tokens.max_length} tokens.")
        tokens.max_length = settings.max_length
    # The calibration is that of the base model's head, which is trained anew.
    config = {name: value for name, value in task_class.config_of(base).items() if name != "calibration"}
    records = {"train": train} | ({} if dev is None else {"dev": dev})
    encoder, faults = task_class(tokens, config, settings.options), Faults()
    examples = {name: Examples(encoder, split, faults) for name, split in records.items()}
    faults.require_none(good=sum(map(len, examples.values())))

    decision = decide(task_class, settings, base, examples["train"].records)
    task = task_class(tokens, {**config, **decision.config}, settings.options)
    if dev is not None:
        if not len(examples["dev"]):
            raise UsageError("the dev data has no records; leave --dev away to train without.")
        if unknown := task_class.unknown_labels(settings, decision, examples["dev"].records):
            raise UsageError(
                f"the dev data has labels that the training data has not: {', '.join(unknown)}. "
                f"Known are: {', '.join(decision.labels)}."
            )
    gold = {name: split.targets(task, faults) for name, split in examples.items()}
    faults.require_none(good=sum(target is not None for targets in gold.values() for target in targets))
    training = task.training(decision, settings)
    splits = {
        name: Labelled(split, gold[name], training.targets(split, gold[name])) for name, split in examples.items()
    }
    return Data(task, decision, training, splits)


class Job:
    """Batches, loss and scores, as the loop asks for them. rank of processes: whose part of a batch this is."""

    def __init__(self, settings: Settings, data: Data, accelerator: Accelerator) -> None:
        self.settings, self.accelerator = settings, accelerator
        self.task, self.training = data.task, data.training
        self.train, self.dev = data.splits["train"], data.splits.get("dev")
        self.rank, self.processes = accelerator.process_index, accelerator.num_processes
        self.pad = int(data.task.config.get("pad_token_id") or 0)
        self.training.start(self.train)

    def steps(self, epoch: int) -> list[list[Indices]]:
        """The units of each batch of each step of an epoch."""
        settings = self.settings
        lengths = self.training.lengths(self.train.examples)
        batches = sampler.epoch_batches(lengths, settings.batch_tokens, settings.seed, epoch)
        return sampler.steps(batches, settings.accumulate)

    def schedule(self, step: int) -> Iterator[list[Indices]]:
        """The units of each batch of each step, epoch after epoch."""
        epoch, done = divmod(step, len(self.steps(0)))
        for number in count(epoch):
            yield from self.steps(number)[done if number == epoch else 0 :]

    def batch(self, units: Indices) -> Batch:
        """This process' units; where there are fewer units than processes, some other unit that counts nothing."""
        shard = sampler.shard(units, self.rank, self.processes)
        shown = shard if len(shard) else units[:1]
        targets = self.training.batch_targets(self.train, shown)
        tokens = int(self.train.examples.lengths[self.training.windows(shard)].sum())
        terms = self.training.terms(targets) * bool(len(shard))
        inputs = self._inputs(self.train, self.training.windows(shown))
        return Batch(inputs, targets.to(self.accelerator.device), terms, len(shard), tokens)

    def _inputs(self, labelled: Labelled, windows: Indices) -> dict[str, torch.Tensor]:
        arrays = labelled.examples.arrays(windows, self.pad)
        return {name: torch.from_numpy(array).to(self.accelerator.device) for name, array in arrays.items()}

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The sum over the batch's terms; 0 for a batch that is not this process' own."""
        outputs = self._outputs(model, batch.inputs)
        mask = batch.inputs.get("attention_mask")
        return self.training.loss(outputs, batch.targets, mask) * (1.0 if batch.count else 0.0)

    def _outputs(self, model: Any, inputs: Mapping[str, torch.Tensor]) -> Any:
        module = self.accelerator.unwrap_model(model)
        return model(**{name: inputs[name] for name in pytorch.inputs_of(module, inputs)})

    def evaluate(self, model: Any, with_intervals: bool = False) -> Metrics | None:
        """The task's metrics on the dev set, and the mean loss; `intervals`: of 95 % by metric, [low, high]."""
        if self.dev is None:
            return None
        predictions, loss = self.predict(model, self.dev)
        task = self.task.tuned(self.dev.gold, predictions)
        metrics = {"loss": loss, **task.metrics(self.dev.gold, predictions)}
        if with_intervals:
            metrics["intervals"] = intervals(task, self.dev.gold, predictions)
        return metrics

    @torch.no_grad()
    def predict(self, model: Any, labelled: Labelled) -> tuple[list[Any], float]:
        """The task's raw prediction for each record, and the mean loss; computed in shares by the processes."""
        training, lengths = self.training, labelled.examples.lengths
        batches = sampler.in_length_order(lengths, max(EVAL_TOKENS, self.settings.batch_tokens))
        rows: dict[int, Mapping[str, Any]] = {}
        total, terms = 0.0, 0
        model.eval()
        for windows in batches[self.rank :: self.processes]:
            inputs = self._inputs(labelled, windows)
            outputs = self._outputs(model, inputs)
            if training.has_window_loss:
                targets = training.batch_targets(labelled, windows)
                total += float(training.loss({name: value.cpu() for name, value in outputs.items()}, targets))
                terms += training.terms(targets)
            arrays = {name: value.float().cpu().numpy() for name, value in outputs.items() if hasattr(value, "float")}
            fed = {name: value.cpu().numpy() for name, value in inputs.items()}
            fed.setdefault("attention_mask", np.ones_like(fed["input_ids"]))
            reduced = self.task.reduce(fed, arrays)
            for row, window in enumerate(windows.tolist()):
                rows[window] = {name: value[row] for name, value in reduced.items()}
        model.train()
        if self.processes > 1:
            shares, totals, counts = zip(*gather_object([(rows, total, terms)]), strict=True)
            rows, total, terms = dict(ChainMap(*shares)), sum(totals), sum(counts)
        features = labelled.examples.features()
        predictions = [self.task.combine(record, [rows[i] for i in windows]) for record, windows in features]
        if not training.has_window_loss:
            return predictions, training.records_loss(predictions, labelled)
        return predictions, total / max(terms, 1)


def _plan(settings: Settings, data: Data, job: Job, output: Path, hardware: str) -> Plan:
    """How long to train, and what decides about the best weights.

    Raises UsageError for a metric that the evaluation does not report.
    """
    if job.dev is None and (settings.metric or settings.patience):
        raise UsageError("--metric and --patience need --dev.")
    directions = {**data.task.directions, "loss": -1}
    metric = settings.metric or next(iter(directions))
    if metric not in directions:
        raise UsageError(f"--metric {metric}: the evaluation reports {', '.join(directions)}.")
    facts: dict[str, Any] = {"the model's labels": list(data.decision.labels)}
    facts |= {f"{name} data": split.examples.sha256(split.gold) for name, split in data.splits.items()}
    steps = len(job.steps(0))
    total = settings.epochs * steps
    return Plan(
        total=total,
        steps_per_epoch=steps,
        rate=optim.learning_rate(settings.lr, settings.warmup, total, settings.schedule),
        clip_norm=settings.clip_norm,
        eval_every=settings.eval_steps or steps,
        metric=metric,
        direction=directions[metric],
        patience=settings.patience,
        folder=output / CHECKPOINTS,
        identity=run.identity(settings.as_dict(), facts, hardware, job.processes),
        average_from=round(settings.warmup * total),
    )
