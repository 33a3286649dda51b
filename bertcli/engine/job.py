"""What fine-tuning trains: a task's labelled examples through a model with the task's head (a `Job` of train.py).

The losses of each problem are here, and nowhere else.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bertcli.backends.pytorch import inputs_of
from bertcli.engine import sampler
from bertcli.engine.labelled import IGNORED, Labelled
from bertcli.engine.settings import ClassWeights, Settings
from bertcli.engine.train import Batch, Metrics
from bertcli.errors import UsageError
from bertcli.tasks.base import BaseTask

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

    def steps(self, epoch: int) -> list[list[sampler.Indices]]:
        """The windows of each batch of each step."""
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
        count = len(own) if self.train.examples.words is None else int((targets != IGNORED).sum()) * bool(len(own))
        inputs = self._inputs(self.train, rows)
        return Batch(inputs, targets.to(self.accelerator.device), count, len(own), tokens)

    def _inputs(self, data: Labelled, windows: sampler.Indices) -> dict[str, torch.Tensor]:
        arrays = data.examples.arrays(windows, self.pad)
        return {name: torch.from_numpy(array).to(self.accelerator.device) for name, array in arrays.items()}

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The sum over the batch's examples; 0 for a batch that is not this process' own."""
        logits = self._logits(model, batch.inputs)
        return self.loss_of(logits, batch.targets) * (1.0 if batch.count else 0.0)

    def _logits(self, model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        module = self.accelerator.unwrap_model(model)
        names = inputs_of(module, inputs)
        return model(**{name: inputs[name] for name in names}).logits.float()  # type: ignore[no-any-return]

    def evaluate(self, model: Any) -> Metrics | None:
        """The task's metrics on the dev set, and the mean loss."""
        if self.dev is None:
            return None
        predictions = self.predict(model, self.dev)
        return {"loss": self._dev_loss(self.dev, predictions), **self.task.metrics(self.dev.gold, predictions)}

    def _dev_loss(self, dev: Labelled, predictions: list[Any]) -> float:
        """The mean over the records, or over the words that have pieces."""
        if dev.examples.words is None:
            return float(self.loss_of(torch.from_numpy(np.stack(predictions)), dev.targets)) / len(predictions)
        logits = np.concatenate(predictions)
        targets = np.concatenate([gold[: len(own)] for gold, own in zip(dev.gold, predictions, strict=True)])
        shown = ~np.isnan(logits).any(-1)
        total = self.loss_of(torch.from_numpy(logits[shown]), torch.from_numpy(targets[shown].astype(np.int64)))
        return float(total) / max(int(shown.sum()), 1)

    def predict(self, model: Any, data: Labelled) -> list[Any]:
        """The task's raw prediction for each record, computed in shares by the processes."""
        logits = self._all_logits(model, data)
        return [
            self.task.combine(features, [{"logits": logits[data.output(i)]} for i in own])
            for features, own in data.examples.features()
        ]

    @torch.no_grad()
    def _all_logits(self, model: Any, data: Labelled) -> np.ndarray[Any, Any]:
        """(W, L), a row per window; (tokens, L) for token classification."""
        budget = max(EVAL_TOKENS, self.settings.batch_tokens)
        batches = sampler.in_length_order(data.examples.lengths, budget)
        model.eval()
        outputs = torch.zeros(data.outputs, len(self.task.config["id2label"]))
        for windows in batches[self.rank :: self.processes]:
            logits = self._logits(model, self._inputs(data, windows)).cpu()
            if data.examples.words is None:
                outputs[torch.from_numpy(windows)] = logits
            else:
                places, mask = data.examples.places(windows)
                outputs[torch.from_numpy(places[mask])] = logits[torch.from_numpy(mask)]
        model.train()
        if self.processes == 1:
            return outputs.numpy()
        return self.accelerator.reduce(outputs.to(self.accelerator.device), "sum").cpu().numpy()  # type: ignore[no-any-return]


def loss(problem: str, weights: torch.Tensor | None, smoothing: float) -> Loss:
    """(logits (B, L), targets) -> sum over B of the cross-entropy, of its binary form's mean over L, or of squares.

    weights: (L,) of the classes; for multi-label of a label's presence against its absence.
    """
    if problem == "single_label_classification":
        return lambda logits, targets: functional.cross_entropy(
            logits, targets, weight=_to(weights, logits), reduction="sum", label_smoothing=smoothing
        )
    if problem == "token_classification":
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
    if targets.is_floating_point() and targets.shape[1] == len(labels) == 1:
        raise UsageError("--class-weights: a regression has no classes.")
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
