"""The optimiser and what goes with it: decay exclusions, the learning rate by step, an average of the weights."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

AVERAGE_EVERY = 8  # steps; an average of 22.7M weights at each step of 1024 tokens would cost 5 % of the time


def adamw(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101), fused; no decay of biases and of LayerNorm's weights.

    beta2 and epsilon as RoBERTa's fine-tuning has them (arXiv 1907.11692, table 10).
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in trained if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6, fused=True)


FALLS: dict[str, Callable[[float], float]] = {  # share of the steps after the warm-up that is done -> of the peak
    "linear": lambda done: 1 - done,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    # flat, then down in the last fifth (Haegele et al. 2024, arXiv 2405.18392, section 3)
    "trapezoidal": lambda done: min(1.0, (1 - done) / 0.2),
}


def learning_rate(peak: float, warmup: float, total: int, schedule: str) -> Callable[[int], float]:
    """The rate of step 0 ... total - 1: a linear rise in `warmup * total` steps, then what the schedule says, to 0."""
    rise = max(1, round(warmup * total))
    fall = FALLS[schedule]

    def rate(step: int) -> float:
        if step < rise:
            return peak * (step + 1) / rise
        return peak * fall((step - rise) / max(1, total - rise))

    return rate


def average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a model's weights (Tarvainen & Valpola, arXiv 1703.01780, section 3).

    decay: a step; one update stands for AVERAGE_EVERY of them.
    """
    update = get_ema_multi_avg_fn(decay**AVERAGE_EVERY)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=update)
