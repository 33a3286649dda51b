"""Reliability, curves, temperature and thresholds, with values worked out by hand or by other libraries."""

import numpy as np
import pytest

from bertcli.errors import UsageError
from bertcli.evaluation.calibrate import parse_target
from bertcli.metrics import calibration
from bertcli.metrics.calibration import Bin, Scored, Target, fit_temperature, fit_threshold, nll

RNG = np.random.default_rng(5)


def scored(scores, right, support=None):
    return Scored("texts", np.array(scores), np.array(right), len(scores) if support is None else support)


def test_ece_by_hand():
    found = calibration.reliability(scored([0.9, 0.9, 0.62, 1.0], [True, False, True, True]))
    assert found.ece == pytest.approx((2 * 0.4 + 0.38 + 0.0) / 4)
    assert [(own.count, own.accuracy) for own in found.bins] == [(1, 1.0), (2, 0.5), (1, 1.0)]
    assert found.bins[-1] == Bin(pytest.approx(14 / 15), 1.0, 1, 1.0, 1.0)


def test_a_curve_has_points_where_it_changes():
    found = calibration.curve(scored([0.2, 0.8, 0.8], [False, True, False], support=2))
    assert found.thresholds == (0.0, 0.21, 0.81)
    assert found.precision == (pytest.approx(1 / 3), 0.5, None)
    assert found.recall == (0.5, 0.5, 0.0)
    assert found.f1 == (0.4, 0.5, 0.0)


def logits(count=4000, classes=3, temperature=2.5):
    """Scores whose true temperature is known: labels are drawn from the softmax at it."""
    raw = RNG.normal(0, 4, (count, classes))
    shares = np.exp(raw / temperature)
    shares /= shares.sum(1, keepdims=True)
    return raw, (RNG.random((count, 1)) > shares.cumsum(1)).sum(1)


def test_the_temperature_that_made_the_labels_is_found():
    raw, gold = logits()
    found = fit_temperature(raw, gold)
    assert found == pytest.approx(2.5, rel=0.06)
    assert nll(raw, gold, found) < min(nll(raw, gold, found * 1.01), nll(raw, gold, found / 1.01))


def test_of_sets_of_labels_too():
    raw = RNG.normal(0, 4, (2000, 4))
    truth = RNG.random(raw.shape) < 1 / (1 + np.exp(-raw / 1.7))
    assert fit_temperature(raw, truth) == pytest.approx(1.7, rel=0.06)


def test_nll_is_that_of_scikit_learn():
    from sklearn.metrics import log_loss

    raw, gold = logits(50)
    assert nll(raw, gold, 2.0) == pytest.approx(
        log_loss(gold, calibration.probabilities(raw, gold, 2.0), labels=[0, 1, 2])
    )


@pytest.mark.parametrize("gold", [[0, 1], [1, 0]])
def test_no_temperature_is_best_where_all_or_none_is_right(gold):
    with pytest.raises(UsageError, match=r"^no temperature is best on these 2 decisions"):
        fit_temperature(np.array([[2.0, 0], [0, 2.0]]), np.array(gold))


def test_scores_that_are_not_numbers():
    with pytest.raises(UsageError, match="not finite"):
        fit_temperature(np.array([[np.nan, 0]]), np.array([0]))


SCORES = np.array([0.9, 0.8, 0.6, 0.4, 0.2])
TRUTH = np.array([True, True, False, True, False])


@pytest.mark.parametrize(
    ("target", "threshold"),
    [(None, 0.3), (Target("precision", 0.9), 0.7), (Target("recall", 0.6), 0.7), (Target("recall", 1.0), 0.3)],
)
def test_a_threshold_is_halfway_below_the_last_that_is_given(target, threshold):
    assert fit_threshold(TRUTH, SCORES, target) == pytest.approx(threshold)


def test_what_cannot_be_reached_has_no_threshold():
    assert fit_threshold(np.array([False, True]), np.array([0.9, 0.1]), Target("precision", 0.9)) is None
    assert fit_threshold(np.array([False, False]), np.array([0.9, 0.1])) is None


def test_targets():
    assert parse_target(" precision >= 0.9") == Target("precision", 0.9)
    for text in ("precision=0.9", "f1>=0.9", "recall>=90", "recall>=x", "recall>=nan", ""):
        with pytest.raises(UsageError, match="write precision>=X"):
            parse_target(text)
