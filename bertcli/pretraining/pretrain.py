"""Pre-training: raw text in, a Hugging Face checkpoint out, and events on the way.

`pretrain` tells the whole story from top to bottom; its helpers follow, then the `Job` that the training loop calls.
Text becomes batches in source.py to blocks.py, and steps are taken in training/. Try:
python -c "from bertcli.pretraining.pretrain import pretrain; help(pretrain)"
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn import functional

from bertcli import tokenizer_files
from bertcli.arrays import Indices
from bertcli.device import Device
from bertcli.model import read, resolve, update
from bertcli.pretraining.blocks import BatchKey, CorpusData, Inputs, Phase
from bertcli.pretraining.corpus import Recipe, Tokenising, prepare
from bertcli.pretraining.encoding import open_segmenter
from bertcli.pretraining.new_model import open_module
from bertcli.pretraining.settings import VOCABULARY, PretrainSettings
from bertcli.pretraining.source import Source, Stop
from bertcli.pretraining.vocabulary import cached_vocabulary
from bertcli.tasks.base import IGNORED
from bertcli.training import artifacts, run, sampler
from bertcli.training.checkpoint import CHECKPOINTS, require_usable
from bertcli.training.loop import Batch, Eval, Metrics, Plan, Step, Trainer, adamw, learning_rate
from bertcli.training.run import Note, Saved

Event = Note | Tokenising | Step | Eval | Saved


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

    device: as many processes tokenise as it has threads. cache: the folder of vocabularies and tokenised corpora.
    track: "tensorboard" also gets the numbers of the log, None: nothing does.

    Raises UsageError for a corpus, settings or an output directory that cannot be used, ModelError for such a base
    model, Interrupted after a checkpoint when `stop` returns a signal number.
    """
    output = Path(settings.output)
    require_usable(output, resume, overwrite)
    base = resolve(settings.model) if settings.model else None
    if base:
        base.require_weights()
    if settings.words:
        open_segmenter(settings.words)  # so that a fault in the word list shows now and not after an hour
    precision, note = run.choose_precision(settings.precision, device)
    hardware = f"{device.type} {precision}"
    with run.open_accelerator(device, precision, track, output) as accelerator:
        if saved := run.finished(accelerator, output, "pretrain", settings.saved(), source.identity, resume, overwrite):
            yield saved
            return
        yield note

        if base:
            folder = base.path
        elif settings.tokenizer:
            path = Path(settings.tokenizer)
            folder = path if path.is_dir() else resolve(settings.tokenizer).path
        else:
            size = settings.vocab_size or VOCABULARY
            folder = cached_vocabulary(source, size, settings.lowercase, cache, stop)
        torch.manual_seed(settings.seed)
        opened = open_module(settings, base, folder, device.type)
        yield from map(Note, opened.notes)

        tokenizer = tokenizer_files.load(folder, base.config if base else {})
        recipe = Recipe(source, tokenizer.backend.to_str(), settings.words)
        corpus = yield from prepare(recipe, cache, device.threads, stop)
        counts = {"documents": len(corpus.documents), "sentences": len(corpus.sentences), "tokens": len(corpus.ids)}
        yield Note(f"corpus: {', '.join(f'{count:,} {what}' for what, count in counts.items())}")
        if count := corpus.facts["faults"]:
            faults = "fault was" if count == 1 else "faults were"
            first = corpus.facts["first_fault"]
            yield Note(f"{count:,} {faults} left out of the corpus; the first: {first}", warning=True)
        data = CorpusData(settings, corpus, tokenizer)
        begins, ends = corpus.bounds
        dev = f"{len(data.dev):,} of {len(begins):,} documents, {int((ends - begins)[data.dev].sum()):,} tokens"
        none = "none; the corpus has too few documents to keep some of them for it"
        yield Note(f"dev: {dev if len(data.dev) else none}")

        module = opened.module.to(accelerator.device).train()
        job = PretrainJob(data, module, accelerator)
        identity = run.identity(settings.as_dict(), recipe.identity, hardware, accelerator.num_processes)
        trainer = _trainer(settings, data.phases, module, accelerator, identity)
        yield from run.train(trainer, job, output, resume, stop)

        _, step = run.best_step(trainer)
        entry = next((entry for entry in trainer.history if entry["step"] == step), None)
        metrics = entry and {name: value for name, value in entry.items() if name not in ("step", "epoch")}

        def fill(draft: Path) -> None:
            """Put beside the weights what else a model directory holds."""
            tokenizer_files.save(tokenizer, folder, draft, opened.positions)
            digest = _write_card(draft, settings, hardware, counts | source.identity, metrics)
            provenance = {"device": hardware, "corpus": recipe.identity, "card": digest}
            artifacts.write_settings(draft, "pretrain", settings.saved(), provenance)
            artifacts.write_metrics(draft, metrics, step, trainer.history)
            update(read(draft), opened.dropout)

        run.publish(trainer, output, fill)
        yield Saved(output, step, metrics)


def _trainer(
    settings: PretrainSettings, phases: list[Phase], module: Any, accelerator: Accelerator, identity: dict[str, Any]
) -> Trainer:
    """The training loop of this run. identity: settings and data, which must be the same for --resume."""
    total = phases[-1].stop
    speed = peak(torch.cuda.get_device_name()) if accelerator.device.type == "cuda" else None
    optimizer = adamw(module, settings.lr, settings.weight_decay)
    plan = Plan(
        total=total,
        steps_per_epoch=phases[0].steps_per_epoch,
        rate=learning_rate(settings.lr, settings.warmup, total, settings.schedule),
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
    facts = artifacts.Facts(
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
        data=artifacts.table(corpus),
        use=(FINETUNE + ("" if is_causal else FILL_MASK)).rstrip("\n"),
    )
    return artifacts.write_card(draft, "pretrained", facts)


Tensors = Mapping[str, torch.Tensor]  # what a model takes, by name: (B, T) each


@dataclass(frozen=True)
class Targets:
    """positions: (M,) where tokens are predicted, in the flattened batch. tokens: (M,) the correct ids there.

    relation: (B,) class of each pair, or None for single blocks. weight: of the pairs' loss.
    """

    positions: torch.Tensor
    tokens: torch.Tensor
    relation: torch.Tensor | None
    weight: float


class PretrainJob:
    """Batches, loss and scores of a model on a corpus (a loop.Job), in the phases of `data`.

    The head computes logits only where a token is to be predicted: per token, BERT-mini's head over 30,522 words takes
    16 MFLOP, its encoder 6.
    """

    def __init__(self, data: CorpusData, module: Any, accelerator: Any) -> None:
        self.data, self.accelerator = data, accelerator
        self.selector = PositionSelector(module)
        self.config = module.config.to_dict()
        self.rank, self.processes = accelerator.process_index, accelerator.num_processes
        self.schedule = data.schedule

    def split(self, key: BatchKey, parts: int) -> list[BatchKey]:
        """The whole batch: its masks are drawn together, so it cannot be split."""
        return [key]

    def batch(self, key: BatchKey) -> Batch:
        """This process' rows of a batch; if it has none, one row whose loss counts nothing.

        Every process draws the masks of the whole batch, so the masks do not depend on the number of processes.
        """
        whole = key.table.batch(key.rows, sampler.generator(*key.seeds))
        rows = np.arange(len(whole.ids))[self.rank :: self.processes]
        inputs, targets = self._tensors(whole, rows if len(rows) else np.arange(1))
        length = whole.ids.shape[1]
        predicted, tokens = len(targets.tokens) * bool(len(rows)), len(rows) * length
        return Batch(inputs, targets, predicted, len(rows), tokens, operations(self.config, tokens, length, predicted))

    def _tensors(self, whole: Inputs, rows: Indices) -> tuple[Tensors, Targets]:
        device = self.accelerator.device
        inputs = {"input_ids": torch.from_numpy(whole.ids[rows]).to(device)}
        if whole.type_ids is not None:
            inputs["token_type_ids"] = torch.from_numpy(whole.type_ids[rows]).to(device)
        flat = whole.targets[rows].ravel()
        positions = np.flatnonzero(flat != IGNORED)
        relation = None if whole.relation is None else torch.from_numpy(whole.relation[rows]).to(device)
        weight = int((whole.targets != IGNORED).sum()) / len(whole.ids)
        indices, tokens = (torch.from_numpy(values).to(device) for values in (positions, flat[positions]))
        return inputs, Targets(indices, tokens, relation, weight)

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The sum over the tokens, plus the pairs' loss, so weighted that both means count alike (BERT A.2)."""
        targets: Targets = batch.targets
        logits, relations = self._logits(model, batch.inputs, targets)
        loss = cross_entropy(logits, targets.tokens)
        if targets.relation is not None:
            loss = loss + targets.weight * functional.cross_entropy(relations, targets.relation, reduction="sum")
        return loss * (1.0 if batch.examples else 0.0)

    def _logits(self, model: Any, inputs: Tensors, targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
        """(M, V) of the predicted tokens, and (B, 2) of the pairs, empty for single blocks."""
        self.selector.positions = targets.positions
        output = model(**inputs)
        tokens = output["logits"] if "logits" in output else output["prediction_logits"]
        return tokens.flatten(0, 1), output.get("seq_relationship_logits", tokens.new_zeros(0)).float()

    @torch.no_grad()
    def evaluate(self, model: Any) -> Metrics | None:
        """Loss, perplexity and accuracy of the predicted tokens, and the accuracy on pairs.

        Always with the same masks and the longest blocks. With blocks of each phase's length, losses before and after
        a change of phase could not be compared, and that change would decide which weights are kept.
        """
        if not len(self.data.dev):
            return None
        settings = self.data.settings
        table = self.data.table(self.data.dev, settings.longest, sampler.generator(0))
        rows = sampler.generator(0, 1).permutation(len(table.lengths))
        rows = rows[: max(1, np.searchsorted(np.cumsum(table.lengths[rows]), settings.dev_tokens, side="right"))]
        batches = sampler.in_length_order(table.lengths[rows], settings.batch_tokens)
        model.eval()
        sums = torch.zeros(6, dtype=torch.float64, device=self.accelerator.device)
        for i in range(self.rank, len(batches), self.processes):
            whole = table.batch(rows[batches[i]], sampler.generator(0, 2, i))
            inputs, targets = self._tensors(whole, np.arange(len(whole.ids)))
            logits, relations = self._logits(model, inputs, targets)
            sums[:3] += _scores(logits.float(), targets.tokens)
            if targets.relation is not None:
                sums[3:] += _scores(relations, targets.relation)
        model.train()
        loss, right, predictions, pair_loss, pairs_right, pairs = self.accelerator.reduce(sums, "sum").tolist()
        mean, accuracy = loss / max(predictions, 1), right / max(predictions, 1)
        metrics = {"loss": mean, "perplexity": math.exp(min(mean, 700)), "accuracy": accuracy}
        if pairs:
            metrics |= {"loss": mean + pair_loss / pairs, "relation_accuracy": pairs_right / pairs}
        return metrics


def _scores(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(3,) float64: the sum of the losses, the number of correct predictions, and the number of predictions."""
    loss = functional.cross_entropy(logits, targets, reduction="sum")
    sums = float(loss), float((logits.argmax(-1) == targets).sum()), float(len(targets))
    return torch.tensor(sums, dtype=torch.float64, device=logits.device)


# The head over the vocabulary: where it computes logits, its loss, and what a step costs.


class PositionSelector:
    """A hook on the encoder of any model family, so that its head gets the states of some positions only."""

    def __init__(self, module: Any) -> None:
        self.positions: torch.Tensor | None = None
        module.base_model.register_forward_hook(self._select)

    def _select(self, module: Any, arguments: Any, output: Any) -> Any:
        if self.positions is not None:
            output["last_hidden_state"] = output["last_hidden_state"].flatten(0, 1)[self.positions][None]  # (1, M, H)
        return output


PIECE = 2**18  # logits at a time, on a CPU: 1 MB in fp32 stays in a core's cache from the first pass to the last


class _CrossEntropy(torch.autograd.Function):
    """Keeps the gradient in the precision of the logits, where torch keeps log-probabilities in fp32 to compute it.

    Forward and backward on two cores, for 1,210 tokens over 8,000 words and 614 over 30,522: 8.5 and 20 ms, torch's
    own 14 and 32.
    """

    @staticmethod
    def forward(context: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        gradient = torch.empty_like(logits)
        loss = torch.zeros((), device=logits.device)
        rows = max(1, PIECE // logits.shape[1]) if logits.device.type == "cpu" else max(1, len(logits))
        for piece, tokens, change in zip(*(torch.split(x, rows) for x in (logits, targets, gradient)), strict=True):
            log_chances = functional.log_softmax(piece, -1, dtype=torch.float32)
            columns = tokens[:, None]
            loss -= log_chances.gather(1, columns).sum()
            change.copy_(log_chances.exp_().scatter_add_(1, columns, log_chances.new_full(columns.shape, -1.0)))
        context.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(context: Any, *above: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,) = context.saved_tensors
        return gradient.mul_(above[0]), None


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The sum of -log P(target) in fp32, differentiable once. logits: (M, V) in any precision. targets: (M,) ids."""
    loss: torch.Tensor = _CrossEntropy.apply(logits, targets)  # type: ignore[no-untyped-call]
    return loss


# Dense bf16, from the vendor's data sheets. Keys are parts of the names that torch gives.
PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}


def peak(name: str) -> float | None:
    """Peak floating-point operations a second of a GPU, None for one that is not listed."""
    return next((value for part, value in PEAKS.items() if part in name), None)


def operations(config: Mapping[str, Any], tokens: int, length: int, predicted: int) -> int:
    """Floating-point operations of a forward and a backward pass (twice the forward's) over blocks of `length` tokens.

    Matrix products only, counted as in Chowdhery et al. 2022 (arXiv 2204.02311, appendix B); 0 where the config lacks
    their sizes. tokens: of all blocks. predicted: positions for which the head computes logits.
    """
    names = ("hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size")
    if not all(name in config for name in names):
        return 0
    width, layers, inner, vocabulary = (int(config[name]) for name in names)
    weights = layers * (4 * width**2 + 2 * width * inner)
    encoder = tokens * (2 * weights + 4 * length * width * layers)
    head = predicted * 2 * (width**2 + width * vocabulary)
    return 3 * (encoder + head)
