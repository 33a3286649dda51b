"""The model that a fine-tuning starts from: a checkpoint's encoder, with a head for the task's outputs.

Knows heads by their names in transformers, not tasks. Try: bertcli finetune -v …, which names the weights that are new.
"""

from collections.abc import Mapping
from typing import Any

from bertcli.errors import ModelError
from bertcli.model import Model
from bertcli.pretrained import open_config, open_module

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
    module, info = open_module(base.path, head, config=config, ignore_mismatched_sizes=True)
    if not head:
        module.pooler = None  # It is no part of the encoder: see pytorch.load.
    new = sorted({*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])})
    prefix = f"{module.base_model_prefix}."
    if missing := [name for name in new if name.startswith(prefix) and ".pooler." not in name]:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ModelError(f"{base.path}: the checkpoint lacks weights of the encoder, or has others in size ({names}).")
    return module, new
