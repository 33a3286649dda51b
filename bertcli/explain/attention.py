"""What each attention head of a model looks at, where the model can say it as BERT does.

Some families have no attention (FNet), give raw scores (SqueezeBERT), only a window of tokens (Longformer), or fewer
heads than they are configured for (ConvBERT), so what a model gives is looked at and not what its config says.
Knows no text. Try: bertcli explain "a gripping film" --attention --layer 2 --head 3
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bertcli.errors import UsageError

TOLERANCE = 1e-3  # of the sum of a token's weights


@dataclass(frozen=True)
class View:
    """What of the attention is given: layers and heads, counted from 1; None for all."""

    attention: bool = False
    layer: int | None = None
    head: int | None = None


def layers(module: Any, tensors: Mapping[str, torch.Tensor]) -> Sequence[torch.Tensor]:
    """What the model gives as attention, by layer; empty where it gives none."""
    if not any(name in inspect.signature(module.forward).parameters for name in ("output_attentions", "kwargs")):
        return []
    with torch.no_grad():
        outputs = module(**tensors, output_attentions=True)
    return [layer for layer in outputs.get("attentions") or () if layer is not None]


def fault(layers: Sequence[torch.Tensor], length: int) -> str | None:
    """Why these are not, (1, heads, T, T) by layer, how much each token looks at each other; None where they are."""
    if not layers:
        return "this kind of model gives no attention"
    if any(layer.ndim != 4 or layer.shape[-2:] != (length, length) for layer in layers):
        return "its attention is not from each token to each token"
    if any(not torch.allclose(layer.sum(-1), torch.ones(()).to(layer), atol=TOLERANCE) for layer in layers):
        return "its attention comes as raw scores, not as weights that sum to 1"
    return None


def chosen(layers: Sequence[torch.Tensor], view: View) -> list[tuple[int, int]]:
    """The layers and heads that are asked for, from 1. Raises UsageError for one that the model has not."""
    numbers = []
    for name, size in (("layer", len(layers)), ("head", layers[0].shape[1])):
        asked = getattr(view, name)
        if asked is not None and asked > size:
            raise UsageError(f"the model has {size} {name}s, counted from 1; --{name} {asked} is none of them.")
        numbers.append(range(1, size + 1) if asked is None else [asked])
    return [(layer, head) for layer in numbers[0] for head in numbers[1]]
