"""The head of an early exit: a second head after an earlier layer of an encoder than the last.

A text whose label is clear after half of the layers need not pass the others (DeeBERT: Xin et al. 2020,
arXiv 2004.12993; BranchyNet: Teerapittayanon et al. 2016, arXiv 1709.01686). Training and export attach the head to a
model. It has a file of its own, so that transformers opens the directory as if there were no exit. Knows no task and no
threshold: backends/ lets texts leave, and evaluation/calibrate.py chooses how certain they must be.
Try: bertcli finetune --exit-after 3 --train train.tsv --dev dev.tsv -o DIR
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from bertcli.errors import ModelError, UsageError
from bertcli.safety import require_whole

FILE = "exit.safetensors"


class ExitHead(torch.nn.Module):
    """Logits (B, L) from the hidden states of a layer (B, T, H) and the attention mask (B, T)."""

    def __init__(self, size: int, labels: int) -> None:
        super().__init__()
        self.dense = torch.nn.Linear(size, size)
        self.classifier = torch.nn.Linear(size, labels)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Dense layer and classifier on the mean of the tokens.

        The mean is a product of matrices, because ONNX Runtime's own mean adds in another order for one text than for
        several, and the last digits of a text would depend on its neighbours.
        """
        weights = mask.float() / mask.sum(1, keepdim=True).float()
        mean = torch.matmul(weights[:, None], states).flatten(1)
        logits: torch.Tensor = self.classifier(torch.tanh(self.dense(mean)))
        return logits


def attach(module: Any, layer: int) -> None:
    """Attach a new head after a layer, counted from 1, so that the model gives `logits` and `exit_logits`.

    Raises UsageError for the last layer, and for one that the model has not.
    """
    layers = getattr(module.config, "num_hidden_layers", 0)
    if not 0 < layer < layers:
        raise UsageError(f"--exit-after {layer}: the model has {layers} layers; name one before the last.")
    module.exit = ExitHead(module.config.hidden_size, module.config.num_labels)
    module.config.exit_after = layer
    module.register_forward_pre_hook(
        lambda part, args, inputs: (args, {**inputs, "output_hidden_states": True}), with_kwargs=True
    )
    module.register_forward_hook(_add_exit_logits, with_kwargs=True)


def _add_exit_logits(
    module: Any, args: tuple[Any, ...], inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    states = outputs["hidden_states"][module.config.exit_after].float()  # Autocast does not cover the head.
    mask = inputs.get("attention_mask")
    mask = torch.ones_like(inputs["input_ids"]) if mask is None else mask
    return {"logits": outputs["logits"], "exit_logits": module.exit(states, mask)}


def save(module: Any, directory: Path) -> None:
    """Write a transformers model as its save_pretrained does, and the head of an exit, if it has one, beside it."""
    if not hasattr(module, "exit"):
        module.save_pretrained(directory)
        return
    weights = {name: value for name, value in module.state_dict().items() if not name.startswith("exit.")}
    module.save_pretrained(directory, state_dict=weights)
    save_file(module.exit.state_dict(), directory / FILE)


def load(module: Any, directory: Path) -> None:
    """Attach the head that `save` wrote to a model; its config says after which layer. Raises ModelError."""
    file = directory / FILE
    require_whole(file)
    attach(module, module.config.exit_after)
    try:
        module.exit.load_state_dict(load_file(file))
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{file}: no head for this model; finetune it again with --exit-after.") from error
