"""Floating-point operations of BERT-family training, and what devices can do at most: for the utilisation reported.

Counted are the matrix products that the model needs, as Chowdhery et al. 2022 (arXiv 2204.02311, appendix B) do.
"""

from collections.abc import Mapping
from typing import Any

# dense bf16, from the vendor's data sheets; by a part of the name that torch gives
PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}


def training(config: Mapping[str, Any], tokens: int, length: int, guessed: int) -> int:
    """Of a forward and a backward pass (three times the forward's) over `tokens` tokens in blocks of `length`.

    guessed: positions that the head scores.
    """
    width, layers, inner = (int(config[name]) for name in ("hidden_size", "num_hidden_layers", "intermediate_size"))
    weights = layers * (4 * width**2 + 2 * width * inner)
    encoder = tokens * (2 * weights + 4 * length * width * layers)
    head = guessed * 2 * (width**2 + width * int(config["vocab_size"]))
    return 3 * (encoder + head)


def peak(name: str) -> float | None:
    """Operations a second of a GPU by its name, None for one that is not listed."""
    return next((value for part, value in PEAKS.items() if part in name), None)
