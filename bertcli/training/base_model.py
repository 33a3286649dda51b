"""The model that a fine-tuning starts from: a checkpoint's encoder, or a part of it, with a head for the task.

Knows heads by their names in transformers, not tasks. Try: bertcli finetune -v …, which names the weights that are new.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn

from bertcli.errors import ModelError, UsageError
from bertcli.export.int8 import dequantized
from bertcli.model import Model
from bertcli.pretrained import new_module, open_config, open_module

OF_HEAD = ("calibration", "exit_after", "pair_field")  # what config.json says of the head that is to be trained anew
DROPOUTS = (  # what the families call it: BERT and most others; DistilBERT
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout",
    "dropout", "attention_dropout", "seq_classif_dropout",
)  # fmt: skip


def open_base(
    base: Model,
    head: str,
    changes: Mapping[str, Any],
    dropout: float | None,
    *,
    layers: int | None = None,
    pieces: Sequence[int] | None = None,
    attention: str | None = None,
) -> tuple[Any, list[str]]:
    """The base model in fp32 with a head for `changes` (labels, problem), and the names of the weights that are new.

    layers: how many of its layers are kept. pieces: the ids whose embeddings are kept, in their new order. attention:
    how transformers is to compute it, which a saved model does not remember. Only head and pooler may be new. Raises
    ModelError for a checkpoint that lacks others, UsageError for more layers than there are.
    """
    config = open_config(base.path, **changes)
    for name in OF_HEAD:
        config.__dict__.pop(name, None)
    for name, value in changes.items():
        if not hasattr(config, name):  # It is bertcli's own, which transformers leaves out.
            setattr(config, name, value)
    if getattr(config, "is_decoder", False):  # It was pre-trained on the next word; a task's head reads both sides.
        config.is_decoder = False
    for name in DROPOUTS:
        if dropout is not None and hasattr(config, name):
            setattr(config, name, dropout)
    if base.has_weights:
        how = {"attn_implementation": attention} if attention else {}
        module, info = open_module(base.path, head, config=config, ignore_mismatched_sizes=True, **how)
        new = sorted({*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])})
    else:  # An embedded model has int8 weights alone.
        encoder = dequantized(base, base.head).base_model.state_dict()
        module = new_module(config, head, dtype=torch.float32, attn_implementation=attention)
        lacking = module.base_model.load_state_dict(encoder, strict=False).missing_keys
        del encoder  # which is as large as the model
        prefix = f"{module.base_model_prefix}." if module is not module.base_model else ""
        of_head = [weight for weight in module.state_dict() if prefix and not weight.startswith(prefix)]
        new = sorted([*of_head, *(prefix + weight for weight in lacking)])
    if not head:
        module.pooler = None  # It is no part of the encoder: see pytorch.load.
    prefix = f"{module.base_model_prefix}."
    if missing := [name for name in new if name.startswith(prefix) and ".pooler." not in name]:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ModelError(f"{base.path}: the checkpoint lacks weights of the encoder, or has others in size ({names}).")
    if layers is not None:
        module = _with_layers(module, head, layers, attention)
    if pieces is not None:
        _keep_pieces(module, list(pieces))
    return module, new


def _with_layers(module: Any, head: str, count: int, attention: str | None) -> Any:
    """A model with `count` evenly spaced layers of this one, the first and the last among them, as DistilBERT began.

    Made anew from its config, so that it computes what the saved model will.
    """
    config, total = deepcopy(module.config), module.config.num_hidden_layers
    if count > total:
        raise UsageError(f"--layers {count}: the base model has {total}.")
    kept = np.linspace(0, total - 1, count).round().astype(int).tolist()
    stacks = [name for name, part in module.named_modules() if isinstance(part, nn.ModuleList) and len(part) == total]
    stacks = [name for name in stacks if not name.startswith(tuple(f"{other}." for other in stacks))]
    if not stacks:
        raise ModelError(f"--layers: those of a {type(module).__name__} share their weights.")
    config.num_hidden_layers = count
    if types := getattr(config, "layer_types", None):  # ModernBERT's layers see all of a text, or what is near
        config.layer_types = [types[i] for i in kept]
    weights = {}
    for name, weight in module.state_dict().items():
        stack = next((stack for stack in stacks if name.startswith(f"{stack}.")), None)
        index, _, rest = name.removeprefix(f"{stack}.").partition(".")
        if stack is None or int(index) in kept:
            weights[name if stack is None else f"{stack}.{kept.index(int(index))}.{rest}"] = weight
    student = new_module(config, head, dtype=torch.float32, attn_implementation=attention)
    if not head:
        student.pooler = None
    try:
        student.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"--layers: those of a {type(module).__name__} are not alike, and stay together.") from error
    return student


def _keep_pieces(module: Any, pieces: list[int]) -> None:
    """Keep the embeddings of these ids alone, in this order, and those of the head that scores each piece."""
    parts = [module.get_input_embeddings(), module.get_output_embeddings()]
    tensors = [getattr(part, name, None) for part in parts for name in ("weight", "bias")]
    with torch.no_grad():
        for tensor in {id(tensor): tensor for tensor in tensors if tensor is not None}.values():  # some are shared
            tensor[: len(pieces)] = tensor[pieces]
    module.resize_token_embeddings(len(pieces), mean_resizing=False)
    for name, value in module.config.to_dict().items():
        if name.endswith("_token_id") and value in pieces:
            setattr(module.config, name, pieces.index(value))
