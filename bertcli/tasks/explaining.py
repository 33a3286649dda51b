"""The decisions about a record that can be explained: the numbers in a model's outputs that made them.

A target says where its numbers are, so that the same target scores the outputs of ONNX Runtime and, with gradients,
those of torch. A number is the log-odds of a class: its logit less the log of the others' exponentials; for multi-label
this is the logit itself, and a regression's number is taken as it is. Each task whose decisions can be explained has a
class `Explaining` in its folder's explain.py.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from bertcli.data.records import Record
from bertcli.features import Features
from bertcli.tasks.base import BaseTask, Outputs

Position = tuple[int, int | None, float]  # window, token (None: of the whole), weight


@dataclass(frozen=True)
class Row:
    """One choice of the model: the logits of an output, averaged over windows, of which `index` is the one chosen."""

    output: str
    index: int
    sources: tuple[Position, ...]


@dataclass(frozen=True)
class Target:
    """A decision: its name, and the rows that made it. shown: further fields for the user.

    link: softmax where one of the logits is chosen, sigmoid where each stands alone, identity for a quantity.
    temperature: what predict divides the logits by.
    """

    name: str
    rows: tuple[Row, ...]
    link: Literal["softmax", "sigmoid", "identity"] = "softmax"
    shown: Mapping[str, Any] = field(default_factory=dict)
    temperature: float = 1.0

    def score(self, outputs: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """(S,): the mean log-odds of its rows, or the quantity."""
        return torch.stack([self._score(row, outputs) for row in self.rows]).mean(0)

    def probability(self, outputs: Sequence[Mapping[str, torch.Tensor]]) -> float:
        """The mean probability of its rows for the first of S, or the quantity."""
        scores = [float(self._score(row, outputs)[0]) for row in self.rows]
        probabilities = scores if self.link == "identity" else [0.5 * (1 + math.tanh(0.5 * score)) for score in scores]
        return float(np.mean(probabilities))

    def _score(self, row: Row, outputs: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """(S,) of outputs (S, L), or (S, T, L) where the sources name tokens."""
        tensors = [(outputs[window][row.output], token, weight) for window, token, weight in row.sources]
        parts = [weight * (tensor if token is None else tensor[:, token]) for tensor, token, weight in tensors]
        logits = torch.stack(parts).sum(0) / self.temperature
        chosen = logits[:, row.index]
        if self.link != "softmax":
            return chosen
        others = torch.cat([logits[:, : row.index], logits[:, row.index + 1 :]], 1)
        return chosen - others.logsumexp(1) if others.shape[1] else chosen


class BaseExplaining(ABC):
    """The explainable decisions of a task."""

    def __init__(self, task: BaseTask) -> None:
        self.task = task

    def require(self, target: str | None) -> None:  # noqa: B027
        """Raise UsageError where no record could have the target that a user asks for; any text may be in a context."""

    @abstractmethod
    def targets(self, record: Record, features: Features, outputs: Outputs, target: str | None) -> list[Target]:
        """The decisions of a record: those that `outputs` made, or the one that is asked for. Raises RecordError."""
