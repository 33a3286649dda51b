"""The loss over a vocabulary against torch's, in one piece and in many."""

import pytest
import torch
from torch.nn import functional

from bertcli.pretraining import pretrain as module
from bertcli.pretraining.pretrain import cross_entropy


@pytest.mark.parametrize("piece", [1, 100, 2**18])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-7)])
def test_loss_and_gradient_are_those_of_torch(
    monkeypatch: pytest.MonkeyPatch, piece: int, dtype: torch.dtype, tolerance: float
) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    torch.manual_seed(0)
    logits, right = torch.randn(7, 40, dtype=dtype) * 5, torch.randint(40, (7,))
    own, other = (logits.clone().requires_grad_() for _ in range(2))
    loss, expected = cross_entropy(own, right), functional.cross_entropy(other.float(), right, reduction="sum")
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)
    (loss / 7).backward()
    (expected / 7).backward()
    assert own.grad is not None and own.grad.dtype == dtype
    torch.testing.assert_close(own.grad, other.grad, rtol=tolerance, atol=tolerance / 7)


def test_nothing_to_guess_is_no_loss() -> None:
    logits = torch.zeros(0, 40, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == 0 and logits.grad is not None and logits.grad.shape == (0, 40)
