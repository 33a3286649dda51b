"""Intervals and tests against SciPy's, and against values worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from bertcli.metrics import bootstrap
from bertcli.metrics.bootstrap import Interval
from bertcli.metrics.bootstrap import weighted_means as means
from bertcli.metrics.classification import weighted_regression as regression
from bertcli.metrics.classification import weighted_single_label as single_label

RNG = np.random.default_rng(7)
N = 61


def scipy_interval(statistic, *data, **options):
    found = stats.bootstrap(
        data, statistic, n_resamples=bootstrap.RESAMPLES, method="percentile", paired=True, vectorized=False,
        rng=np.random.default_rng(bootstrap.SEED), **options,
    ).confidence_interval  # fmt: skip
    return pytest.approx((found.low, found.high), abs=1e-12)


def test_the_interval_of_a_mean_is_that_of_scipy():
    values = RNG.normal(size=N)
    (own,) = bootstrap.intervals(means({"mean": values}), N).values()
    assert (own.low, own.high) == scipy_interval(np.mean, values)


def test_intervals_of_classification_are_those_of_scipy_with_scikit_learn():
    from sklearn.metrics import f1_score

    gold, given = RNG.integers(0, 3, N), RNG.integers(0, 3, N)
    given[: N // 2] = gold[: N // 2]
    found = bootstrap.intervals(single_label(gold, given, np.ones(N), 3), N)
    for name, statistic in {
        "accuracy": lambda x, y: np.mean(x == y),
        "macro_f1": lambda x, y: f1_score(x, y, average="macro"),
    }.items():
        assert (found[name].low, found[name].high) == scipy_interval(statistic, gold, given), name


def test_intervals_of_correlations_are_those_of_scipy():
    x = RNG.integers(0, 6, N).astype(float)
    y = x + RNG.normal(size=N)
    y[3] = y[4]
    found = bootstrap.intervals(regression(x, y), N)
    for name, statistic in {
        "pearson": lambda a, b: stats.pearsonr(a, b).statistic,
        "spearman": lambda a, b: stats.spearmanr(a, b).statistic,
        "rmse": lambda a, b: np.sqrt(np.mean((a - b) ** 2)),
        "mae": lambda a, b: np.abs(a - b).mean(),
    }.items():
        assert (found[name].low, found[name].high) == scipy_interval(statistic, x, y), name


def test_parts_of_the_resamples_are_those_of_one(monkeypatch):
    whole = np.concatenate([*bootstrap.resamples(50)])
    monkeypatch.setattr(bootstrap, "CELLS", 777)
    parts = [*bootstrap.resamples(50)]
    assert len(parts) > 10
    assert np.array_equal(np.concatenate(parts), whole)
    assert (whole.sum(1) == 50).all() and len(whole) == bootstrap.RESAMPLES


def test_one_example_has_no_interval():
    assert bootstrap.intervals(means({"mean": [1.0]}), 1) == {}
    assert bootstrap.differences(means({"mean": [1.0]}), means({"mean": [0.0]}), 1) == {}


def test_what_no_resample_defines_has_no_interval():
    assert "pearson" not in bootstrap.intervals(regression(np.ones(4), np.arange(4.0)), 4)


def test_resamples_of_one_value_have_no_correlation():
    # One of three, or all but one: what is drawn is often constant, and its mean is off by a rounding.
    for x, y in (([0.1, 0.3, 0.7], [0.3, 0.1, 0.2]), ([0.1] * 9 + [0.7], list(np.arange(10) / 3))):
        for drawn in bootstrap.resamples(len(x)):
            values = regression(np.array(x), np.array(y))(drawn)["pearson"]
            is_constant = [len({x[i] for i in np.flatnonzero(row)}) == 1 for row in drawn]
            assert any(is_constant) and np.array_equal(np.isnan(values), is_constant)


def test_equal_systems_do_not_differ():
    values = RNG.random(N)
    (own,) = bootstrap.differences(means({"m": values}), means({"m": values, "n": values}), N).values()
    assert own == bootstrap.Difference(0.0, Interval(0.0, 0.0), 1.0)


def test_a_difference_draws_the_same_examples_for_both():
    values, noise = RNG.normal(0, 10, N), RNG.normal(0.5, 0.1, N)
    (own,) = bootstrap.differences(means({"m": values + noise}), means({"m": values}), N).values()
    assert own.value == pytest.approx(noise.mean())
    assert (own.interval.low, own.interval.high) == scipy_interval(np.mean, noise)
    assert own.p_value == 2 / (bootstrap.RESAMPLES + 1)  # the least that it can say


@pytest.mark.parametrize(
    ("fixed", "broken", "p"), [(0, 0, 1.0), (1, 0, 1.0), (5, 5, 1.0), (8, 0, 2 / 2**8), (3, 1, 0.625)]
)
def test_mcnemar_is_exact(fixed, broken, p):
    assert bootstrap.mcnemar(fixed, broken) == pytest.approx(p)


def test_mcnemar_of_many_is_scipys():
    """And takes no minutes, as binomial coefficients of so many digits would if each were made by itself."""
    expected = stats.binomtest(14_800, 30_000).pvalue
    assert bootstrap.mcnemar(15_200, 14_800) == pytest.approx(expected, rel=1e-9)
