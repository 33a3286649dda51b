"""What fine-tuning trains: a task's labelled examples through a model with the task's head (a `Job` of train.py).

The losses of each problem are here, and nowhere else.
"""

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch.nn import functional

from bertcli.backends.pytorch import inputs_of
from bertcli.errors import UsageError
from bertcli.evaluation.evaluate import intervals
from bertcli.tasks.base import IGNORED, BaseTask
from bertcli.tasks.feature_extraction import cosine
from bertcli.training import sampler
from bertcli.training.labelled import Labelled
from bertcli.training.plan import Batch, Metrics
from bertcli.training.settings import ClassWeights, Settings

NOWHERE = -1e4  # a logit that no softmax sees, and that bf16 holds
EVAL_TOKENS = 2048  # in a batch without gradients, at least
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class FinetuneJob:
    """Batches, loss and scores. rank of processes: which part of each batch is this process' own."""

    def __init__(
        self, task: BaseTask, settings: Settings, train: Labelled, dev: Labelled | None, loss: Loss, accelerator: Any
    ) -> None:
        self.task, self.settings, self.train, self.dev, self.loss_of = task, settings, train, dev, loss
        self.rank, self.processes = accelerator.process_index, accelerator.num_processes
        self.accelerator = accelerator
        self.pad = int(task.config.get("pad_token_id") or 0)

    def schedule(self, step: int) -> Iterator[list[sampler.Indices]]:
        """The windows of each batch of each step, epoch after epoch."""
        epoch, done = divmod(step, len(self.steps(0)))
        for number in count(epoch):
            yield from self.steps(number)[done if number == epoch else 0 :]

    def steps(self, epoch: int) -> list[list[sampler.Indices]]:
        """The windows of each batch of each step of an epoch."""
        settings = self.settings
        lengths = self.train.examples.lengths
        batches = sampler.epoch_batches(lengths, settings.batch_tokens, settings.seed, epoch)
        return sampler.steps(batches, settings.accumulate)

    def batch(self, windows: sampler.Indices) -> Batch:
        """This process' rows; where there are fewer rows than processes, some other row that counts nothing."""
        own = sampler.shard(windows, self.rank, self.processes)
        rows = own if len(own) else windows[:1]
        targets = self.train.batch_targets(rows)
        tokens = int(self.train.examples.lengths[own].sum())
        terms = _terms(targets, self.train) * bool(len(own))
        inputs = self._inputs(self.train, rows)
        return Batch(inputs, targets.to(self.accelerator.device), terms, len(own), tokens)

    def _inputs(self, data: Labelled, windows: sampler.Indices) -> dict[str, torch.Tensor]:
        arrays = data.examples.arrays(windows, self.pad)
        return {name: torch.from_numpy(array).to(self.accelerator.device) for name, array in arrays.items()}

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The sum over the batch's examples; 0 for a batch that is not this process' own."""
        logits = _logits(self._outputs(model, batch.inputs))
        mask = batch.inputs.get("attention_mask")
        if mask is not None and self.train.examples.spans is not None:  # no answer is in the padding
            logits = logits.masked_fill(mask[..., None] == 0, NOWHERE)
        return self.loss_of(logits, batch.targets) * (1.0 if batch.count else 0.0)

    def _outputs(self, model: Any, inputs: Mapping[str, torch.Tensor]) -> Any:
        module = self.accelerator.unwrap_model(model)
        return model(**{name: inputs[name] for name in inputs_of(module, inputs)})

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
    def predict(self, model: Any, data: Labelled) -> tuple[list[Any], float]:
        """The task's raw prediction for each record, and the mean loss; computed in shares by the processes."""
        budget = max(EVAL_TOKENS, self.settings.batch_tokens)
        batches = sampler.in_length_order(data.examples.lengths, budget)
        outputs: dict[int, Mapping[str, Any]] = {}
        total, terms = 0.0, 0
        model.eval()
        for windows in batches[self.rank :: self.processes]:
            inputs, targets = self._inputs(data, windows), data.batch_targets(windows)
            found = self._outputs(model, inputs)
            total += self._window_loss(found, targets)
            terms += _terms(targets, data)
            arrays = {name: value.float().cpu().numpy() for name, value in found.items() if hasattr(value, "float")}
            asked = {name: value.cpu().numpy() for name, value in inputs.items()}
            asked.setdefault("attention_mask", np.ones_like(asked["input_ids"]))
            reduced = self.task.reduce(asked, arrays)
            for row, window in enumerate(windows.tolist()):
                outputs[window] = {name: value[row] for name, value in reduced.items()}
        model.train()
        outputs, total, terms = self._gather(outputs, total, terms)
        return [
            self.task.combine(features, [outputs[i] for i in own]) for features, own in data.examples.features()
        ], total / max(terms, 1)

    def _window_loss(self, outputs: Mapping[str, torch.Tensor], targets: torch.Tensor) -> float:
        return float(self.loss_of(_logits(outputs).cpu(), targets))

    def _gather(self, *own: Any) -> Any:
        """Join the dictionaries and add the numbers of all processes."""
        if self.processes == 1:
            return own
        outputs, total, terms = zip(*gather_object([own]), strict=True)
        return dict(ChainMap(*outputs)), sum(total), sum(terms)


class PairJob(FinetuneJob):
    """Two texts through one encoder, whose cosine is to be their label (Reimers and Gurevych 2019, section 3).

    Labels are scaled: the least of the training data is cosine 0, the greatest 1. A record has one window per text.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        if len(self.train.examples.lengths) != 2 * len(self.train.examples):
            raise UsageError("--long window: embeddings are trained on one window a text; leave it out.")
        self.low = float(self.train.targets.min())
        self.range = float(self.train.targets.max()) - self.low
        if not self.range:
            raise UsageError("all training pairs have the same label; the cosine has nothing to tell apart.")

    def steps(self, epoch: int) -> list[list[sampler.Indices]]:
        """The records of each batch of each step; of a pair the longer text counts twice, for it pads the other."""
        settings = self.settings
        lengths = 2 * self.train.examples.lengths.reshape(-1, 2).max(1)
        batches = sampler.epoch_batches(lengths, settings.batch_tokens, settings.seed, epoch)
        return sampler.steps(batches, settings.accumulate)

    def batch(self, records: sampler.Indices) -> Batch:
        """The first texts of this process' pairs, then the second ones."""
        own = sampler.shard(records, self.rank, self.processes)
        rows = own if len(own) else records[:1]
        tokens = int(self.train.examples.lengths.reshape(-1, 2)[own].sum())
        inputs = self._inputs(self.train, np.concatenate((2 * rows, 2 * rows + 1)))
        inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
        targets = (self.train.targets[torch.from_numpy(rows)][:, 0] - self.low) / self.range
        return Batch(inputs, targets.to(self.accelerator.device), len(own), len(own), tokens)

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The sum of the squared differences between cosines and labels."""
        hidden = self._outputs(model, batch.inputs)["last_hidden_state"].float()
        vectors = _pooled(hidden, batch.inputs["attention_mask"], self.task.pooling)  # type: ignore[attr-defined]
        first, second = vectors.chunk(2)
        cosines = functional.cosine_similarity(first, second)
        return functional.mse_loss(cosines, batch.targets, reduction="sum") * (1.0 if batch.count else 0.0)

    def _window_loss(self, outputs: Mapping[str, torch.Tensor], targets: torch.Tensor) -> float:
        return 0.0  # a window alone has none

    def predict(self, model: Any, data: Labelled) -> tuple[list[Any], float]:
        """The vectors of each pair, and the mean loss of their cosines."""
        predictions, _ = super().predict(model, data)
        cosines = torch.tensor([cosine(vectors) for vectors in predictions])
        return predictions, float(functional.mse_loss(cosines, (data.targets[:, 0] - self.low) / self.range))


def _pooled(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """(B, T, H) to (B, H), as tasks/feature_extraction.py does with arrays."""
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "max":
        return hidden.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def _logits(outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(B, L), (B, T, L), or for the start and the end of an answer (B, T, 2)."""
    if "logits" in outputs:
        return outputs["logits"].float()
    return torch.stack((outputs["start_logits"], outputs["end_logits"]), -1).float()


def _terms(targets: torch.Tensor, data: Labelled) -> int:
    """How many terms the loss sums: rows, or the targets of tokens that there are."""
    has_places = data.examples.words is not None or data.examples.spans is not None
    return int((targets != IGNORED).sum()) if has_places else len(targets)


def loss(problem: str, weights: torch.Tensor | None, smoothing: float) -> Loss:
    """(logits (B, L), targets) -> sum over B of the cross-entropy, of its binary form's mean over L, or of squares.

    weights: (L,) of the classes; for multi-label of a label's presence against its absence.
    """
    if problem == "single_label_classification":
        return lambda logits, targets: functional.cross_entropy(
            logits, targets, weight=_to(weights, logits), reduction="sum", label_smoothing=smoothing
        )
    if problem == "question_answering":  # over the places of a window, for start and end
        return lambda logits, targets: functional.cross_entropy(
            logits, targets, reduction="sum", ignore_index=IGNORED, label_smoothing=smoothing
        )
    if problem in ("token_classification", "fill_mask"):
        return lambda logits, targets: functional.cross_entropy(
            logits.flatten(0, -2), targets.flatten(), weight=_to(weights, logits), reduction="sum",
            ignore_index=IGNORED, label_smoothing=smoothing,
        )  # fmt: skip
    if problem == "regression":
        return lambda logits, targets: functional.mse_loss(logits, targets, reduction="sum")
    return lambda logits, targets: (
        functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=_to(weights, logits), reduction="sum")
        / logits.shape[-1]
    )


def _to(weights: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor | None:
    return None if weights is None else weights.to(like.device)


def class_weights(chosen: ClassWeights, targets: torch.Tensor, labels: list[str]) -> torch.Tensor | None:
    """(L,) weights, None for all equal. Raises UsageError for a label that is not there, or for regression.

    balanced: N / (classes * count), as scikit-learn; for multi-label absent / present.
    """
    if chosen is None:
        return None
    targets = targets[targets != IGNORED] if targets.ndim == 1 else targets
    if labels in ([], ["score"], ["start", "end"]):
        raise UsageError("--class-weights: this task has no classes.")
    if chosen == "balanced":
        return _balanced(targets, len(labels))
    unknown = sorted(set(chosen) - set(labels))
    if unknown:
        raise UsageError(f"--class-weights: no label is called {', '.join(unknown)}; they are: {', '.join(labels)}.")
    return torch.tensor([float(chosen.get(label, 1)) for label in labels])


def _balanced(targets: torch.Tensor, labels: int) -> torch.Tensor:
    if targets.is_floating_point():
        present = targets.sum(0).clamp(min=1)
        return (len(targets) - present) / present
    counts = torch.bincount(targets, minlength=labels)
    # A label of the model that the data lacks gets the weight of one that occurs once: it is never used.
    return len(targets) / (int((counts > 0).sum()) * counts.clamp(min=1))
