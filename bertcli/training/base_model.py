"""The model that a fine-tuning starts from: a checkpoint's encoder, with a head for the task's outputs.

Knows heads by their names in transformers, not tasks. Try: bertcli finetune -v …, which names the weights that are new.
"""

from collections.abc import Mapping
from typing import Any

import torch

from bertcli.errors import ModelError
from bertcli.export.int8 import dequantized
from bertcli.model import Model
from bertcli.pretrained import new_module, open_config, open_module

DROPOUTS = (  # what the families call it: BERT and most others; DistilBERT
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout",
    "dropout", "attention_dropout", "seq_classif_dropout",
)  # fmt: skip


def open_base(base: Model, head: str, changes: Mapping[str, Any], dropout: float | None) -> tuple[Any, list[str]]:
    """The base model in fp32 with a head for `changes` (labels, problem), and the names of the weights that are new.

    Only head and pooler may be new. Raises ModelError for a checkpoint that lacks others.
    """
    config = open_config(base.path, **changes)
    config.__dict__.pop("calibration", None)  # It is of the head that is to be trained anew.
    if getattr(config, "is_decoder", False):  # It was pre-trained on the next word; a task's head reads both sides.
        config.is_decoder = False
    for name in DROPOUTS:
        if dropout is not None and hasattr(config, name):
            setattr(config, name, dropout)
    if base.has_weights:
        module, info = open_module(base.path, head, config=config, ignore_mismatched_sizes=True)
        new = sorted({*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])})
    else:  # An embedded model has int8 weights alone.
        module, new = _with_encoder_of(dequantized(base, base.head), config, head)
    if not head:
        module.pooler = None  # It is no part of the encoder: see pytorch.load.
    prefix = f"{module.base_model_prefix}."
    if missing := [name for name in new if name.startswith(prefix) and ".pooler." not in name]:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ModelError(f"{base.path}: the checkpoint lacks weights of the encoder, or has others in size ({names}).")
    return module, new


def _with_encoder_of(source: Any, config: Any, head: str) -> tuple[Any, list[str]]:
    """A model of a config with another's encoder under its own head; and the names of the weights that are new."""
    module = new_module(config, head, dtype=torch.float32)
    lacking = module.base_model.load_state_dict(source.base_model.state_dict(), strict=False).missing_keys
    prefix = f"{module.base_model_prefix}." if module is not module.base_model else ""
    of_head = [weight for weight in module.state_dict() if prefix and not weight.startswith(prefix)]
    return module, sorted([*of_head, *(prefix + weight for weight in lacking)])
