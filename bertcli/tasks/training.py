"""How a task is learnt: the targets of encoded examples, and how far a model's outputs are from them.

The training loop and finetune know no more of a task than this. Imports torch, so predict never comes here; each task
has a class `Training` in its folder's training.py, and a class `Teaching` if it can be learnt from another model.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from bertcli.arrays import Array, Indices
from bertcli.errors import UsageError
from bertcli.tasks.base import IGNORED, BaseTask
from bertcli.tasks.examples import Examples
from bertcli.tasks.labels import Decision, LabelSettings
from bertcli.tasks.options import ClassWeights

Outputs = Mapping[str, torch.Tensor]  # of a model, by name, first axis B
Targets = torch.Tensor


@dataclass(frozen=True)
class Labelled:
    """Encoded examples with the target of each record: gold as the task gives it, targets as the loss takes them.

    Records that only a teacher labels have no gold, and come last.
    """

    examples: Examples
    gold: Sequence[Any]
    targets: Targets


class BaseTraining(ABC):
    """What is learnt of labelled examples. task: bound to the labels of `decision`.

    Units are what is shuffled and batched: the windows, unless a task's examples belong together otherwise.
    """

    has_window_loss: ClassVar[bool] = True  # whether the outputs of a window alone have a loss

    def __init__(self, task: BaseTask, decision: Decision, settings: LabelSettings) -> None:
        self.task, self.decision, self.settings = task, decision, settings
        self.weights: torch.Tensor | None = None  # (L,) of the classes

    def start(self, train: Labelled) -> None:
        """Look at the training data as a whole. Raises UsageError where it cannot be learnt with these settings."""
        labels = self.decision.labels if self.decision.has_classes else []
        self.weights = class_weights(self.settings.class_weights, train.targets, labels)

    def weights_for(self, logits: torch.Tensor) -> torch.Tensor | None:
        """The class weights where the logits are."""
        return None if self.weights is None else self.weights.to(logits.device)

    @abstractmethod
    def targets(self, examples: Examples, gold: Sequence[Any]) -> Targets:
        """The targets of N records as tensors; those of the last ones, if they have no gold, the loss leaves out."""

    @abstractmethod
    def loss(self, outputs: Outputs, targets: Targets, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The SUM over the terms of a batch, in fp32: a scalar. mask: (B, T) of the tokens, None for all."""

    def lengths(self, examples: Examples) -> Indices:
        """(units,): the tokens that each unit takes in a batch."""
        return examples.lengths

    def windows(self, units: Indices) -> Indices:
        """The windows of some units, in the order in which `loss` takes their outputs."""
        return units

    def batch_targets(self, labelled: Labelled, units: Indices) -> Targets:
        """The targets of some units; by default each window has its record's."""
        return labelled.targets[torch.from_numpy(labelled.examples.owner[units])]

    def terms(self, targets: Targets) -> int:
        """How many terms the loss of a batch sums."""
        return len(targets)

    def records_loss(self, predictions: Sequence[Any], labelled: Labelled) -> float:
        """The mean loss of whole records, where windows alone have none (has_window_loss)."""
        return 0.0


class WordTraining(BaseTraining):
    """A class for some tokens of a text: each word's first piece, or each mask."""

    def word_targets(self, gold: Any) -> Sequence[int]:
        """The class of each word of a record; by default its gold is just that."""
        return gold  # type: ignore[no-any-return]

    def targets(self, examples: Examples, gold: Sequence[Any]) -> Targets:
        """(tokens,) classes where a word begins, in every window that has it; IGNORED elsewhere."""
        assert examples.words is not None  # the task encodes words
        targets = np.full(len(examples.ids), IGNORED, np.int64)
        classes = [np.asarray(self.word_targets(target)) for target in gold]
        for window, owner in enumerate(examples.owner[examples.owner < len(gold)].tolist()):
            tokens = examples.tokens_of(window)
            words = examples.words[tokens]
            targets[tokens][words >= 0] = classes[owner][words[words >= 0]]
        return torch.from_numpy(targets)

    def batch_targets(self, labelled: Labelled, units: Indices) -> Targets:
        """(B, T)."""
        positions, mask = labelled.examples.positions(units)
        return labelled.targets[torch.from_numpy(positions)].masked_fill(torch.from_numpy(~mask), IGNORED)

    def terms(self, targets: Targets) -> int:
        """The tokens that have a target."""
        return int((targets != IGNORED).sum())

    def loss(self, outputs: Outputs, targets: Targets, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The cross-entropy over the tokens that have a target. Logits: (B, T, L)."""
        logits = outputs["logits"].float().flatten(0, -2)
        return functional.cross_entropy(
            logits, targets.flatten(), weight=self.weights_for(logits), reduction="sum", ignore_index=IGNORED,
            label_smoothing=self.settings.label_smoothing,
        )  # fmt: skip


class BaseTeaching(BaseTraining):
    """What is learnt of a teacher's answers in place of labels: gold is what `answer` makes of its predictions.

    Hinton, Vinyals and Dean 2015 (arXiv 1503.02531), section 2. teacher: this task, bound to the tokenizer and config
    of the model that answers. temperature: what the logits of both are divided by, so that a student learns from
    unlikely classes too. columns: where each of the decision's outputs is among the teacher's. Raises as `match` does.
    """

    def __init__(
        self, task: BaseTask, decision: Decision, settings: LabelSettings, teacher: BaseTask, temperature: float
    ) -> None:
        super().__init__(task, decision, settings)
        self.teacher, self.temperature = teacher, temperature
        self.columns = self.match()

    def answer(self, prediction: Any) -> Array:
        """What is kept of the teacher's raw prediction for a record, whatever its tokens were."""
        return np.asarray(prediction, np.float32)

    def match(self) -> list[int]:
        """The columns. Raises UsageError for a teacher whose outputs mean something else."""
        if not self.decision.has_classes:
            return list(range(len(self.decision.labels)))
        labels, names = list(self.decision.labels), self.teacher.labels
        if set(labels) != set(names):
            raise UsageError(
                f"--teacher: it knows the labels {', '.join(names)}, and the data has {', '.join(labels)}; both must "
                "be the same. --labels names those of the model that learns."
            )
        return [names.index(label) for label in labels]

    def divergence(self, logits: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """That of Kullback and Leibler from a teacher's softened probabilities (M, L, …) over L, summed over the rest.

        Times the square of the temperature, by which softening makes the gradients smaller.
        """
        softened = (logits / self.temperature).log_softmax(1)
        return functional.kl_div(softened, shares, reduction="sum") * self.temperature**2


def is_known(targets: Targets) -> torch.Tensor:
    """(N,) of bool for targets (N, …) of numbers: which are of records that have a label."""
    return ~targets.isnan().flatten(1).any(1)


def class_weights(chosen: ClassWeights, targets: Targets, labels: Sequence[str]) -> torch.Tensor | None:
    """(L,) weights, None for all equal. Raises UsageError for a label that is not there, or where there are no classes.

    balanced: N / (classes * count), as scikit-learn; for several labels absent / present.
    """
    if chosen is None:
        return None
    if not labels:
        raise UsageError("--class-weights: this task has no classes.")
    if chosen != "balanced":
        unknown = sorted(set(chosen) - set(labels))
        if unknown:
            names = ", ".join(labels)
            raise UsageError(f"--class-weights: no label is called {', '.join(unknown)}; they are: {names}.")
        return torch.tensor([float(chosen.get(label, 1)) for label in labels])
    if targets.is_floating_point():
        targets = targets[is_known(targets)]
        present = targets.sum(0).clamp(min=1)
        return (len(targets) - present) / present
    targets = targets[targets != IGNORED]
    counts = torch.bincount(targets, minlength=len(labels))
    # A label of the model that the data lacks gets the weight of one that occurs once: it is never used.
    return len(targets) / (int((counts > 0).sum()) * counts.clamp(min=1))
