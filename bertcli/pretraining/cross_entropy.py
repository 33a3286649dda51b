"""Cross-entropy over a vocabulary: the loss and its gradient in one pass, piece by piece."""

from typing import Any

import torch
from torch.nn import functional

PIECE = 2**18  # logits at a time, on a CPU: 1 MB in fp32 stays in a core's cache from the first pass to the last


class _CrossEntropy(torch.autograd.Function):
    """Keeps the gradient, in the logits' own precision, instead of log-probabilities in fp32 to make it from."""

    @staticmethod
    def forward(context: Any, logits: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        gradient = torch.empty_like(logits)
        loss = torch.zeros((), device=logits.device)
        rows = max(1, PIECE // logits.shape[1]) if logits.device.type == "cpu" else max(1, len(logits))
        for piece, tokens, change in zip(*(torch.split(x, rows) for x in (logits, right, gradient)), strict=True):
            chances = functional.log_softmax(piece, -1, dtype=torch.float32)
            places = tokens[:, None]
            loss -= chances.gather(1, places).sum()
            change.copy_(chances.exp_().scatter_add_(1, places, chances.new_full(places.shape, -1.0)))
        context.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(context: Any, *above: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,) = context.saved_tensors
        return gradient.mul_(above[0]), None


def cross_entropy(logits: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The sum of -log P(right), in fp32, derivable once. logits: (M, V) in any precision; right: (M,) token ids."""
    loss: torch.Tensor = _CrossEntropy.apply(logits, right)  # type: ignore[no-untyped-call]
    return loss
