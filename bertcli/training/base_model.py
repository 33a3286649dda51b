"""The model that a fine-tuning starts from: a checkpoint's encoder, or some of its layers and pieces, with a new head.

Knows heads by their names in transformers, and no task by name.
Try: bertcli finetune -v …, which names the weights that are new.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from string import printable
from typing import Any

import numpy as np
import tokenizers
import torch
from torch import nn

from bertcli.data.records import Record
from bertcli.errors import ModelError, RecordError, UsageError
from bertcli.export.int8 import dequantized
from bertcli.model import Model, names_of
from bertcli.pretrained import new_module, open_config, open_module
from bertcli.tasks.base import BaseTask
from bertcli.tokenizer import Tokenizer

# What config.json says of the head that is to be trained anew; the last two have the activation of a CrossEncoder.
OF_HEAD = (
    "calibration", "exit_after", "null_threshold", "pair_field", "sentence_transformers",
    "sbert_ce_default_activation_function",
)  # fmt: skip
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
        if not _has_outputs(base, head, names_of(changes)):
            new = sorted({*new, *_renew_outputs(module, head, new)})
    else:  # An embedded model has int8 weights alone.
        encoder = dequantized(base, base.head).base_model.state_dict()
        module = new_module(config, head, dtype=torch.float32, attn_implementation=attention)
        module.base_model.load_state_dict(encoder, strict=False)
        prefix = f"{module.base_model_prefix}."
        new = sorted(name for name in module.state_dict() if name.removeprefix(prefix) not in encoder)
        del encoder  # which is as large as the model
    prefix = f"{module.base_model_prefix}." if head else ""  # Without a head the model is the encoder itself.
    if missing := [name for name in new if name.startswith(prefix) and "pooler." not in name]:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ModelError(f"{base.path}: the checkpoint lacks weights of the encoder, or has others in size ({names}).")
    if layers is not None:
        module = _with_layers(module, head, layers, attention)
    if pieces is not None:
        _keep_pieces(module, list(pieces))
    return module, new


def _has_outputs(base: Model, head: str, labels: Sequence[str]) -> bool:
    """Whether a base model's head has an output for each of these labels, in their order, or says nothing of its own.

    Ids, and LABEL_0 and the like, are transformers' names for labels of any meaning; so is that of a single number.
    """
    ids = [str(i) for i in range(len(labels))]
    names, stated = ([name.removeprefix("LABEL_") for name in part] or ids for part in (labels, base.labels))
    return len(labels) < 2 or (base.head == head and (names == stated or ids in (names, stated)))


def _renew_outputs(module: Any, head: str, new: Sequence[str]) -> list[str]:
    """Make the weights with a row for each output random, as where their sizes differ; their names, without `new`."""
    prefix, size = f"{module.base_model_prefix}.", (module.config.num_labels,)
    rows = [name for name, weight in module.state_dict().items() if weight.shape[:1] == size]
    renewed = [name for name in rows if not name.startswith(prefix) and name not in new]
    if renewed:
        weights = new_module(module.config, head, dtype=torch.float32).state_dict()
        module.load_state_dict({name: weights[name] for name in renewed}, strict=False)
    return renewed


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


# A smaller vocabulary: the pieces that a corpus uses, and a tokenizer with these alone, which reads it the same way.
#
# WordPiece takes the longest piece that fits, Unigram the likeliest sequence of pieces: both find the same ones again
# where only pieces are gone that they did not take. What a corpus has not is spelt in smaller pieces. BPE joins pieces
# to larger ones, so each needs those that it is joined from.


def used_pieces(task: BaseTask, records: Iterable[Record], sources: Counter[str]) -> set[int]:
    """The ids of the pieces of records: as the task reads them, or of all their texts where they are none for it.

    sources: counts the records of each file. Raises UsageError for records that cannot be read.
    """
    ids: set[int] = set()
    for record, encoded in task.encoded(records):
        sources[record.source] += 1
        if record.fault is not None:
            raise UsageError(f"--vocabulary-from {record.location}: {record.fault}")
        if not isinstance(encoded, RecordError):
            ids.update(piece for window in encoded.windows for piece in window.ids)
            continue
        for encoding in task.tokenizer.backend.encode_batch_fast([*_texts(record.fields)], add_special_tokens=False):
            ids.update(encoding.ids)
    return ids


def _texts(value: Any) -> Iterator[str]:
    """All texts inside a field's value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def cut_to_pieces(tokenizer: Tokenizer, ids: set[int]) -> Tokenizer:
    """A tokenizer of these pieces, in their order, and of those that it cannot do without.

    Raises ModelError for a vocabulary of another kind than WordPiece or Unigram.
    """
    document = json.loads(tokenizer.backend.to_str())
    model, special = document["model"], {token["id"] for token in document["added_tokens"]}
    before = range(tokenizer.pad + 1)  # RoBERTa and its kin number positions from the padding's id.
    kept = ids.union(special, before, tokenizer.backend.encode("", "").ids)
    match model["type"]:
        case "WordPiece":
            numbers, prefix = model["vocab"], model["continuing_subword_prefix"]
            kept.add(numbers[model["unk_token"]])
        case "Unigram":
            numbers, prefix = {name: i for i, (name, _) in enumerate(model["vocab"])}, "\u2581"
            worst = min(numbers.values(), key=lambda i: model["vocab"][i][1])  # It tells what an unknown letter costs.
            kept |= {model["unk_id"] or 0, worst}
        case other:
            raise ModelError(f"--vocabulary-from: the tokenizer is {other}, whose pieces are made of each other.")
    # The pieces of one character that these pieces have inside, or ASCII, with and without the prefix.
    characters = {"", *printable}.union(*(name for name, i in numbers.items() if i in ids))
    kept.update(i for name, i in numbers.items() if name.removeprefix(prefix) in characters)
    pieces = sorted(kept)
    new = {old: i for i, old in enumerate(pieces)}  # their numbers from now on
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][i] for i in pieces if i < len(model["vocab"])]
        model["unk_id"] = new.get(model["unk_id"])
    else:
        model["vocab"] = {name: new[i] for name, i in model["vocab"].items() if i in new}
    for token in document["added_tokens"]:
        token["id"] = new[token["id"]]
    document["post_processor"] = _with_ids(document["post_processor"], new)
    backend = tokenizers.Tokenizer.from_str(json.dumps(document))
    if any(tokenizer.backend.id_to_token(old) != backend.id_to_token(i) for i, old in enumerate(pieces)):
        raise ModelError("--vocabulary-from: the tokenizer has tokens among its pieces that keep their numbers.")
    return Tokenizer(
        backend, tokenizer.max_length, tokenizer.special, pieces, tokenizer.has_segments, tokenizer.keeps_end
    )


def _with_ids(part: Any, new: Mapping[int, int]) -> Any:
    """What is put around a text, with new ids: they stand in lists called ids, and behind names in pairs."""
    match part:
        case {"ids": ids}:
            return {**part, "ids": [new[i] for i in ids]}
        case dict():
            return {key: _with_ids(value, new) for key, value in part.items()}
        case [str(name), int(i)]:
            return [name, new[i]]
        case list():
            return [_with_ids(item, new) for item in part]
    return part
