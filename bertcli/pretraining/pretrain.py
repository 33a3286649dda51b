"""Pre-training: raw text in, a Hugging Face checkpoint out, and events on the way.

`pretrain` is the whole story, in order; its helpers stand below it. Knows neither how text becomes batches (source.py
to data.py) nor how a step is taken (training/). Try:
python -c "from bertcli.pretraining.pretrain import pretrain; help(pretrain)"
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from bertcli import tokenizer_files
from bertcli.device import Device
from bertcli.model import Model, read, resolve, update
from bertcli.pretraining.build import Reading, Recipe, prepare
from bertcli.pretraining.corpus import Corpus
from bertcli.pretraining.data import CorpusData, Phase
from bertcli.pretraining.encoding import open_segmenter
from bertcli.pretraining.job import PretrainJob, peak
from bertcli.pretraining.new_model import open_module
from bertcli.pretraining.settings import VOCABULARY, PretrainSettings
from bertcli.pretraining.source import Source, Stop
from bertcli.pretraining.vocabulary import cached_vocabulary
from bertcli.training import artifacts, card, optim, run
from bertcli.training.loop import Eval, Metrics, Plan, Step, Trainer
from bertcli.training.output import CHECKPOINTS, require_usable
from bertcli.training.run import Note, Saved

Event = Note | Reading | Step | Eval | Saved


@run.first_process_only
def pretrain(
    settings: PretrainSettings,
    source: Source,
    device: Device,
    cache: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    stop: Stop = lambda: None,
    track: str | None = None,
) -> Iterator[Event]:
    """Train and publish a checkpoint in settings.output. In a distributed run only the first process yields events.

    device: its threads are also the processes that tokenise. cache: where vocabularies and tokenised corpora are kept.
    track: where accelerate sends the numbers besides the log ("tensorboard"), None for nowhere.

    Raises UsageError for a corpus, settings or an output directory that cannot be used, ModelError for such a base
    model, Interrupted after a checkpoint when `stop` returns a signal number.
    """
    output = Path(settings.output)
    require_usable(output, resume, overwrite)
    base = resolve(settings.model) if settings.model else None
    if base:
        base.require_weights()
    if settings.words:
        open_segmenter(settings.words)  # a fault in it should not be found after an hour
    precision, reason = run.choose_precision(settings.precision, device)
    hardware = f"{device.type} {precision}"
    with run.open_accelerator(device, precision, track, output) as accelerator:
        if saved := run.finished(accelerator, output, "pretrain", settings.kept(), resume, overwrite):
            yield saved
            return
        yield run.device_note(device, precision, reason)

        vocabulary = _vocabulary(settings, base, source, cache, stop)
        torch.manual_seed(settings.seed)
        opened = open_module(settings, base, vocabulary, device.type)
        yield from map(Note, opened.notes)

        words = tokenizer_files.load(vocabulary, base.config if base else {})
        recipe = Recipe(source, words.backend.to_str(), settings.words)
        corpus = yield from prepare(recipe, cache, device.threads, stop)
        yield from _describe(corpus)
        data = CorpusData(settings, corpus, words)
        yield Note(data.describe())

        module = opened.module.to(accelerator.device).train()
        phases = data.phases()
        job = PretrainJob(data, phases, module, accelerator)
        identity = run.identity(settings.as_dict(), recipe.identity, hardware, accelerator.num_processes)
        trainer = _trainer(settings, phases, module, accelerator, identity)
        yield from run.start(trainer, output, resume)
        with run.event_log(accelerator, output, trainer.step) as log:
            for event in trainer.run(job, stop):
                log(event)
                yield event

        _, step = run.best_step(trainer)
        metrics = next((dict(entry) for entry in trainer.history if entry["step"] == step), None)

        def fill(draft: Path) -> None:
            """Put beside the weights what else a model directory holds."""
            tokenizer_files.save(words, vocabulary, draft, opened.positions)
            digest = _write_card(draft, settings, hardware, _counts(corpus) | source.identity, metrics)
            provenance = {"device": hardware, "corpus": recipe.identity, "card": digest}
            artifacts.write_settings(draft, "pretrain", settings.kept(), provenance)
            artifacts.write_metrics(draft, metrics, step, trainer.history)
            update(read(draft), opened.dropout)

        run.publish(trainer, output, fill)
        yield Saved(output, step, metrics)


def _vocabulary(settings: PretrainSettings, base: Model | None, source: Source, cache: Path, stop: Stop) -> Path:
    """The directory of the tokenizer: the base model's, the stated one, or one trained now and kept in the cache."""
    if base:
        return base.path
    if settings.tokenizer:
        path = Path(settings.tokenizer)
        return path if path.is_dir() else resolve(settings.tokenizer).path
    return cached_vocabulary(source, settings.vocab_size or VOCABULARY, settings.lowercase, cache, stop)


def _describe(corpus: Corpus) -> Iterator[Note]:
    """Its size, and what was left out of it."""
    yield Note(f"corpus: {', '.join(f'{count:,} {what}' for what, count in _counts(corpus).items())}")
    if count := corpus.facts["faults"]:
        what = "fault was" if count == 1 else "faults were"
        first = corpus.facts["first_fault"]
        yield Note(f"{count:,} {what} left out of the corpus; the first: {first}", warning=True)


def _counts(corpus: Corpus) -> dict[str, Any]:
    return {"documents": len(corpus.documents), "sentences": len(corpus.sentences), "tokens": len(corpus.ids)}


def _trainer(
    settings: PretrainSettings, phases: list[Phase], module: Any, accelerator: Accelerator, identity: dict[str, Any]
) -> Trainer:
    """The loop of this run. identity: what must be the same where a run is resumed."""
    total = phases[-1].stop
    speed = peak(torch.cuda.get_device_name()) if accelerator.device.type == "cuda" else None
    optimizer = optim.adamw(module, settings.lr, settings.weight_decay)
    plan = Plan(
        total=total,
        steps_per_epoch=phases[0].steps_per_epoch,
        rate=optim.learning_rate(settings.lr, settings.warmup, total, settings.schedule),
        clip_norm=settings.clip_norm,
        eval_every=settings.eval_steps or max(1, total // 10),
        metric="loss",
        direction=-1,
        patience=None,
        folder=Path(settings.output) / CHECKPOINTS,
        identity=identity,
        peak=speed and speed * accelerator.num_processes,
    )
    return Trainer(accelerator, *run.prepare(accelerator, module, optimizer), None, plan)


FILL_MASK = '    echo "The sky is [MASK]." | bertcli predict -t fill-mask -m .\n'
FINETUNE = "    bertcli finetune -m . --train train.tsv --dev dev.tsv -o DIR\n"


def _write_card(
    draft: Path, settings: PretrainSettings, hardware: str, corpus: Mapping[str, Any], metrics: Metrics | None
) -> str:
    """Write the model card of a checkpoint; returns its digest. corpus: counts and sources by name."""
    is_causal = settings.objective == "causal"
    facts = card.Facts(
        task="text-generation" if is_causal else "fill-mask",
        title=artifacts.title_of(settings.output),
        base=artifacts.name_of(settings.model) if settings.model else "A new encoder",
        hub_base=artifacts.hub_name(settings.model),
        problem=settings.objective,
        device=hardware,
        settings={name: value for name, value in settings.as_dict().items() if name not in ("output", "model")},
        metrics=metrics,
        tested="held-out documents of the corpus",
        limits=[
            f"It knows text as that of its corpus, in blocks of at most {settings.longest:,} tokens.",
            "The held-out documents are of the same corpus; they chose the step whose weights were kept."
            if metrics
            else "No documents were held out: how good it is was not measured.",
            "It was tested on no task, domain or language, and not for bias: fine-tune it and score that.",
        ],
        data=card.table(corpus),
        use=(FINETUNE + ("" if is_causal else FILL_MASK)).rstrip("\n"),
    )
    return card.write(draft, "pretrained", facts)
