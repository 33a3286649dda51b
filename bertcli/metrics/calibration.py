"""Whether a score of 0.8 means right in 80 of 100 cases, and what to do where it does not.

Reliability, expected calibration error and the temperature that lessens it: Guo et al. 2017 (arXiv 1706.04599),
sections 2, 3 and 4.2. SciPy and scikit-learn are imported where they are used; predict does not pay for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 15  # as Guo et al. have them
STEPS = 101  # thresholds of a curve
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scored:
    """Decisions with their scores. items: what they are; support: how many right ones there are to find.

    scores: (M,) in 0 to 1. right: (M,) of bool.
    """

    items: str
    scores: Array
    right: Array
    support: int


@dataclass(frozen=True)
class Bin:
    """Decisions with scores over low up to high: how many, their mean score, and the share that is right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """ece: the mean distance of score and share of right ones over BINS equal bins, weighted by their counts.

    bins: those that are not empty.
    """

    items: str
    ece: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Curve:
    """What is right, and found, where only scores of at least a threshold count: a value for each threshold.

    precision: None where nothing reaches the threshold.
    """

    items: str
    thresholds: tuple[float, ...]
    precision: tuple[float | None, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]


def reliability(scored: Scored) -> Reliability:
    """In equal bins over 0 to 1, each with its upper end."""
    edges = np.linspace(0, 1, BINS + 1)
    places = np.clip(np.searchsorted(edges, scored.scores) - 1, 0, BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    sums, hits = (np.bincount(places, own, BINS) for own in (scored.scores, scored.right))
    ece = float(np.abs(sums - hits).sum() / max(len(places), 1))
    bins = [
        Bin(float(low), float(high), int(n), float(s / n), float(h / n))
        for low, high, n, s, h in zip(edges, edges[1:], counts, sums, hits, strict=False)
        if n
    ]
    return Reliability(scored.items, ece, tuple(bins))


def curve(scored: Scored) -> Curve:
    """At each percent, but where it is as at the one before."""
    order = np.argsort(scored.scores, kind="stable")
    ranked, hits = scored.scores[order], np.concatenate([[0], np.cumsum(scored.right[order])])
    cut = np.searchsorted(ranked, np.arange(STEPS) / (STEPS - 1))
    cut, first = np.unique(cut, return_index=True)
    thresholds = first / (STEPS - 1)
    given, found = len(ranked) - cut, hits[-1] - hits[cut]
    precision = [float(own / all_) if all_ else None for own, all_ in zip(found, given, strict=True)]
    recall = found / max(scored.support, 1)
    f1 = 2 * found / np.maximum(given + scored.support, 1)
    return Curve(scored.items, _tuple(thresholds), tuple(precision), _tuple(recall), _tuple(f1))


def _tuple(numbers: Array | Sequence[float]) -> tuple[float, ...]:
    return tuple(round(float(number), 6) for number in numbers)
