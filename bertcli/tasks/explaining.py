"""What can be explained of a record's prediction: the logits in a model's outputs that decided it.

A Target says where these logits are, so that it scores the outputs of ONNX Runtime as well as, with gradients, those of
torch. Its score is the log-odds of a class: its logit less the logsumexp of the others'; for several labels the logit
itself, and for a regression the number. A task that can be explained has a class `Explaining` in its folder's
explain.py.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from bertcli.arrays import Features
from bertcli.data.records import Record
from bertcli.tasks.base import BaseTask, Outputs

Position = tuple[int, int | None, float]  # window, token (None for an output of the whole window), weight


@dataclass(frozen=True)
class Row:
    """One choice of the model: the logits of an output, averaged over windows, and the index of the chosen one."""

    output: str
    index: int
    sources: tuple[Position, ...]


@dataclass(frozen=True)
class Target:
    """What is explained: its name, and the rows that decided it. shown: further fields for the user.

    link: softmax if one of the logits is chosen, sigmoid if each stands alone, identity for a number. temperature: what
    `predict` divides the logits by.
    """

    name: str
    rows: tuple[Row, ...]
    link: Literal["softmax", "sigmoid", "identity"] = "softmax"
    shown: Mapping[str, Any] = field(default_factory=dict)
    temperature: float = 1.0

    def score(self, outputs: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """(S,) for S rows of outputs: the mean log-odds of its rows, or the number."""
        return torch.stack([self._score(row, outputs) for row in self.rows]).mean(0)

    def probability(self, outputs: Sequence[Mapping[str, torch.Tensor]]) -> float:
        """The mean probability of its rows for the first of S rows of outputs, or the number."""
        scores = [float(self._score(row, outputs)[0]) for row in self.rows]
        probabilities = scores if self.link == "identity" else [0.5 * (1 + math.tanh(0.5 * score)) for score in scores]
        return float(np.mean(probabilities))

    def _score(self, row: Row, outputs: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """(S,) from outputs (S, L), or (S, T, L) where the sources name tokens."""
        tensors = [(outputs[window][row.output], token, weight) for window, token, weight in row.sources]
        parts = [weight * (tensor if token is None else tensor[:, token]) for tensor, token, weight in tensors]
        logits = torch.stack(parts).sum(0) / self.temperature
        chosen = logits[:, row.index]
        if self.link != "softmax":
            return chosen
        others = torch.cat([logits[:, : row.index], logits[:, row.index + 1 :]], 1)
        return chosen - others.logsumexp(1) if others.shape[1] else chosen


@dataclass
class BaseExplaining(ABC):
    """What can be explained of a task's predictions."""

    task: BaseTask

    def require(self, target: str | None) -> None:  # noqa: B027
        """Raise UsageError if no record can have the --target. By default all can: any answer may be in a context."""

    @abstractmethod
    def targets(self, record: Record, features: Features, outputs: Outputs, target: str | None) -> list[Target]:
        """The targets of a record: what was predicted, or the --target. Raises RecordError."""
