"""The model that pre-training begins with, with the head of the objective: a new one, or a checkpoint.

A new one may start from word vectors of word2vec or GloVe. Knows no corpus and no training loop. Try:
python -c 'from bertcli.pretraining.new_model import read; print(read("glove.6B.300d.txt", {"the": 7}, lowercase=True))'
"""

import bz2
import gzip
import json
import lzma
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertcli import pretrained, tokenizer_files
from bertcli.arrays import Indices, Vectors
from bertcli.errors import ModelError, UsageError
from bertcli.model import Model
from bertcli.pretraining.settings import SIZE, SIZES, PretrainSettings
from bertcli.safety import require_config
from bertcli.tokenizer import Tokenizer
from bertcli.training.base_model import DROPOUTS

HEADS = {"mlm": "MaskedLM", "mlm+nsp": "PreTraining", "mlm+sop": "PreTraining", "causal": "CausalLM"}


@dataclass(frozen=True)
class Module:
    """notes: what was chosen. dropout: entries for config.json. positions: most tokens in a block."""

    module: Any
    notes: list[str]
    dropout: dict[str, float | None]
    positions: int


def open_module(settings: PretrainSettings, base: Model | None, folder: Path, device: str) -> Module:
    """Open or make the model in fp32, for a type of device. folder: of the tokenizer.

    Raises UsageError or ModelError if that fails, and for blocks longer than the model's positions.
    """
    pretrained.quiet()
    tokenizer = tokenizer_files.load(folder, base.config if base else {})
    config = _config(settings, base, tokenizer)
    positions = tokenizer_files.load(folder, config.to_dict()).max_length
    if settings.longest > positions:
        raise UsageError(f"--lengths {settings.longest}: the model has positions for {positions} tokens.")
    dropout = {name: getattr(config, name) for name in DROPOUTS if hasattr(config, name)}
    if settings.dropout is not None:
        config.update({name: settings.dropout for name, value in dropout.items() if value is not None})
    # torch's fused attention has a slow backward pass on CPUs: 7 to 24 % fewer tokens/s, at 128 to 512 tokens a block
    attention = "eager" if device == "cpu" else "sdpa"
    head = HEADS[settings.objective]
    if base:
        module, info = pretrained.open_module(base.path, head, config=config, attn_implementation=attention)
        new, prefix = sorted(info["missing_keys"]), f"{module.base_model_prefix}."
        lacking = [name for name in new if name.startswith(prefix) and ".pooler." not in name]
        if lacking:
            raise ModelError(f"{base.path}: the checkpoint lacks weights of the encoder ({', '.join(lacking[:3])}).")
        notes = [f"new weights: {', '.join(new) or 'none'}"]
    else:
        module, notes = pretrained.new_module(config, head, attn_implementation=attention), []
        _init_positions(module)
    if "+" in settings.objective and not hasattr(getattr(module, "cls", None), "seq_relationship"):
        family = f"models of type {config.model_type}"
        raise UsageError(f"--objective {settings.objective}: {family} lack BERT's head for pairs; use mlm.")
    why = base.name if base else settings.model_config or f"--size {settings.size or SIZE}"
    shape = f"{config.num_hidden_layers} layers of {config.hidden_size}, {module.num_parameters():,} weights"
    notes = [f"model: {type(module).__name__}, {shape} ({why})", *notes]
    if settings.init_embeddings:
        notes.append(_init_embeddings(settings.init_embeddings, module, tokenizer, settings.seed))
    if settings.gradient_checkpointing:
        # The older name is deprecated, and not all versions have the newer one.
        getattr(module, "activation_checkpointing_enable", module.gradient_checkpointing_enable)()
    if settings.compile:  # Layers are alike, so one compilation serves all, and the shapes of the heads may vary.
        for layers in module.modules():
            for layer in layers if isinstance(layers, torch.nn.ModuleList) else ():
                layer.compile()
    return Module(module, notes, dropout, positions)


def _config(settings: PretrainSettings, base: Model | None, tokenizer: Tokenizer) -> Any:
    """The configuration that transformers makes the model from."""
    import transformers

    is_decoder = settings.objective == "causal"  # whatever a checkpoint was until now
    if base:
        config = pretrained.open_config(base.path, is_decoder=is_decoder)
    elif path := settings.model_config:
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            require_config(Path(path), values, "config.json")
            config = pretrained.make_config(**values)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f"--model-config {path}: not a config.json that transformers reads ({error}).") from error
        config.is_decoder = is_decoder
    else:
        layers, width = SIZES[settings.size or SIZE]
        config = transformers.BertConfig(
            hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64, intermediate_size=4 * width,
            vocab_size=tokenizer.rows, is_decoder=is_decoder,
        )  # fmt: skip
    config.vocab_size = max(config.vocab_size, tokenizer.rows)
    config.pad_token_id = tokenizer.pad
    return config


def _init_positions(module: Any) -> None:
    """Start learned position embeddings as sinusoids (Vaswani et al. 2017, section 3.5), centred and scaled as usual.

    So neighbours are alike, as in a trained BERT (Wang and Chen 2020, arXiv 2010.04903). With word vectors, BERT-mini
    left its plateau after 4 million tokens; from random position embeddings it did not within 10 million.
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


# Word vectors as the start of word embeddings.

OPEN: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
MARKS = "#[<"  # at the start of pieces that are no words: `##s`, `[MASK]`, `<unk>`


def _init_embeddings(path: str, module: Any, tokenizer: Tokenizer, seed: int) -> str:
    """Copy word vectors into the embeddings of the words that both know."""
    normalizer = json.loads(tokenizer.backend.to_str())["normalizer"] or {}
    known = ids_of_words(tokenizer)
    ids, vectors = read(path, known, lowercase=bool(normalizer.get("lowercase")))
    table = module.get_input_embeddings().weight
    width, deviation = table.shape[1], module.config.initializer_range
    values = fit(vectors, width, deviation, np.random.default_rng(seed))
    with torch.no_grad():
        table[torch.from_numpy(ids)] = torch.from_numpy(values)
    return (
        f"embeddings: {len(ids):,} of {len(known):,} tokens start from {path} ({vectors.shape[1]} to {width} columns)"
    )


def ids_of_words(tokenizer: Tokenizer) -> dict[str, int]:
    """The token of each word that is one: of `Ġcat` and `cat`, or `▁cat` and `cat`, that with the space before it."""
    known = tokenizer.backend.get_vocab()
    spaced = [piece for piece in known if piece.startswith(("Ġ", "▁")) and len(piece) > 1]
    return known | {tokenizer.backend.decode([known[piece]]).strip(): known[piece] for piece in spaced}


def read(path: str, vocabulary: Mapping[str, int], *, lowercase: bool) -> tuple[Indices, Vectors]:
    """Ids (n,) int64 and vectors (n, D) float32 of the words that the vocabulary has, in the order of the file.

    path: text, also compressed, with lines `WORD NUMBER…`, after word2vec's first line `COUNT WIDTH` or without it. The
    first line of a word counts, and only these are checked for numbers. Raises UsageError with the line.
    """
    vectors: dict[int, Vectors] = {}
    for line, word, numbers in _rows(path):
        name = word.lower() if lowercase else word
        token = None if len(name) > 1 and name[0] in MARKS else vocabulary.get(name)
        if token is None or token in vectors:
            continue
        try:
            with np.errstate(over="ignore"):
                vectors[token] = np.array(numbers, dtype=np.float32)
        except ValueError as error:
            raise UsageError(f"{line}: not a vector ({error}).") from error
        if not np.isfinite(vectors[token]).all():
            raise UsageError(f"{line}: a number that is not finite.")
    if not vectors:
        raise UsageError(f"{path}: none of its words is in the vocabulary; are they of the same language and case?")
    return np.fromiter(vectors, np.int64), np.stack(list(vectors.values()))


def _rows(path: str) -> Iterator[tuple[str, str, list[bytes]]]:
    """`PATH:LINE`, word and numbers of each line."""

    def is_number(field: bytes) -> bool:
        try:
            float(field)
        except ValueError:
            return False
        return True

    width = 0
    try:
        with OPEN.get(Path(path).suffix.lower(), open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                # Bytes part at ASCII white space only: a word may hold any other.
                fields = line.removeprefix(BOM_UTF8).split()
                if not width and len(fields) == 2 and all(field.isdigit() for field in fields):
                    width = int(fields[1])
                elif fields:
                    width = width or len(fields) - 1
                    # Some files have words with spaces: more fields are a fault only where all of them are numbers.
                    surplus = fields[1:-width]
                    if width < 1 or len(fields) <= width or (surplus and all(map(is_number, surplus))):
                        wanted = width or "the width of a vector"
                        fault = f"{len(fields) - 1} fields after the word, not {wanted}"
                        raise UsageError(
                            f"{path}:{number}: {fault}; gensim's save_word2vec_format makes text of vectors."
                        )
                    word = b" ".join(fields[:-width]).decode("utf-8", "replace")
                    yield f"{path}:{number}", word, fields[-width:]
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UsageError(f"cannot read the vectors {path}: {getattr(error, 'strerror', None) or error}.") from error


def fit(vectors: Vectors, width: int, deviation: float, generator: np.random.Generator) -> Vectors:
    """Vectors (n, D) as float32 (n, width), centred, with the standard deviation of a new model's embeddings.

    If D > width, these are the first principal components; if D < width, the missing columns are normal noise. At the
    scale of word2vec's own vectors, LayerNorm would leave hardly anything of the position embeddings at first.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    if vectors.shape[1] > width:
        axes = np.linalg.eigh(centred.T @ centred).eigenvectors  # the largest variance last
        centred = centred @ axes[:, : -width - 1 : -1]
    scaled = centred * (deviation / (centred.std() or 1.0))  # equal vectors are 0
    noise = generator.normal(0.0, deviation, (len(vectors), max(0, width - vectors.shape[1])))
    return np.hstack([scaled, noise]).astype(np.float32)
