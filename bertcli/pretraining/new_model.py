"""The model that pre-training trains, with the objective's head: a new one of some shape, or a checkpoint."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertcli import pretrained, tokenizer
from bertcli.errors import ModelError, UsageError
from bertcli.model import Model
from bertcli.pretraining import vectors
from bertcli.pretraining.settings import SIZE, SIZES, PretrainSettings
from bertcli.safety import require_config
from bertcli.tokenizer import Tokenizer
from bertcli.training.base_model import DROPOUTS

HEADS = {"mlm": "MaskedLM", "mlm+nsp": "PreTraining", "mlm+sop": "PreTraining", "causal": "CausalLM"}


@dataclass(frozen=True)
class Module:
    """notes: what was chosen. dropout: what its config.json is to say of it. positions: tokens it can take at once."""

    module: Any
    notes: list[str]
    dropout: dict[str, Any]
    positions: int


def open_module(settings: PretrainSettings, base: Model | None, folder: Path, device: str) -> Module:
    """Open or make the model in fp32, for a kind of device. folder: of the tokenizer.

    Raises UsageError or ModelError where it cannot be, and for blocks longer than it has positions.
    """
    pretrained.quiet()
    words = tokenizer.load(folder, {})
    config = _config(settings, base, words)
    positions = tokenizer.load(folder, config.to_dict()).max_length
    if settings.longest > positions:
        raise UsageError(f"--lengths {settings.longest}: the model has positions for {positions} tokens.")
    own = {name: getattr(config, name) for name in DROPOUTS if hasattr(config, name)}
    if settings.dropout is not None:
        config.update({name: settings.dropout for name, value in own.items() if value is not None})
    # torch's fused attention has a slow backward pass on CPUs: 7 to 24 % fewer tokens/s, at 128 to 512 tokens a block
    attention = "eager" if device == "cpu" else "sdpa"
    head = HEADS[settings.objective]
    if base:
        module, notes = _continued(head, config, base, attention)
    else:
        module, notes = pretrained.new_module(config, head, attn_implementation=attention), []
        _init_positions(module)
    _demand_relation(settings, module)
    notes = [_shape(settings, module, base), *notes]
    if settings.init_embeddings:
        notes.append(_init_embeddings(settings.init_embeddings, module, words, settings.seed))
    if settings.gradient_checkpointing:
        # the older name is deprecated, and the newer is not in all versions
        getattr(module, "activation_checkpointing_enable", module.gradient_checkpointing_enable)()
    if settings.compile:
        _compile(module)
    return Module(module, notes, own, positions)


def _config(settings: PretrainSettings, base: Model | None, words: Tokenizer) -> Any:
    import transformers

    known: dict[str, Any] = {"is_decoder": settings.objective == "causal"}  # whatever a checkpoint was until now
    if base:
        config = pretrained.open_config(base.path, **known)
    elif settings.model_config:
        config = _read_config(settings.model_config)
        config.update(known)
    else:
        layers, width = SIZES[settings.size or SIZE]
        config = transformers.BertConfig(
            hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64, intermediate_size=4 * width,
            vocab_size=words.backend.get_vocab_size(), **known,
        )  # fmt: skip
    count = words.backend.get_vocab_size()
    if config.vocab_size < count and base:
        raise ModelError(f"{base.path}: the tokenizer has {count:,} tokens, the model {config.vocab_size:,}.")
    config.vocab_size = max(config.vocab_size, count)
    config.pad_token_id = words.pad
    return config


def _read_config(path: str) -> Any:
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        require_config(Path(path).with_name("config.json") if isinstance(values, dict) else Path(path), values)
        return pretrained.make_config(**values)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"--model-config {path}: not a config.json that transformers reads ({error}).") from error


def _continued(head: str, config: Any, base: Model, attention: str) -> tuple[Any, list[str]]:
    module, info = pretrained.open_module(base.path, head, config=config, attn_implementation=attention)
    new = sorted(info["missing_keys"])
    prefix = f"{module.base_model_prefix}."
    lacking = [name for name in new if name.startswith(prefix) and ".pooler." not in name]
    if lacking:
        raise ModelError(f"{base.path}: the checkpoint lacks weights of the encoder ({', '.join(lacking[:3])}).")
    return module, [f"new weights: {', '.join(new) or 'none'}"]


def _init_positions(module: Any) -> None:
    """Begin learned position embeddings as sinusoids (Vaswani et al. 2017, section 3.5), centred and scaled as usual.

    Neighbours are alike then, as they are in BERT once it is trained (Wang and Chen 2020, arXiv 2010.04903). With word
    vectors to begin with, BERT-mini left its plateau after 4 million tokens so, and from random rows not within 10.
    """
    deviation = getattr(module.config, "initializer_range", 0.02)
    for name, table in module.named_modules():
        if name.endswith("position_embeddings") and isinstance(table, torch.nn.Embedding):
            count, width = table.weight.shape
            angles = torch.arange(count)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
            waves = torch.hstack([angles.sin(), angles.cos()])[:, :width]
            centred = waves - waves.mean(0)
            with torch.no_grad():
                table.weight.copy_(centred * (deviation / centred.std()))
                if table.padding_idx is not None:
                    table.weight[table.padding_idx] = 0


def _demand_relation(settings: PretrainSettings, module: Any) -> None:
    if "+" in settings.objective and not hasattr(getattr(module, "cls", None), "seq_relationship"):
        kind = module.config.model_type
        raise UsageError(f"--objective {settings.objective}: models of type {kind} have no head for pairs; use mlm.")


def _shape(settings: PretrainSettings, module: Any, base: Model | None) -> str:
    config = module.config
    why = base.path.name if base else settings.model_config or f"--size {settings.size or SIZE}"
    return (
        f"model: {type(module).__name__}, {config.num_hidden_layers} layers of {config.hidden_size}, "
        f"{module.num_parameters():,} weights ({why})"
    )


def _init_embeddings(path: str, module: Any, words: Tokenizer, seed: int) -> str:
    """Copy word vectors into the embeddings of the words that both know."""
    normalizer = json.loads(words.backend.to_str())["normalizer"] or {}
    known = words.backend.get_vocab()
    ids, found = vectors.read(path, known, lowercase=bool(normalizer.get("lowercase")))
    table = module.get_input_embeddings().weight
    width, deviation = table.shape[1], module.config.initializer_range
    values = vectors.fit(found, width, deviation, np.random.default_rng(seed))
    with torch.no_grad():
        table[torch.from_numpy(ids)] = torch.from_numpy(values.astype(np.float32))
    return f"embeddings: {len(ids):,} of {len(known):,} tokens start from {path} ({found.shape[1]} to {width} columns)"


def _compile(module: Any) -> None:
    """Compile each layer by itself: they are alike, so one compilation serves all, and the heads' shapes may vary."""
    for layers in module.modules():
        if isinstance(layers, torch.nn.ModuleList):
            for layer in layers:
                layer.compile()
