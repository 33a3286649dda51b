"""Against counts by hand, and against scikit-learn and SciPy on random data."""

import json
import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from bertcli.errors import BertcliError
from bertcli.metrics import MULTI_LABEL, REGRESSION, SINGLE_LABEL, classification

RNG = np.random.default_rng(7)


def one_hot(predicted, size):
    """Scores whose argmax is `predicted`: 0.9, and the rest shared."""
    scores = np.full((len(predicted), size), 0.1 / max(size - 1, 1))
    scores[np.arange(len(predicted)), predicted] = 0.9
    return scores


def test_single_label_by_hand():
    # gold a a a b b c, predicted a a b b c c
    result = classification.single_label([0, 0, 0, 1, 1, 2], one_hot([0, 0, 1, 1, 2, 2], 3), ["a", "b", "c"])
    assert result == {
        "accuracy": 4 / 6,
        "macro_f1": pytest.approx((0.8 + 0.5 + 2 / 3) / 3),
        "micro_f1": 4 / 6,
        "weighted_f1": pytest.approx((3 * 0.8 + 2 * 0.5 + 2 / 3) / 6),
        "mcc": pytest.approx((4 * 6 - 12) / math.sqrt((36 - 12) * (36 - 14))),
        "log_loss": pytest.approx(-(4 * math.log(0.9) + 2 * math.log(0.05)) / 6),
        "per_class": {
            "a": {"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3},
            "b": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
            "c": {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1},
        },
        "confusion": {"labels": ["a", "b", "c"], "matrix": [[2, 1, 0], [0, 1, 1], [0, 0, 1]]},
    }


@pytest.mark.parametrize("size", [2, 3, 28])
def test_single_label_agrees_with_scikit_learn(size):
    gold, scores = RNG.integers(0, size, 400), RNG.dirichlet(np.ones(size), 400)
    predicted, every = scores.argmax(1), list(range(size))
    result = classification.single_label(gold.tolist(), scores, [str(i) for i in every])
    assert result["accuracy"] == pytest.approx(sk.accuracy_score(gold, predicted))
    for average in ("macro", "micro", "weighted"):
        assert result[f"{average}_f1"] == pytest.approx(sk.f1_score(gold, predicted, average=average))
    assert result["mcc"] == pytest.approx(sk.matthews_corrcoef(gold, predicted))
    assert result["log_loss"] == pytest.approx(sk.log_loss(gold, scores, labels=every))
    assert result["confusion"]["matrix"] == sk.confusion_matrix(gold, predicted, labels=every).tolist()


@pytest.mark.parametrize(
    ("gold", "predicted"), [([0, 1, 1], [0, 1, 2]), ([1, 1], [1, 1]), ([1, 1], [2, 0]), ([2], [2])]
)
def test_macro_f1_is_over_the_classes_there_are(gold, predicted):
    result = classification.single_label(gold, one_hot(predicted, 5), list("abcde"))
    assert result["macro_f1"] == pytest.approx(sk.f1_score(gold, predicted, average="macro"))
    assert result["per_class"]["e"] == {"precision": None, "recall": None, "f1": None, "support": 0}


def test_a_class_never_predicted_or_absent_from_gold():
    table = classification.single_label([0, 0], one_hot([0, 1], 3), ["a", "b", "c"])["per_class"]
    assert table["b"] == {"precision": 0.0, "recall": None, "f1": 0.0, "support": 0}
    table = classification.single_label([0, 1], one_hot([0, 0], 3), ["a", "b", "c"])["per_class"]
    assert table["b"] == {"precision": None, "recall": 0.0, "f1": 0.0, "support": 1}


def test_all_wrong():
    result = classification.single_label([0, 1, 0, 1], one_hot([1, 0, 1, 0], 2), ["a", "b"])
    assert [result[name] for name in ("accuracy", "macro_f1", "micro_f1", "weighted_f1", "mcc")] == [0, 0, 0, 0, -1]


@pytest.mark.parametrize(
    ("gold", "predicted"), [([1, 1, 1], [1, 1, 1]), ([0, 1], [1, 1]), ([1, 1], [0, 1]), ([0], [0])]
)
def test_mcc_without_two_classes_on_both_sides_is_zero(gold, predicted):
    result = classification.single_label(gold, one_hot(predicted, 2), ["a", "b"])
    assert result["mcc"] == 0.0
    assert result["accuracy"] == np.mean(np.equal(gold, predicted))


def test_the_first_of_equal_scores_is_predicted():
    assert classification.single_label([0, 1], np.full((2, 2), 0.5), ["a", "b"])["confusion"]["matrix"] == [
        [1, 0],
        [1, 0],
    ]


def test_a_gold_class_of_probability_zero_has_a_finite_loss():
    result = classification.single_label([0], np.array([[0.0, 1.0]]), ["a", "b"])
    assert result["log_loss"] == pytest.approx(sk.log_loss([0], [[0.0, 1.0]], labels=[0, 1]))


def test_a_model_with_one_class():
    result = classification.single_label([0, 0], np.ones((2, 1)), ["only"])
    assert result["accuracy"] == 1.0
    assert result["confusion"]["matrix"] == [[2]]


def test_multi_label_by_hand():
    # gold {a} {a b} {} {c}; given {a} {b} {} {a}
    scores = np.array([[0.9, 0.1, 0.2], [0.4, 0.8, 0.1], [0.1, 0.2, 0.3], [0.5, 0.1, 0.4]])
    result = classification.multi_label([[0], [0, 1], [], [2]], scores, ["a", "b", "c"], 0.5)
    assert result == {
        "subset_accuracy": 0.5,
        "macro_f1": pytest.approx((0.5 + 1 + 0) / 3),
        "micro_f1": pytest.approx(2 * 2 / (3 + 4)),
        "weighted_f1": pytest.approx((2 * 0.5 + 1) / 4),
        "samples_f1": pytest.approx((1 + 2 / 3 + 1 + 0) / 4),
        "map": pytest.approx((5 / 6 + 1 + 1) / 3),  # a: ranks 1 and 3
        "map_labels": 3,
        "hamming_loss": pytest.approx(3 / 12),
        "threshold": 0.5,
        "per_class": {
            "a": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2, "average_precision": pytest.approx(5 / 6)},
            "b": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1, "average_precision": 1.0},
            "c": {"precision": None, "recall": 0.0, "f1": 0.0, "support": 1, "average_precision": 1.0},
        },
    }


def test_multi_label_agrees_with_scikit_learn():
    truth, scores = RNG.random((300, 6)) < 0.3, RNG.random((300, 6))
    gold, given = [np.flatnonzero(row).tolist() for row in truth], scores >= 0.6
    result = classification.multi_label(gold, scores, list("abcdef"), 0.6)
    assert result["subset_accuracy"] == pytest.approx(sk.accuracy_score(truth, given))
    assert result["hamming_loss"] == pytest.approx(sk.hamming_loss(truth, given))
    assert result["map"] == pytest.approx(sk.average_precision_score(truth, scores, average="macro"))
    for average in ("macro", "micro", "weighted", "samples"):
        score = sk.f1_score(truth, given, average=average, zero_division=1.0)
        assert result[f"{average}_f1"] == pytest.approx(score)


def test_multi_label_leaves_out_labels_without_evidence():
    result = classification.multi_label([[0]], np.array([[0.9, 0.1]]), ["a", "b"], 0.5)
    assert (result["macro_f1"], result["map"], result["map_labels"]) == (1.0, 1.0, 1)
    assert result["per_class"]["b"]["average_precision"] is None


def test_multi_label_without_any_label():
    result = classification.multi_label([[], []], np.zeros((2, 2)), ["a", "b"], 0.5)
    assert (result["subset_accuracy"], result["samples_f1"], result["hamming_loss"]) == (1.0, 1.0, 0.0)
    assert [result[name] for name in ("macro_f1", "micro_f1", "weighted_f1", "map")] == [None] * 4


def test_a_score_at_the_threshold_is_given():
    result = classification.multi_label([[0]], np.array([[0.5]]), ["a"], 0.5)
    assert (result["subset_accuracy"], result["map"]) == (1.0, 1.0)


def test_regression_by_hand():
    result = classification.regression([1.0, 2.0, 3.0], np.array([1.0, 2.0, 4.0], dtype=np.float32))
    assert result == {
        "pearson": pytest.approx(3 / math.sqrt(2 * 42 / 9)),
        "spearman": pytest.approx(1),
        "rmse": pytest.approx(math.sqrt(1 / 3)),
        "mae": pytest.approx(1 / 3),
    }


def test_regression_agrees_with_scipy():
    gold = RNG.integers(0, 6, 200).astype(float)  # with ties
    predicted = np.round(gold + RNG.normal(size=200), 1)
    result = classification.regression(gold.tolist(), predicted)
    assert result["pearson"] == pytest.approx(stats.pearsonr(gold, predicted).statistic)
    assert result["spearman"] == pytest.approx(stats.spearmanr(gold, predicted).statistic)


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [([1.0], [2.0]), ([1.0, 2.0], [0.1, 0.1]), ([0.1] * 3, [1.0, 2.0, 3.0]), ([0.0, 0.0], [0.0, 0.0])],
)
def test_correlation_with_a_constant_is_none(gold, predicted):
    result = classification.regression(gold, predicted)
    assert (result["pearson"], result["spearman"]) == (None, None)
    assert result["mae"] == pytest.approx(np.abs(np.subtract(gold, predicted)).mean())


def test_two_opposite_points():
    result = classification.regression([1.0, 2.0], [5.0, 3.0])
    assert (result["pearson"], result["spearman"]) == (pytest.approx(-1), pytest.approx(-1))


def every_family():
    scores = one_hot([0, 1, 1], 3)
    yield SINGLE_LABEL, classification.single_label([0, 1, 2], scores, list("abc"))
    yield MULTI_LABEL, classification.multi_label([[0], [1], []], scores, list("abc"), 0.5)
    yield REGRESSION, classification.regression([1, 2, 3], scores[:, 0])


def test_the_listed_metrics_are_the_numbers_returned():
    settings = {"map_labels", "threshold"}  # numbers that say nothing of quality
    for directions, result in every_family():
        numbers = [name for name, value in result.items() if isinstance(value, int | float) and name not in settings]
        assert set(numbers) == set(directions)


def test_results_are_plain_python():
    for _, result in every_family():
        assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_an_error(value):
    scores = np.array([[0.5, 0.5], [value, 0.5]])
    message = "not finite for 1 of 2 records"
    with pytest.raises(BertcliError, match=message):
        classification.single_label([0, 1], scores, ["a", "b"])
    with pytest.raises(BertcliError, match=message):
        classification.multi_label([[0], [1]], scores, ["a", "b"], 0.5)
    with pytest.raises(BertcliError, match=message):
        classification.regression([0, 1], scores[:, 0])
