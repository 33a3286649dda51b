"""Integrated gradients: exact where the integral is known, complete, said when not, and those of Captum."""

import numpy as np
import pytest
import torch

from bertcli.explain import STEPS, attribute

Tensors = list[torch.Tensor]


def vectors(*lengths: int, seed: int = 0) -> Tensors:
    """(T, 3) for each length."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, 3, generator=generator) for length in lengths]


def smooth(points: Tensors) -> torch.Tensor:
    """Two scores (S, 2) that mix all vectors of all windows."""
    sums = torch.stack([point.sum((1, 2)) for point in points]).sum(0)
    first = points[0][:, 0, 0]
    return torch.stack([torch.tanh(sums) + first**3, sums * first], 1)


def test_a_polynomial_is_attributed_exactly() -> None:
    """Of sum(a * x^2) each x adds a * x^2 when the baseline is 0 (the article, section 3)."""
    (x,), (weights,) = vectors(4), vectors(4, seed=1)
    (result,) = attribute(lambda points: (points[0] ** 2 * weights).sum((1, 2))[:, None], [x], [torch.zeros_like(x)])
    np.testing.assert_allclose(result.values[0], (weights * x**2).sum(1).numpy(), rtol=1e-4, atol=1e-5)
    assert result.is_complete and result.error < 1e-4 and result.steps == STEPS[0] and result.baseline == 0


def test_several_scores_of_several_windows_are_complete() -> None:
    inputs, baselines = vectors(5, 2), vectors(5, 2, seed=7)
    for k, result in enumerate(attribute(smooth, inputs, baselines)):
        exact = smooth([point[None] for point in inputs])[0, k] - smooth([point[None] for point in baselines])[0, k]
        assert [len(values) for values in result.values] == [5, 2]
        assert result.total == pytest.approx(float(exact), rel=0.01) and result.is_complete


def test_batches_of_points_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, baselines = vectors(5, 2), vectors(5, 2, seed=7)
    whole = attribute(smooth, inputs, baselines)
    monkeypatch.setattr("bertcli.explain.POINTS", 21)
    for one, other in zip(whole, attribute(smooth, inputs, baselines), strict=True):
        np.testing.assert_allclose(one.values[0], other.values[0], rtol=1e-4, atol=1e-6)


def test_what_no_number_of_points_makes_complete_is_said() -> None:
    """A step has no gradient anywhere, and a difference all the same."""
    (x,) = vectors(2)
    (result,) = attribute(lambda points: points[0].sum((1, 2)).sign()[:, None], [x + 5], [x - 5])
    assert not result.is_complete and result.error == pytest.approx(1) and result.steps == STEPS[-1]


def test_nothing_to_attribute_is_complete() -> None:
    (x,) = vectors(2)
    (result,) = attribute(lambda points: points[0].sum((1, 2))[:, None], [x], [x])
    assert (result.total, result.error, result.is_complete) == (0, 0, True)


def test_a_window_that_the_score_ignores_gets_nothing() -> None:
    inputs, baselines = vectors(3, 2), vectors(3, 2, seed=5)
    (result,) = attribute(lambda points: points[0].sum((1, 2))[:, None], inputs, baselines)
    assert not result.values[1].any() and result.is_complete


@pytest.mark.filterwarnings("ignore")  # of matplotlib, which it imports
def test_the_attributions_are_captums() -> None:
    attr = pytest.importorskip("captum.attr")
    (x,), (baseline,) = vectors(6), vectors(6, seed=3)
    (ours, _) = attribute(smooth, [x], [baseline])
    theirs = attr.IntegratedGradients(lambda points: smooth([points])[:, 0]).attribute(
        x[None], baselines=baseline[None], n_steps=ours.steps, method="gausslegendre"
    )
    np.testing.assert_allclose(ours.values[0], theirs[0].sum(-1).numpy(), rtol=1e-4, atol=1e-5)
