"""Metrics of text classification: one label, several labels, or a number per record.

Each function takes at least one record and returns plain Python values that JSON can hold, unrounded; what is not
defined is None, never NaN. Sums of hits are NumPy; SciPy and scikit-learn, which take seconds to import, are used
where a definition is longer than a line.
Try: python -c "from bertcli.metrics import classification as c; print(c.regression([1, 2, 3], [1, 2, 4]))"
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bertcli.errors import BertcliError

# The metrics that a --fail-under or an early stop may name. 1: higher is better and 1 is perfect; -1: lower is better
# and 0 is perfect.
SINGLE_LABEL = {"accuracy": 1, "macro_f1": 1, "micro_f1": 1, "weighted_f1": 1, "mcc": 1, "log_loss": -1}
MULTI_LABEL = {
    "micro_f1": 1,
    "subset_accuracy": 1,
    "macro_f1": 1,
    "weighted_f1": 1,
    "samples_f1": 1,
    "map": 1,
    "hamming_loss": -1,
}
REGRESSION = {"pearson": 1, "spearman": 1, "rmse": -1, "mae": -1}

Array = np.ndarray[Any, Any]


def single_label(gold: Sequence[int], scores: Array, labels: Sequence[str]) -> dict[str, Any]:
    """Score the likeliest class of each record, the first of equals.

    gold: (N,) class indices. scores: (N, L) probabilities. labels: the L names.

    accuracy; macro_f1, micro_f1 (here equal to accuracy) and weighted_f1 as in `_f1_report`; mcc: Matthews correlation
    for L classes (R_K: Gorodkin 2004, Comput. Biol. Chem. 28, eq. 8), 0 where only one class is predicted or present,
    as in scikit-learn; log_loss: mean of -ln p(gold), p of at least 2.2e-16 as in scikit-learn's `log_loss`;
    per_class; confusion: counts, a row per gold class, a column per predicted class.
    Raises BertcliError for scores that are not finite.
    """
    _demand_finite(scores)
    truth = np.asarray(gold, dtype=np.int64)  # (N,)
    size = len(labels)
    counts = np.bincount(truth * size + scores.argmax(1), minlength=size * size).reshape(size, size)  # (L, L)
    averages, per_class = _f1_report(counts.diagonal(), counts.sum(0), counts.sum(1), labels)
    likelihood = np.maximum(scores[np.arange(len(truth)), truth], np.finfo(np.float64).eps)
    return {
        "accuracy": float(counts.trace() / len(truth)),
        **averages,
        "mcc": _matthews(counts),
        "log_loss": float(-np.log(likelihood).mean()),
        "per_class": per_class,
        "confusion": {"labels": list(labels), "matrix": counts.tolist()},
    }


def multi_label(
    gold: Sequence[Sequence[int]], scores: Array, labels: Sequence[str], threshold: float
) -> dict[str, Any]:
    """Score the set of labels of each record: those whose score is at least the threshold.

    gold: N lists of label indices. scores: (N, L) probabilities. labels: the L names.

    subset_accuracy: share of records whose set is exactly right; macro, micro and weighted F1 as in `_f1_report`;
    samples_f1: mean of each record's F1, 1 where both sets are empty; map: mean over the `map_labels` labels that occur
    in gold of the average precision, sum of (R_n - R_n-1) P_n without interpolation (scikit-learn,
    `average_precision_score`), which no threshold enters; hamming_loss: share of the N x L decisions that are wrong.
    Raises BertcliError for scores that are not finite.
    """
    _demand_finite(scores)
    truth = np.zeros(scores.shape, dtype=bool)  # (N, L)
    for row, indices in enumerate(gold):
        truth[row, list(indices)] = True
    given = scores >= threshold
    hits = truth & given
    averages, per_class = _f1_report(hits.sum(0), given.sum(0), truth.sum(0), labels)
    precisions = _average_precisions(truth, scores)
    for label, precision in zip(labels, precisions, strict=True):
        per_class[label]["average_precision"] = precision
    defined = [precision for precision in precisions if precision is not None]
    sample_sizes = given.sum(1) + truth.sum(1)
    return {
        "subset_accuracy": float((truth == given).all(1).mean()),
        **averages,
        "samples_f1": float(np.where(sample_sizes > 0, 2 * hits.sum(1) / np.maximum(sample_sizes, 1), 1.0).mean()),
        "map": _mean(defined),
        "map_labels": len(defined),
        "hamming_loss": float((truth != given).mean()),
        "threshold": float(threshold),
        "per_class": per_class,
    }


def regression(gold: Sequence[float], predicted: Sequence[float] | Array) -> dict[str, Any]:
    """Score numbers, each (N,).

    pearson: the linear correlation; spearman: that of the ranks, equals sharing their mean rank; both None for one
    record or where either side is constant. rmse and mae: root of the mean squared error, mean absolute error.
    Raises BertcliError for predictions that are not finite.
    """
    from scipy.stats import rankdata

    x, y = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    _demand_finite(y)
    return {
        "pearson": _correlation(x, y),
        "spearman": _correlation(rankdata(x), rankdata(y)),
        "rmse": float(np.sqrt(np.mean((x - y) ** 2))),
        "mae": float(np.abs(x - y).mean()),
    }


def _demand_finite(scores: Array) -> None:
    # argmax takes NaN for the greatest: a broken model would get a plausible accuracy.
    bad = int((~np.isfinite(scores.reshape(len(scores), -1))).any(1).sum())
    if bad:
        raise BertcliError(
            f"the model's scores are not finite for {bad} of {len(scores)} records; "
            "its weights or its precision are at fault."
        )


def _f1_report(
    hits: Array, given: Array, support: Array, labels: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, dict[str, Any]]]:
    """Averages of F1 and the table per class, from counts (L,) of right predictions, predictions and gold labels.

    F1 = 2 hits / (given + support): macro is its plain mean over the classes that occur in gold or predictions,
    weighted its mean by support, micro the F1 of the summed counts (scikit-learn, `precision_recall_fscore_support`
    with zero_division=nan). Precision is None for a class never predicted, recall for one not in gold.
    """
    f1 = _ratios(2 * hits, given + support)
    weighted = sum(score * n for score, n in zip(f1, support.tolist(), strict=True) if score is not None)
    averages = {
        "macro_f1": _mean(score for score in f1 if score is not None),
        "micro_f1": _ratios([2 * hits.sum()], [given.sum() + support.sum()])[0],
        "weighted_f1": _ratios([weighted], [support.sum()])[0],
    }
    columns = _ratios(hits, given), _ratios(hits, support), f1, support.tolist()
    names = "precision", "recall", "f1", "support"
    rows = (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))
    return averages, dict(zip(labels, rows, strict=True))


def _ratios(parts: Iterable[float], wholes: Iterable[float]) -> list[float | None]:
    return [float(part / whole) if whole else None for part, whole in zip(parts, wholes, strict=True)]


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return float(np.mean(values)) if values else None


def _matthews(counts: Array) -> float:
    """R_K of a confusion matrix (L, L)."""
    matrix = counts.astype(np.float64)
    total, truth, given = matrix.sum(), matrix.sum(1), matrix.sum(0)
    spread = (total**2 - given @ given) * (total**2 - truth @ truth)
    return float((matrix.trace() * total - truth @ given) / np.sqrt(spread)) if spread else 0.0


def _average_precisions(truth: Array, scores: Array) -> list[float | None]:
    """Of each label (L,); None for one without positives, where it is not defined."""
    from sklearn.metrics import average_precision_score

    columns = zip(truth.T, scores.T, strict=True)
    return [float(average_precision_score(gold, score)) if gold.any() else None for gold, score in columns]


def _correlation(x: Array, y: Array) -> float | None:
    """Pearson's r of two arrays (N,); None if one is constant but for rounding, as SciPy's `pearsonr` warns of."""
    deviations = x - x.mean(), y - y.mean()
    norms = [float(np.linalg.norm(deviation)) for deviation in deviations]
    if any(norm <= 1e-13 * abs(values.mean()) for norm, values in zip(norms, (x, y), strict=True)):
        return None
    r = (deviations[0] / norms[0]) @ (deviations[1] / norms[1])
    return float(np.clip(r, -1, 1))  # rounding can pass 1 by an ulp
