"""Integrated gradients: how much each input vector added to a score, on the way from a baseline to the input.

Sundararajan, Taly and Yan 2017 (arXiv 1703.01365), section 3. The integral is taken by Gauss-Legendre quadrature, with
more points until the attributions sum to the difference of the scores (their "completeness"). Knows no text, no task.

Captum has the method too. It is not used because it would bring matplotlib and five more packages, has a fixed number
of points, and runs the model again for each score; a test compares the attributions with Captum's.
Try: bertcli explain "a gripping film" | jq '.explanations[0] | .error, .steps'
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bertcli.arrays import Array

STEPS = (16, 32, 64, 128, 256, 512)  # points of the quadrature, tried until the sum is right
TOLERANCE = 0.01  # of the difference of the scores
NOISE = 1e-3  # in units of the score: a difference of less than this is fp32's rounding, and needs no 1 %
POINTS = 2048  # vectors in a batch: windows of 512 tokens then take about 1 GB in 6 layers of 12 heads
Tensors = list[torch.Tensor]
Score = Callable[[Tensors], torch.Tensor]


@dataclass(frozen=True)
class Attribution:
    """What each input vector added to one score. values: (T,) for each input; steps: points of the quadrature."""

    values: list[Array]
    score: float
    baseline: float
    steps: int

    @property
    def total(self) -> float:
        """The sum of the attributions."""
        return float(sum(value.sum(dtype=np.float64) for value in self.values))

    @property
    def error(self) -> float:
        """How far the sum is off, as a share of the scores' difference; 0 where both are mere rounding."""
        difference, off = self.score - self.baseline, abs(self.total - (self.score - self.baseline))
        return off / max(abs(difference), NOISE / 10)

    @property
    def is_complete(self) -> bool:
        """Whether the sum is right within 1 %."""
        return self.error <= TOLERANCE or abs(self.total - (self.score - self.baseline)) <= TOLERANCE * NOISE


def attribute(score: Score, inputs: Tensors, baselines: Tensors) -> list[Attribution]:
    """An attribution for each of the K numbers that `score` gives of vectors.

    inputs, baselines: (T, C) for each window. score: a list with (S, T, C) for each window -> (S, K). Where no number
    of points is enough the last attempt is returned, and `is_complete` is false.
    """
    with torch.no_grad():
        ends = score([torch.stack(pair) for pair in zip(baselines, inputs, strict=True)])  # (2, K)
    attributions: list[Attribution] = []
    for steps in STEPS:
        values = _integrate(score, inputs, baselines, steps)
        attributions = [
            Attribution([value[k].cpu().numpy() for value in values], float(ends[1, k]), float(ends[0, k]), steps)
            for k in range(ends.shape[1])
        ]
        if all(attribution.is_complete for attribution in attributions):
            break
    return attributions


def _integrate(score: Score, inputs: Tensors, baselines: Tensors, steps: int) -> Tensors:
    """(K, T) for each window: the mean gradient along the way times the way."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # between -1 and 1; their weights sum to 2
    device = inputs[0].device
    fractions, shares = (torch.from_numpy(array).float().to(device) for array in ((nodes + 1) / 2, weights / 2))
    size = max(1, POINTS // max(1, sum(len(vectors) for vectors in inputs)))
    sums: list[Any] = [0] * len(inputs)  # then (K, T, C) each
    for part, part_shares in zip(torch.split(fractions, size), torch.split(shares, size), strict=True):
        points = [
            (baseline + part[:, None, None] * (vectors - baseline)).requires_grad_()  # (S, T, C)
            for vectors, baseline in zip(inputs, baselines, strict=True)
        ]
        totals = part_shares @ score(points)  # (K,)
        rows = [
            torch.autograd.grad(total, points, retain_graph=k + 1 < len(totals), materialize_grads=True)
            for k, total in enumerate(totals)
        ]
        columns = zip(*rows, strict=True)  # of each window, K gradients (S, T, C)
        gradients = [torch.stack([gradient.sum(0) for gradient in column]) for column in columns]
        sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
    ways = (vectors - baseline for vectors, baseline in zip(inputs, baselines, strict=True))
    return [(total * way).sum(-1) for total, way in zip(sums, ways, strict=True)]
