"""Pre-training: raw text in, a Hugging Face checkpoint out, and events on the way.

Knows the order of things and the files of a run; text becomes batches in pretraining/, the loop is train.py's, batches
and losses are pretrain_job.py's. Try: python -c "from bertcli.pretraining.pretrain import pretrain; help(pretrain)"
"""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from bertcli import tokenizer
from bertcli.device import Device
from bertcli.model import Model, read, resolve, update
from bertcli.pretraining import flops
from bertcli.pretraining.build import Reading, Recipe, prepare
from bertcli.pretraining.corpus import Corpus
from bertcli.pretraining.data import CorpusData
from bertcli.pretraining.job import Phase, PretrainJob
from bertcli.pretraining.new_model import Module, open_module
from bertcli.pretraining.settings import VOCABULARY, PretrainSettings
from bertcli.pretraining.source import Source
from bertcli.pretraining.vocabulary_files import cached_vocabulary
from bertcli.pretraining.words import open_segmenter
from bertcli.training import artifacts, optim, run
from bertcli.training.loop import Eval, Plan, Step, Stop, Trainer
from bertcli.training.run import Note, Saved

Event = Note | Reading | Step | Eval | Saved


@dataclass(frozen=True)
class Place:
    """Where and how a run is done, which does not change its result.

    cache: where tokenised corpora are kept. workers: processes that tokenise. track: accelerate's tracker, or None.
    """

    device: Device
    cache: Path
    workers: int
    track: str | None = None


def pretrain(
    settings: PretrainSettings,
    source: Source,
    place: Place,
    *,
    resume: bool = False,
    overwrite: bool = False,
    stop: Stop = lambda: None,
    options: Mapping[str, Any] | None = None,
) -> Iterator[Event]:
    """Train and publish a checkpoint in settings.output. In a distributed run only the first process yields events.

    options: of the command, for the model's bertcli.yaml; the settings alone where there is no command.

    Raises UsageError for a corpus, settings or an output directory that cannot be used, ModelError for such a base
    model, Interrupted after a checkpoint when `stop` returns a signal number.
    """
    output = Path(settings.output)
    run.require_usable(output, resume, overwrite)
    base = resolve(settings.model) if settings.model else None
    if base:
        base.require_weights()
    if settings.words:
        open_segmenter(settings.words)
    device = place.device
    precision, reason = run.choose_precision(settings.precision, device)
    note = f"device: {device.type}, {device.threads} threads ({device.reason}); precision: {precision} ({reason})"
    with run.open_accelerator(device, precision, place.track, output) as accelerator:
        where = f"{device.type} {precision}"
        training = _Run(settings, options or settings.as_dict(), source, place, base, where, accelerator, resume, stop)
        for event in training.events(note):
            if accelerator.is_main_process:
                yield event


@dataclass(frozen=True)
class _Run:
    """One run. where: device and precision, for people and for the check on resuming."""

    settings: PretrainSettings
    options: Mapping[str, Any]
    source: Source
    place: Place
    base: Model | None
    where: str
    accelerator: Accelerator
    resume: bool
    stop: Stop

    @property
    def output(self) -> Path:
        return Path(self.settings.output)

    def events(self, note: str) -> Iterator[Event]:
        yield Note(note)
        folder = self._vocabulary()
        torch.manual_seed(self.settings.seed)
        opened = open_module(self.settings, self.base, folder, self.place.device.type)
        yield from map(Note, opened.notes)
        words = tokenizer.load(folder, {})
        recipe = Recipe(self.source, words.backend.to_str(), self.settings.words)
        corpus = yield from prepare(recipe, self.place.cache, self.place.workers, self.stop)
        yield from _describe(corpus)
        data = CorpusData(self.settings, corpus, words)
        yield Note(data.describe())
        trainer = yield from self._train(data, opened, recipe)
        yield self._publish(trainer, opened, folder, recipe, corpus)

    def _vocabulary(self) -> Path:
        """The directory of the tokenizer: the base model's, the given one, or one trained now and kept in the cache."""
        settings = self.settings
        if self.base:
            return self.base.path
        if settings.tokenizer:
            path = Path(settings.tokenizer)
            return path if path.is_dir() else resolve(settings.tokenizer).path
        size = settings.vocab_size or VOCABULARY
        return cached_vocabulary(self.source, size, settings.lowercase, self.place.cache, self.stop)

    def _train(self, data: CorpusData, opened: Module, recipe: Recipe) -> Generator[Event, None, Trainer]:
        module = opened.module.to(self.accelerator.device).train()
        phases = data.phases()
        job = PretrainJob(data.table, phases, module, self.accelerator, self.settings)
        trainer = self._trainer(module, phases, recipe)
        yield from run.start(trainer, self.output, self.resume)
        with run.event_log(self.accelerator, self.output, trainer.step) as log:
            for event in trainer.run(job, self.stop):
                log(event)
                yield event
        return trainer

    def _trainer(self, module: Any, phases: list[Phase], recipe: Recipe) -> Trainer:
        settings, total = self.settings, phases[-1].stop
        optimizer = optim.adamw(module, settings.lr, settings.weight_decay)
        model, optimizer = run.prepare(self.accelerator, module, optimizer)
        plan = Plan(
            total=total,
            steps_per_epoch=phases[0].steps_per_epoch,
            rate=optim.learning_rate(settings.lr, settings.warmup, total, settings.schedule),
            clip_norm=settings.clip_norm,
            eval_every=settings.eval_steps or max(1, total // 10),
            metric="loss",
            direction=-1,
            patience=None,
            folder=self.output / run.CHECKPOINTS,
            identity=self._identity(recipe),
            peak=self._peak(),
        )
        return Trainer(self.accelerator, model, optimizer, None, plan)

    def _identity(self, recipe: Recipe) -> dict[str, Any]:
        options = {f"--{name.replace('_', '-')}": value for name, value in self.settings.as_dict().items()}
        del options["--output"]  # a run may be moved
        return options | recipe.identity | {"device": self.where, "processes": self.accelerator.num_processes}

    def _peak(self) -> float | None:
        if self.accelerator.device.type != "cuda":
            return None
        own = flops.peak(torch.cuda.get_device_name())
        return own and own * self.accelerator.num_processes

    def _publish(self, trainer: Trainer, opened: Module, folder: Path, recipe: Recipe, corpus: Corpus) -> Saved:
        _, step = run.best_step(trainer)
        metrics = next((dict(entry) for entry in trainer.history if entry["step"] == step), None)

        def fill(draft: Path) -> None:
            artifacts.write_tokenizer(folder, draft, opened.positions)
            facts = _counts(corpus) | recipe.source.identity
            digest = artifacts.write_pretrained_card(draft, self.settings, self.where, facts, metrics)
            provenance = {"device": self.where, "corpus": recipe.identity, "card": digest}
            artifacts.write_settings(draft, "pretrain", self.options, provenance)
            artifacts.write_metrics(draft, metrics, step, trainer.history)
            update(read(draft), opened.dropout)

        run.publish(trainer, self.output, fill)
        return Saved(self.output, step, metrics)


def _describe(corpus: Corpus) -> Iterator[Note]:
    """Its size, and what was left out of it."""
    yield Note(f"corpus: {', '.join(f'{count:,} {what}' for what, count in _counts(corpus).items())}")
    if count := corpus.facts["faults"]:
        what = "fault was" if count == 1 else "faults were"
        first = corpus.facts["first_fault"]
        yield Note(f"{count:,} {what} left out of the corpus; the first: {first}", warning=True)


def _counts(corpus: Corpus) -> dict[str, int]:
    return {"documents": len(corpus.documents), "sentences": len(corpus.sentences), "tokens": len(corpus.ids)}
