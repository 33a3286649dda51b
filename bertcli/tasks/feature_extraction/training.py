"""How similarity is learnt (a BaseTraining): two texts through one encoder, whose cosine is to be their label.

Reimers and Gurevych 2019 (arXiv 1908.10084), section 3. Labels are scaled: the least of the training data is cosine 0,
the greatest 1. A record has one window for each of its texts, first and second side by side.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bertcli.arrays import Indices
from bertcli.errors import UsageError
from bertcli.tasks.examples import Examples
from bertcli.tasks.feature_extraction import Task, cosine
from bertcli.tasks.training import BaseTraining, Labelled, Outputs, Targets


class Training(BaseTraining):
    """Units are records, for both texts of a pair go through the encoder together."""

    has_window_loss = False
    task: Task

    def start(self, train: Labelled) -> None:
        """Find the range of the labels."""
        super().start(train)
        if len(train.examples.lengths) != 2 * len(train.examples):
            raise UsageError("--long window: embeddings are trained on one window a text; leave it out.")
        self.low = float(train.targets.min())
        self.range = float(train.targets.max()) - self.low
        if not self.range:
            raise UsageError("all training pairs have the same label; the cosine has nothing to tell apart.")

    def targets(self, examples: Examples, gold: Sequence[Any]) -> Targets:
        """(N, 1) numbers as the data has them."""
        return torch.tensor(gold, dtype=torch.float32)[:, None]

    def lengths(self, examples: Examples) -> Indices:
        """Of a pair the longer text counts twice, for it pads the other."""
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
        vectors = self._pooled(outputs["last_hidden_state"].float(), mask)  # (2B, H)
        first, second = vectors.chunk(2)
        return functional.mse_loss(functional.cosine_similarity(first, second), targets, reduction="sum")

    def _pooled(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T, H) to (B, H), as Task.reduce does with arrays."""
        if self.task.pooling == "cls":
            return hidden[:, 0]
        mask = torch.ones(hidden.shape[:2], dtype=torch.int64, device=hidden.device) if mask is None else mask
        if self.task.pooling == "max":
            return hidden.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def records_loss(self, predictions: Sequence[Any], labelled: Labelled) -> float:
        """The mean squared difference over all pairs."""
        cosines = torch.tensor([cosine(vectors) for vectors in predictions])
        return float(functional.mse_loss(cosines, self.batch_targets(labelled, np.arange(len(predictions)))))
