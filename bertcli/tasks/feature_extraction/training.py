"""How similarity is learnt (a BaseTraining): two texts through one encoder, whose cosine is to be their label.

Reimers and Gurevych 2019 (arXiv 1908.10084), section 3. Labels are scaled: the least of the training data is cosine 0,
the greatest 1. A record has one window for each of its texts, first and second side by side.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bertcli.arrays import Array, Indices, Vectors
from bertcli.errors import UsageError
from bertcli.tasks.feature_extraction import Task
from bertcli.tasks.training import BaseDistillation, BaseTraining, Examples, Labelled, Outputs, Targets, has_target


class Training(BaseTraining):
    """Units are records, for both texts of a pair go through the encoder together."""

    has_window_loss = False
    task: Task

    def start(self, train: Labelled) -> None:
        """Find the range of the labels."""
        super().start(train)
        if len(train.examples.lengths) != 2 * len(train.examples):
            raise UsageError("--long window: embeddings are trained on one window a text; leave it out.")
        labels = train.targets[has_target(train.targets)]
        self.low = float(labels.min())
        self.range = float(labels.max()) - self.low
        if not self.range:
            raise UsageError("all training pairs have the same label; the cosine has nothing to tell apart.")

    def targets(self, examples: Examples, gold: Sequence[Any]) -> Targets:
        """(N, 1) numbers as the data has them; NaN without gold."""
        targets = torch.full((len(examples), 1), torch.nan)
        targets[: len(gold), 0] = torch.tensor(gold, dtype=torch.float32)
        return targets

    def lengths(self, examples: Examples) -> Indices:
        """Twice the longer text of each pair, because it pads the other."""
        lengths: Indices = 2 * examples.lengths.reshape(-1, 2).max(1)
        return lengths

    def windows(self, units: Indices) -> Indices:
        """The first texts of the pairs, then the second ones."""
        return np.concatenate((2 * units, 2 * units + 1))

    def batch_targets(self, labelled: Labelled, units: Indices) -> Targets:
        """(B,), scaled."""
        return (labelled.targets[torch.from_numpy(units)][:, 0] - self.low) / self.range

    def loss(self, outputs: Outputs, targets: Targets, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The squared differences between cosines and labels."""
        known = has_target(targets[:, None])
        return functional.mse_loss(self.cosines(outputs, mask)[known], targets[known], reduction="sum")

    def cosines(self, outputs: Outputs, mask: torch.Tensor | None) -> torch.Tensor:
        """(B,) of the pairs."""
        hidden = outputs["last_hidden_state"].float()
        first, second = pooled(self.task.pooling, hidden, mask).chunk(2)  # of (2B, H)
        return functional.cosine_similarity(first, second)

    def records_loss(self, predictions: Sequence[Any], labelled: Labelled) -> float:
        """The mean squared difference over all pairs."""
        cosines = torch.tensor(list(map(self.task.similarity, predictions)))
        return float(functional.mse_loss(cosines, self.batch_targets(labelled, np.arange(len(predictions)))))


def pooled(pooling: str, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(B, T, H) to (B, H), as Task.reduce does with arrays."""
    if pooling == "cls":
        return hidden[:, 0]
    mask = torch.ones(hidden.shape[:2], dtype=torch.int64, device=hidden.device) if mask is None else mask
    if pooling == "max":
        return hidden.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


class Distillation(BaseDistillation, Training):
    """The teacher's cosine of each pair: its vectors may have another size than the student's."""

    targets_of = "units"
    batch_targets = BaseTraining.batch_targets  # not scaled

    def answer(self, prediction: Vectors) -> Array:
        """The cosine."""
        return np.array(self.task.similarity(prediction), np.float32)

    def targets(self, examples: Examples, gold: Sequence[Array]) -> Targets:
        """(N,)."""
        return torch.from_numpy(np.stack(gold))

    def loss(self, outputs: Outputs, targets: Targets, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The squared differences between the cosines of the two."""
        return functional.mse_loss(self.cosines(outputs, mask), targets, reduction="sum")
