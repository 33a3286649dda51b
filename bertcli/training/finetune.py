"""Fine-tuning: labelled records and a base model in, a model directory out, and events on the way.

`finetune` is the whole story, from top to bottom; what it calls stands below it. The task gives labels, targets and
loss (tasks/training.py), loop.py is the loop, and run.py is what surrounds every training. Knows no task.
Try: python -c "from bertcli.training.finetune import finetune; help(finetune)"
"""

import shutil
from collections import ChainMap, Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from bertcli import exits, registry, tokenizer_files
from bertcli.arrays import Indices
from bertcli.backends import pytorch
from bertcli.data.records import Record
from bertcli.device import Device
from bertcli.errors import UsageError
from bertcli.inference.cache import root
from bertcli.metrics import bootstrap
from bertcli.model import Model, read, resolve, update
from bertcli.pretrained import require_encoder
from bertcli.tasks import ENCODER
from bertcli.tasks.base import BaseTask
from bertcli.tasks.labels import MISSING, decide, map_hint
from bertcli.tasks.training import Data, Examples, Faults, Labelled, file_hash
from bertcli.training import artifacts, run, sampler, teacher
from bertcli.training.base_model import cut_to_pieces, open_base, used_pieces
from bertcli.training.checkpoint import CHECKPOINTS, require_usable
from bertcli.training.loop import Batch, Eval, Metrics, Plan, Step, Stop, Trainer, adamw, learning_rate, moving_average
from bertcli.training.run import Note, Saved
from bertcli.training.settings import Settings
from bertcli.training.teacher import Answering, Answers

EVAL_TOKENS = 2048  # in a batch without gradients, at least
# The card's table of settings leaves these out: names of fields, and what the card says elsewhere.
SKIPPED = ("model", "teacher", "output", "task", "text_field", "pair_field", "label_field", "label_separator", "labels")
FEW = 12  # labels that a note names
Event = Note | Answering | Step | Eval | Saved


@run.first_process_only
def finetune(
    settings: Settings,
    train: Iterable[Record],
    dev: Iterable[Record] | None,
    device: Device,
    *,
    unlabelled: Iterable[Record] = (),
    vocabulary: Iterable[Record] | None = None,
    cache: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    stop: Stop = lambda: None,
    track: str | None = None,
) -> Iterator[Event]:
    """Train and publish a model in settings.output. In a distributed run only the first process yields events.

    unlabelled: records that only the teacher labels. vocabulary: records whose pieces (subwords) are kept, None for
    all. cache: the folder for a teacher's answers, None for the usual one. track: "tensorboard" also gets the numbers
    of the log. stop: asked after each step; it returns a signal number to stop, else None.

    Raises UsageError for data, settings or an output directory that cannot be used, ModelError for such a base model,
    Interrupted after a checkpoint when `stop` returns a signal number.
    """
    base = resolve(settings.model, ENCODER)
    if settings.model is not None:
        base.require_weights()
    require_encoder(base.path, base.config)
    output = Path(settings.output)
    require_usable(output, resume, overwrite)
    precision, note = run.choose_precision(settings.precision, device)
    hardware = f"{device.type} {precision}"
    with run.open_accelerator(device, precision, track, output) as accelerator:
        if saved := run.finished(accelerator, output, "finetune", settings.saved(), {}, resume, overwrite):
            yield saved
            return
        yield note
        if settings.teacher:  # The teacher reads the texts later; the encoded examples have only their tokens.
            train, unlabelled = list(train), list(unlabelled)
        data = read_data(settings, base, train, dev, unlabelled, vocabulary)
        yield from _notes(data)

        answers = None
        if settings.teacher:
            records = [*train, *unlabelled]
            answers = yield from teacher.ask(settings, data, records, device, cache or root(), accelerator, stop)
            del records, train, unlabelled  # so that only their tokens stay in memory
        torch.manual_seed(settings.seed)
        job = FinetuneJob(settings, data, answers, accelerator)
        plan = _plan(settings, data, job, output, hardware)
        # torch's fused attention is slow backwards in bf16 on CPUs. Training 6 layers of 384 in batches of 1,024 tokens
        # is 0.9, 1.1, 1.3, 1.8 times as fast without it for texts of 16, 32, 128, 512 tokens, and 1.7, 2.1, 1.5, 1.4
        # times where there is no dropout (Zen 4, one thread).
        module, new = open_base(
            base, data.task.head, data.decision.config, settings.dropout, layers=settings.layers,
            pieces=data.task.tokenizer.pieces, attention="eager" if hardware == "cpu bf16" else None,
        )  # fmt: skip
        if settings.exit_after:
            data.task.certainty(np.zeros((1, module.config.num_labels)))  # raises for a task that has no exit
            exits.attach(module, settings.exit_after)
        optimizer = adamw(module.train().to(accelerator.device), settings.lr, settings.weight_decay)
        average = moving_average(module, settings.ema) if settings.ema else None
        trainer = Trainer(accelerator, *run.prepare(accelerator, module, optimizer), average, plan)
        yield Note(f"new weights: {', '.join(new) or 'none'}")

        yield from run.train(trainer, job, output, resume, stop)

        # The best weights are scored as predict will compute them, and everything is moved into place.
        best, step = run.best_step(trainer)
        metrics = job.evaluate(pytorch.load(read(best), data.task.head).to(accelerator.device), with_intervals=True)

        def fill(draft: Path) -> None:
            """Put beside the weights what else a model directory holds."""
            tokenizer_files.save(data.task.tokenizer, base.path, draft, data.task.tokenizer.max_length)
            for file in data.task.model_files(base):
                (draft / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(base.path / file, draft / file)
            sources = {
                name: {source: {"records": count, **file_hash(source)} for source, count in counts.items()}
                for name, counts in data.sources.items()
                if counts
            }
            digest = _write_card(draft, settings, base, data, sources, hardware, metrics)
            facts = {"device": hardware, "data": sources, "card": digest}
            artifacts.write_settings(draft, "finetune", settings.saved(), facts)
            artifacts.write_metrics(draft, metrics, step, trainer.history)
            update(read(draft), data.task.learned(metrics or {}))

        run.publish(trainer, output, fill)
        yield Saved(output, step, metrics)


def read_data(
    settings: Settings,
    base: Model,
    train: Iterable[Record],
    dev: Iterable[Record] | None,
    unlabelled: Iterable[Record] = (),
    vocabulary: Iterable[Record] | None = None,
) -> Data:
    """Read and encode all records; the arguments are those of `finetune`.

    Raises UsageError with the faults of all records, or for dev labels that train lacks, and ModelError for a tokenizer
    whose vocabulary cannot be cut.
    """
    task_class: type[BaseTask] = registry.load("tasks", settings.task).Task
    tokens = tokenizer_files.load(base.path, base.config)
    if settings.max_length is not None:
        if settings.max_length > tokens.max_length:
            raise UsageError(f"--max-length {settings.max_length}: the model takes at most {tokens.max_length} tokens.")
        tokens.max_length = settings.max_length
    config = task_class.config_of_base(base)
    sources = {"vocabulary": Counter[str]()}
    whole = replace(settings.options, long="window")  # as predict and evaluate read a text
    if vocabulary is not None:
        encoder = task_class(tokens, config, whole)
        tokens = cut_to_pieces(tokens, used_pieces(encoder, vocabulary, sources["vocabulary"]))
        config["pad_token_id"] = tokens.pad
    encoder, faults = task_class(tokens, config, settings.options), Faults()
    examples = {"train": Examples(encoder, train, faults, unlabelled)}
    if dev is not None:
        examples["dev"] = Examples(task_class(tokens, config, whole), dev, faults)
    faults.require_none(good=sum(map(len, examples.values())))

    labelled = examples["train"].records[: examples["train"].labelled]
    decision = decide(task_class, settings, resolve(settings.teacher) if settings.teacher else base, labelled)
    task = task_class(tokens, {**config, **decision.config}, settings.options)
    if dev is not None:
        if not len(examples["dev"]):
            raise UsageError("the dev data has no records; leave --dev away to train without.")
        if unknown := task_class.unknown_labels(settings, decision, examples["dev"].records):
            raise UsageError(
                f"the dev data has labels that the training data has not: {', '.join(unknown)}. "
                f"Known are: {', '.join(decision.labels)}; {map_hint(unknown)}. Problem: {decision.reason}."
            )
    gold = {name: split.targets(task, faults) for name, split in examples.items()}
    faults.require_none(good=sum(target is not None for targets in gold.values() for target in targets))
    training = task.training(decision, settings)
    splits = {
        name: Labelled(split, gold[name], training.targets(split, gold[name])) for name, split in examples.items()
    }
    sources |= {name: split.sources for name, split in examples.items()}
    sources["unlabelled"] = examples["train"].unlabelled
    return Data(task, decision, training, splits, sources)


def _notes(data: Data) -> Iterator[Note]:
    """What was chosen for the user and why, and what was cut off."""
    if kept := data.task.tokenizer.pieces:
        yield Note(f"vocabulary: {len(kept):,} pieces of {data.task.config['vocab_size']:,}")
    yield Note(f"problem: {data.decision.problem.replace('_', ' ')} ({data.decision.reason})")
    if data.decision.has_classes:
        labels = data.decision.labels
        named = ", ".join(labels[:FEW]) + (f", … {len(labels):,} in all" if len(labels) > FEW else "")
        yield Note(f"labels: {named} ({data.decision.labels_reason})")
        if missing := [name for name in labels if name.casefold() in MISSING]:
            yield Note(f"{', '.join(missing)}: a class, too; where it stands for no label, {map_hint(missing)}")
    limit = data.task.tokenizer.max_length
    for name, split in data.splits.items():
        if cut := split.examples.truncated:
            texts = f"{cut:,} of {len(split.examples):,} {name} texts"
            yield Note(f"{texts} were cut at {limit} tokens (--long window: none)", warning=True)
        yield from (Note(f"{name} data: {text}", warning=True) for text in data.task.warnings(split.gold))


class FinetuneJob:
    """Batches of units (see BaseTraining), their loss and the scores, as the training loop asks for them (loop.Job)."""

    def __init__(self, settings: Settings, data: Data, answers: Answers | None, accelerator: Accelerator) -> None:
        self.settings, self.accelerator, self.answers = settings, accelerator, answers
        self.task, self.training = data.task, data.training
        self.train, self.dev = data.splits["train"], data.splits.get("dev")
        self.rank, self.processes = accelerator.process_index, accelerator.num_processes
        self.pad = int(data.task.config.get("pad_token_id") or 0)
        self.training.start(self.train)

    def steps(self, epoch: int) -> list[list[Indices]]:
        """The steps of an epoch; a step is a list of batches, and a batch an array of indices of units."""
        settings = self.settings
        lengths = self.training.lengths(self.train.examples)
        batches = sampler.epoch_batches(lengths, settings.batch_tokens, settings.seed, epoch)
        return sampler.steps(batches, settings.accumulate)

    def schedule(self, step: int) -> Iterator[list[Indices]]:
        """The steps after this one, epoch after epoch without end."""
        epoch, done = divmod(step, len(self.steps(0)))
        for number in count(epoch):
            yield from self.steps(number)[done if number == epoch else 0 :]

    def split(self, units: Indices, parts: int) -> list[Indices]:
        """A batch cut into at most so many smaller ones, for a memory that is too small."""
        return np.array_split(units, min(parts, len(units)))

    def batch(self, units: Indices) -> Batch:
        """This process' share of a batch. Where its share is empty, it computes one unit that counts nothing."""
        shard = sampler.shard(units, self.rank, self.processes)
        shown = shard if len(shard) else units[:1]
        targets = [self.training.batch_targets(self.train, shown)]
        terms = self.training.terms(targets[0])
        if self.answers:  # A teacher answers texts without a label too.
            targets.append(self.answers.distillation.batch_targets(self.answers.labelled, shown))
            terms = self.answers.distillation.terms(targets[1])
        tokens = int(self.train.examples.lengths[self.training.windows(shard)].sum())
        inputs = self._inputs(self.train, self.training.windows(shown))
        on_device = [target.to(self.accelerator.device) for target in targets]
        return Batch(inputs, on_device, terms * bool(len(shard)), len(shard), tokens)

    def _inputs(self, labelled: Labelled, windows: Indices) -> dict[str, torch.Tensor]:
        arrays = labelled.examples.arrays(windows, self.pad)
        return {name: torch.from_numpy(array).to(self.accelerator.device) for name, array in arrays.items()}

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The sum of the loss over the batch's terms; 0 if this process' share is empty."""
        outputs = self._outputs(model, batch.inputs)
        loss = self._difference(outputs, batch)
        if "exit_logits" in outputs:  # Both heads are trained, so that the layers before the exit serve both.
            loss = loss + self._difference({"logits": outputs["exit_logits"]}, batch)
        return loss * (1.0 if batch.count else 0.0)

    def _difference(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """The loss of one head, against the labels and the teacher's answers."""
        mask = batch.inputs.get("attention_mask")
        loss = self.training.loss(outputs, batch.targets[0], mask)
        if self.answers:
            weight = self.settings.teacher_weight
            loss = (1 - weight) * loss + weight * self.answers.distillation.loss(outputs, batch.targets[1], mask)
        return loss

    def _outputs(self, model: Any, inputs: Mapping[str, torch.Tensor]) -> Any:
        module = self.accelerator.unwrap_model(model)
        return model(**{name: inputs[name] for name in pytorch.inputs_of(module, inputs)})

    @torch.no_grad()
    def evaluate(self, model: Any, with_intervals: bool = False) -> Metrics | None:
        """The task's metrics on the dev set, and the mean loss; `intervals`: 95 % intervals by metric, [low, high].

        Each process predicts a share of the windows, and all get all predictions.
        """
        if self.dev is None:
            return None
        training, labelled = self.training, self.dev
        batches = sampler.in_length_order(labelled.examples.lengths, max(EVAL_TOKENS, self.settings.batch_tokens))
        rows: dict[int, Mapping[str, Any]] = {}
        total, terms = 0.0, 0
        model.eval()
        for windows in batches[self.rank :: self.processes]:
            inputs = self._inputs(labelled, windows)
            outputs = self._outputs(model, inputs)
            if training.has_window_loss:
                targets, mask = training.batch_targets(labelled, windows), inputs.get("attention_mask")
                on_cpu = {name: value.cpu() for name, value in outputs.items()}
                total += float(training.loss(on_cpu, targets, None if mask is None else mask.cpu()))
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
        has_window_loss = training.has_window_loss
        loss = total / max(terms, 1) if has_window_loss else training.records_loss(predictions, labelled)
        task = self.task.tuned(labelled.gold, predictions)
        metrics = {"loss": loss, **task.metrics(labelled.gold, predictions)}
        if with_intervals:
            columns = task.columns(labelled.gold, predictions)
            drawn = bootstrap.intervals(task.resampled(labelled.gold, columns), len(labelled.gold))
            metrics["intervals"] = {name: [interval.low, interval.high] for name, interval in drawn.items()}
        return metrics


def _plan(settings: Settings, data: Data, job: FinetuneJob, output: Path, hardware: str) -> Plan:
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
    if pieces := data.task.tokenizer.pieces:
        facts["the pieces of --vocabulary-from"] = sha256(repr(pieces).encode()).hexdigest()
    if job.answers:
        facts["the teacher's answers"] = job.answers.sha256
    facts |= {f"{name} data": split.examples.sha256(split.gold) for name, split in data.splits.items()}
    steps = len(job.steps(0))
    total = settings.epochs * steps
    return Plan(
        total=total,
        steps_per_epoch=steps,
        rate=learning_rate(settings.lr, settings.warmup, total, settings.schedule),
        clip_norm=settings.clip_norm,
        eval_every=settings.eval_steps or steps,
        metric=metric,
        direction=directions[metric],
        patience=settings.patience,
        folder=output / CHECKPOINTS,
        identity=run.identity(settings.as_dict(), facts, hardware, job.processes),
        average_from=round(settings.warmup * total),
    )


def _write_card(
    draft: Path,
    settings: Settings,
    base: Model,
    data: Data,
    sources: Mapping[str, Any],
    hardware: str,
    metrics: Metrics | None,
) -> str:
    """Write the model card, with what is known of its training data and what was not tested; returns its digest.

    sources: the files of each split with their facts. metrics: on dev, None without dev data.
    """
    train, tokens, decision = data.splits["train"], data.task.tokenizer, data.decision
    lengths, unlabelled = train.examples.lengths, train.examples.unlabelled.total()
    by_teacher = f", {unlabelled:,} of them labelled by the teacher alone," if unlabelled else ""
    limits = [
        f"It has seen {len(train.examples):,} training records{by_teacher} and nothing else of its task: half of "
        f"its windows have at most {int(np.median(lengths)):,} tokens, the longest {int(lengths.max()):,}, and it "
        f"takes {tokens.max_length:,}; {train.examples.truncated:,} training texts were cut there."
    ]
    if counts := Counter(name for gold in train.gold for name in data.task.label_names(gold)):
        limits.append(f"Labels in the training data: {artifacts.balance(counts)}.")
    if metrics is None:
        limits.append("There was no dev data: how good it is was not measured.")
    else:
        limits.append("The dev data chose the step whose weights were kept, so its figures are a little too good.")
    limits.append("It was tested on no other domain, language or kind of text, and not for bias or against misuse.")
    if licence := base.licence:
        limits.append(f"The base model's card states the licence {licence}; that of the data is not known here.")
    facts = artifacts.Facts(
        task=settings.task,
        title=artifacts.title_of(settings.output),
        base=artifacts.name_of(settings.model),
        hub_base=artifacts.hub_name(settings.model),
        problem=decision.problem,
        teacher=artifacts.name_of(settings.teacher) if settings.teacher else "",
        labels=decision.labels,
        device=hardware,
        settings={name: value for name, value in settings.as_dict().items() if name not in SKIPPED},
        metrics=metrics,
        tested=", ".join(map(artifacts.file_name, sources.get("dev", {}))),
        limits=limits,
        data=artifacts.list_of_sources(sources),
    )
    return artifacts.write_card(draft, "finetuned", facts)
