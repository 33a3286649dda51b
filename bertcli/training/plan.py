"""What a training is given (Plan, Job, Batch), and what it says while it runs (Step, Eval)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

Metrics = dict[str, Any]
Stop = Callable[[], int | None]


@dataclass(frozen=True)
class Step:
    """One optimiser step is done. step: how many are, of `total`; epoch: how many are, with a fraction.

    loss: mean over the step. examples, tokens: in this step, over all processes; tokens without padding.
    utilisation: of the GPUs' peak, counting the model's own operations (Chowdhery et al. 2022, arXiv 2204.02311,
    appendix B); None where the job does not count them or the peak is not known.
    """

    step: int
    total: int
    epoch: float
    loss: float
    lr: float
    grad_norm: float
    examples: int
    tokens: int
    examples_per_s: float
    tokens_per_s: float
    utilisation: float | None
    seconds_left: float


@dataclass(frozen=True)
class Eval:
    """The model was scored. best: whether these weights are the best so far, as `metric` decides."""

    step: int
    epoch: float
    metrics: Metrics
    best: bool
    metric: str


Event = Step | Eval


@dataclass(frozen=True)
class Batch:
    """What a process feeds its model at once. count: terms of the loss (examples, masked tokens) it holds.

    operations: floating-point ones of a forward and a backward pass, where the job counts them.
    """

    inputs: Mapping[str, torch.Tensor]
    targets: Any
    count: int
    examples: int
    tokens: int
    operations: int = 0


class Job(Protocol):
    """What is trained on what."""

    def schedule(self, step: int) -> Iterator[Sequence[Any]]:
        """The keys of the batches of each optimiser step, from the one after `step` on, at least to the plan's end."""

    def batch(self, key: Any) -> Batch:
        """This process' part of a batch, on its device."""

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The SUM of the loss over the batch's terms: a scalar."""

    def evaluate(self, model: Any) -> Metrics | None:
        """Scores by name, the same in all processes; None where there is nothing to score on."""


@dataclass(frozen=True)
class Plan:
    """How long to train and when to look. total: steps of the whole run; metric: what decides about best and patience.

    direction: 1 where more of the metric is better, -1 where less is. peak: operations a second of the devices.
    identity: settings and data, as plain values; a run can be resumed only under the same ones.
    """

    total: int
    steps_per_epoch: int
    rate: Callable[[int], float]
    clip_norm: float
    eval_every: int
    metric: str
    direction: int
    patience: int | None
    folder: Path
    identity: dict[str, Any] = field(default_factory=dict)
    peak: float | None = None
