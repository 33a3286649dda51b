"""How classes, sets of classes and numbers are learnt (a BaseTraining): one loss for each problem."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from bertcli.tasks.examples import Examples
from bertcli.tasks.training import BaseTraining, Outputs, Targets


class Training(BaseTraining):
    """A row of logits for each window, whose target is that of its record."""

    def targets(self, examples: Examples, gold: Sequence[Any]) -> Targets:
        """(N,) class indices; (N, L) of 0 and 1 for several labels; (N, 1) numbers for a regression."""
        match self.decision.problem:
            case "single_label_classification":
                return torch.tensor(gold, dtype=torch.int64)
            case "regression":
                return torch.tensor(gold, dtype=torch.float32)[:, None]
        hot = torch.zeros(len(gold), len(self.decision.labels))
        for row, indices in zip(hot, gold, strict=True):
            row[list(indices)] = 1
        return hot

    def loss(self, outputs: Outputs, targets: Targets, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The sum over B of the cross-entropy, of its binary form's mean over L, or of the squares.

        Class weights count for a class, or for several labels for a label's presence against its absence.
        """
        logits = outputs["logits"].float()  # (B, L)
        match self.decision.problem:
            case "single_label_classification":
                weight, smoothing = self.weights_for(logits), self.settings.label_smoothing
                return functional.cross_entropy(
                    logits, targets, weight=weight, reduction="sum", label_smoothing=smoothing
                )
            case "regression":
                return functional.mse_loss(logits, targets, reduction="sum")
        weight = self.weights_for(logits)
        losses = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="sum")
        return losses / logits.shape[-1]
