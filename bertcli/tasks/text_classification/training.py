"""How classes, sets of classes and numbers are learnt (a BaseTraining): one loss for each problem."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bertcli.arrays import Array
from bertcli.errors import UsageError
from bertcli.tasks.base import IGNORED
from bertcli.tasks.text_classification import Task
from bertcli.tasks.training import SURE_LOGIT, BaseDistillation, BaseTraining, Examples, Outputs, Targets, has_target


class Training(BaseTraining):
    """A row of logits for each window, whose target is that of its record."""

    def targets(self, examples: Examples, gold: Sequence[Any]) -> Targets:
        """(N,) class indices; (N, L) of 0 and 1 for several labels; (N, 1) numbers for a regression.

        Without gold: IGNORED, or NaN where targets are no indices.
        """
        if self.decision.problem == "single_label_classification":
            classes = torch.full((len(examples),), IGNORED)
            classes[: len(gold)] = torch.tensor(gold, dtype=torch.int64)
            return classes
        targets = torch.full((len(examples), len(self.decision.labels)), torch.nan)
        if self.decision.problem == "regression":
            targets[: len(gold), 0] = torch.tensor(gold, dtype=torch.float32)
            return targets
        for row, indices in zip(targets, gold, strict=False):
            row[:] = 0
            row[list(indices)] = 1
        return targets

    def loss(self, outputs: Outputs, targets: Targets, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The sum over B of the cross-entropy, of the mean binary cross-entropy of L labels, or of the squared errors.

        The class weights are those of classes, or for several labels of a label's presence against its absence.
        """
        logits = outputs["logits"].float()  # (B, L)
        match self.decision.problem:
            case "single_label_classification":
                weight, smoothing = self.weights_for(logits), self.settings.label_smoothing
                return functional.cross_entropy(
                    logits, targets, weight=weight, reduction="sum", label_smoothing=smoothing
                )
            case "regression":
                known = has_target(targets)
                return functional.mse_loss(logits[known], targets[known], reduction="sum")
        logits, targets, weight = logits[has_target(targets)], targets[has_target(targets)], self.weights_for(logits)
        losses = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="sum")
        return losses / logits.shape[-1]


class Distillation(BaseDistillation):
    """The teacher's logits of a text, over all its windows, for each window of the student's."""

    teacher: Task

    def match(self) -> list[int]:
        """The teacher's column for each label. Raises UsageError for other labels, and for another problem."""
        problem, other = self.decision.problem, self.teacher.problem
        if problem != other:
            names = [name.replace("_", " ") for name in (other, problem)]
            raise UsageError(f"--teacher: it has learnt a {names[0]}, and the data is a {names[1]} (--problem).")
        return super().match()

    def certain(self, gold: Any) -> Array:
        """(L,) logits, or the number."""
        if self.teacher.is_regression:
            return np.array([gold], np.float32)
        logits = np.full(len(self.columns), -SURE_LOGIT, np.float32)
        logits[np.asarray(self.columns)[list(gold) if self.teacher.is_multi else [gold]]] = SURE_LOGIT
        return logits

    def targets(self, examples: Examples, gold: Sequence[Array]) -> Targets:
        """(N, L) logits, or (N, 1) numbers, in the order of the student's labels."""
        return torch.from_numpy(np.stack(gold)[:, self.columns])

    def loss(self, outputs: Outputs, targets: Targets, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The sum over B of the divergence, of the mean binary divergence of L labels, or of the squared errors."""
        logits, temperature = outputs["logits"].float(), self.temperature
        if self.teacher.is_regression:
            return functional.mse_loss(logits, targets, reduction="sum")
        if not self.teacher.is_multi:
            return self.divergence(logits, (targets / temperature).softmax(-1))
        shares = (targets / temperature).sigmoid()
        student, least = (
            functional.binary_cross_entropy_with_logits(values / temperature, shares, reduction="sum")
            for values in (logits, targets)
        )
        return (student - least) * temperature**2 / logits.shape[-1]
