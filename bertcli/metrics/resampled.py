"""The metrics again, of weighted examples and for many weightings at once, as metrics/bootstrap.py wants them.

Each function takes what is known of N examples and gives a function from weights (B, N) to metrics (B,). A weight says
how often an example was drawn; with weights of 1 the values are those of classification.py, entities.py and the others.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bertcli.metrics.bootstrap import Array, Metrics


def single_label(gold: Array, given: Array, losses: Array, labels: int) -> Metrics:
    """gold, given: (N,) class indices. losses: (N,), -ln p(gold)."""
    hit = gold == given
    truth, named = _indicators(gold, labels), _indicators(given, labels)
    both = _indicators(gold, labels, hit)

    def metrics(weights: Array) -> dict[str, Array]:
        total = weights.sum(1)
        right, support, found = (weights @ own for own in (both, truth, named))  # (B, L)
        return {
            "accuracy": _ratio(weights @ hit, total),
            **_averages(right, support, found),
            "mcc": _correlation(right, support, found),
            "log_loss": _ratio(weights @ losses, total),
        }

    return metrics


def multi_label(truth: Array, given: Array, scores: Array | None) -> Metrics:
    """truth, given: (N, L) of bool. scores: (N, L) for map, which is left out where they are not known."""
    both = truth & given
    sizes = truth.sum(1) + given.sum(1)
    shares = np.where(sizes, 2 * both.sum(1) / np.maximum(sizes, 1), 1.0)  # F1 of each example
    rows = {
        "subset_accuracy": (truth == given).all(1), "samples_f1": shares, "hamming_loss": (truth != given).mean(1)
    }  # fmt: skip
    ranked = [] if scores is None else [_Ranked(truth[:, i], scores[:, i]) for i in range(truth.shape[1])]

    def metrics(weights: Array) -> dict[str, Array]:
        right, support, found = (weights @ own.astype(np.float64) for own in (both, truth, given))
        result = means(rows)(weights) | _averages(right, support, found)
        if ranked:
            result["map"] = _mean(np.array([own.precision(weights) for own in ranked]).T)
        return result

    return metrics


def regression(gold: Array, given: Array) -> Metrics:
    """gold, given: (N,) numbers."""
    x, y = gold - gold.mean(), given - given.mean()  # the correlation stays, and sums of squares keep their digits
    error = given - gold
    gold_ranks, given_ranks = _ranks(gold), _ranks(given)

    def metrics(weights: Array) -> dict[str, Array]:
        total = weights.sum(1)
        return {
            "pearson": _pearson(weights, x, y),
            "spearman": _pearson(weights, gold_ranks(weights), given_ranks(weights)),
            "rmse": np.sqrt(_ratio(weights @ error**2, total)),
            "mae": _ratio(weights @ np.abs(error), total),
        }

    return metrics


def entities(right: Array, found: Array, support: Array, tokens: Array, right_tokens: Array) -> Metrics:
    """right, found, support: (N, types) counts of entities. tokens, right_tokens: (N,) counts of words."""

    def metrics(weights: Array) -> dict[str, Array]:
        own, given, wanted = (weights @ counts for counts in (right, found, support))  # (B, types)
        averages = _averages(own, wanted, given)
        return {
            "precision": _ratio(own.sum(1), given.sum(1)),
            "recall": _ratio(own.sum(1), wanted.sum(1)),
            "f1": averages["micro_f1"],
            "macro_f1": averages["macro_f1"],
            "token_accuracy": _ratio(weights @ right_tokens, weights @ tokens),
        }

    return metrics


def means(columns: Mapping[str, Array | Sequence[float]], counts: Array | None = None) -> Metrics:
    """Of values (N,), or of sums (N,) over as many items as counts (N,) say."""
    sums = {name: np.asarray(column, np.float64) for name, column in columns.items()}

    def metrics(weights: Array) -> dict[str, Array]:
        total = weights.sum(1) if counts is None else weights @ counts
        return {name: _ratio(weights @ column, total) for name, column in sums.items()}

    return metrics


class _Ranked:
    """A label's examples by their scores: its average precision is a sum over the scores that gold ones have."""

    def __init__(self, truth: Array, scores: Array) -> None:
        _, places = np.unique(-scores, return_inverse=True)  # best first; equal scores are one place
        gold = np.unique(places[truth])
        steps = np.searchsorted(gold, places)  # the first place of a gold one at or after each example's
        self.given = _indicators(steps, len(gold) + 1)
        self.right = _indicators(steps, len(gold) + 1, truth)

    def precision(self, weights: Array) -> Array:
        """(B,): NaN where no gold example was drawn."""
        right, given = weights @ self.right, (weights @ self.given).cumsum(1)  # (B, places of gold ones)
        return _ratio((right * right.cumsum(1) / np.maximum(given, 1)).sum(1), right.sum(1))


def _indicators(ids: Array, labels: int, values: Array | None = None) -> Any:
    """(N, L), sparse: 1 (or the value) at each example's label."""
    from scipy.sparse import csr_array

    count, ids = len(ids), ids.copy()  # dropping zeros changes it
    ones = np.ones(count) if values is None else values.astype(np.float64)
    found = csr_array((ones, ids, np.arange(count + 1)), shape=(count, labels))
    found.eliminate_zeros()
    return found


def _averages(right: Array, support: Array, found: Array) -> dict[str, Array]:
    """(B, L) counts to averages of F1, as classification.py defines them."""
    f1 = _ratio(2 * right, support + found)
    weighted = np.where(np.isnan(f1), 0, f1) * support
    return {
        "macro_f1": _mean(f1),
        "micro_f1": _ratio(2 * right.sum(1), support.sum(1) + found.sum(1)),
        "weighted_f1": _ratio(weighted.sum(1), support.sum(1)),
    }


def _correlation(right: Array, support: Array, found: Array) -> Array:
    """Matthews' for L classes (Gorodkin 2004, Comput. Biol. Chem. 28, eq. 8): 0 where either side is constant."""
    total = support.sum(1)
    covariance = right.sum(1) * total - (support * found).sum(1)
    variances = (total**2 - (support**2).sum(1)) * (total**2 - (found**2).sum(1))
    return np.where(variances > 0, covariance / np.sqrt(np.maximum(variances, 1)), 0.0)


def _ranks(values: Array) -> Callable[[Array], Array]:
    """Weights (B, N) to the ranks (B, N) that the drawn values have, equals sharing their mean rank."""
    _, places = np.unique(values, return_inverse=True)
    groups = _indicators(places, int(places.max()) + 1)

    def ranks(weights: Array) -> Array:
        counts: Array = weights @ groups  # (B, distinct values)
        middle: Array = counts.cumsum(1) - (counts - 1) / 2
        return middle[:, places]

    return ranks


def _pearson(weights: Array, x: Array, y: Array) -> Array:
    """(B,): of values (N,) or (B, N); NaN where either is constant."""
    total = weights.sum(1, keepdims=True)
    own = x - (weights * x).sum(1, keepdims=True) / total
    other = y - (weights * y).sum(1, keepdims=True) / total
    products = (weights * own * other).sum(1)
    spread = (weights * own**2).sum(1) * (weights * other**2).sum(1)
    return _ratio(products, np.sqrt(np.where(spread > np.finfo(float).tiny, spread, 0)))


def _ratio(part: Array, whole: Array) -> Array:
    """NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole != 0)  # type: ignore[no-any-return]


def _mean(values: Array) -> Array:
    """(B, L) to (B,): the mean of those that are defined."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(1), defined.sum(1))
