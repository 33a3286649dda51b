"""Weights of one give the metrics; other weights give the metrics of examples that are repeated so often."""

import numpy as np
import pytest

from bertcli.metrics import MULTI_LABEL, SINGLE_LABEL, bootstrap, classification, entities

RNG = np.random.default_rng(3)
N, L = 40, 4
LABELS = [f"l{i}" for i in range(L)]
COUNTS = RNG.integers(0, 4, N)
ROWS = np.repeat(np.arange(N), COUNTS)  # the examples as COUNTS repeats them


def demand(metrics, whole, repeated):
    """Both weightings, and in one call the same."""
    found = metrics(np.array([np.ones(N), COUNTS], np.float64))
    for name, pair in found.items():
        expected = (whole[name], repeated[name])
        assert pair == pytest.approx([np.nan if own is None else own for own in expected], nan_ok=True), name
    assert bootstrap.values(metrics, N) == pytest.approx({name: pair[0] for name, pair in found.items()}, nan_ok=True)
    return found.keys()


def test_single_label():
    scores = RNG.dirichlet(np.ones(L), N)
    gold = RNG.integers(0, L - 1, N)  # the last class is never gold
    losses = -np.log(scores[np.arange(N), gold])
    names = demand(
        classification.weighted_single_label(gold, scores.argmax(1), losses, L),
        classification.single_label(gold, scores, LABELS),
        classification.single_label(gold[ROWS], scores[ROWS], LABELS),
    )
    assert names == SINGLE_LABEL.keys()


def test_the_given_arrays_stay_as_they_are():
    gold, given = RNG.integers(0, L, N), RNG.integers(0, L, N)
    copies = gold.copy(), given.copy()
    classification.weighted_single_label(gold, given, np.ones(N), L)
    assert np.array_equal(gold, copies[0]) and np.array_equal(given, copies[1])


def test_one_class_only():
    zeros = np.zeros(N, int)
    found = bootstrap.values(classification.weighted_single_label(zeros, zeros, np.zeros(N), 2), N)
    assert found["mcc"] == 0.0 and found["accuracy"] == found["macro_f1"] == 1.0


def test_multi_label():
    scores = RNG.integers(0, 8, (N, L)) / 8  # many are equal
    truth = RNG.random((N, L)) < 0.3
    truth[:, 3] = False
    gold = [np.flatnonzero(row).tolist() for row in truth]
    names = demand(
        classification.weighted_multi_label(truth, scores >= 0.5, scores),
        classification.multi_label(gold, scores, LABELS, 0.5),
        classification.multi_label([gold[i] for i in ROWS], scores[ROWS], LABELS, 0.5),
    )
    assert names == MULTI_LABEL.keys()
    assert "map" not in classification.weighted_multi_label(truth, scores >= 0.5, None)(np.ones((1, N)))


def test_regression():
    x, y = RNG.integers(0, 5, N).astype(float), RNG.integers(0, 5, N) + 100.0
    demand(
        classification.weighted_regression(x, y),
        classification.regression(x, y),
        classification.regression(x[ROWS], y[ROWS]),
    )


def test_entities():
    tags = ["O", "B-A", "I-A", "B-B", "I-B"]
    gold, found = ([[tags[i] for i in RNG.integers(0, 5, 6)] for _ in range(N)] for _ in range(2))
    wanted, given = ([set(entities.spans(own)) for own in group] for group in (gold, found))
    right = [own & guess for own, guess in zip(wanted, given, strict=True)]
    counts = entities.counts([[span.type for span in own] for group in (right, given, wanted) for own in group])
    words = [sum(map(str.__eq__, *pair)) for pair in zip(gold, found, strict=True)]
    names = demand(
        entities.weighted(*counts.reshape(3, N, -1), np.full(N, 6), np.array(words)),
        entities.score(gold, found),
        entities.score([gold[i] for i in ROWS], [found[i] for i in ROWS]),
    )
    assert names == {"precision", "recall", "f1", "macro_f1", "token_accuracy"}


def test_sums_over_items():
    metrics = bootstrap.weighted_means({"a": [2, 0]}, np.array([3.0, 1.0]))
    assert metrics(np.array([[1, 1], [0, 1.0]]))["a"].tolist() == [0.5, 0.0]
    assert np.isnan(bootstrap.weighted_means({"a": [0]}, np.array([0.0]))(np.ones((1, 1)))["a"]).all()
