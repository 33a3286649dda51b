"""Which tokens made a decision, and what each attention head looked at, for one record at a time.

Runs what `predict` would run, and explains its decision with the same weights in torch, where gradients are to be had.
The baseline has the mask token (or padding) in place of each piece; special tokens and positions stay.
Try: bertcli explain "a gripping film"
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from bertcli.backends import pytorch
from bertcli.data.records import Record
from bertcli.errors import ModelError, RecordError, UsageError
from bertcli.explain.gradients import Attribution, attribute
from bertcli.export.int8 import dequantized
from bertcli.inference.batching import collate
from bertcli.inference.session import Session
from bertcli.model import ONNX
from bertcli.tasks.explaining import Target
from bertcli.tokenizer import Features, Window

DIGITS = 6  # of a printed number: what fp32 carries


@dataclass(frozen=True)
class Piece:
    """A token of a window. field: the text it is of, "" for special tokens; word: its number there."""

    token: str
    field: str = ""
    word: int = -1
    start: int | None = None
    end: int | None = None


Row = list[tuple[Piece, float]]  # of a window: each token with its attribution


@dataclass(frozen=True)
class View:
    """What of the attention is given: layers and heads, counted from 1; None for all."""

    attention: bool = False
    layer: int | None = None
    head: int | None = None


class Explainer:
    """A session with its model in torch. origin: which weights these are. Raises UsageError and ModelError."""

    def __init__(self, session: Session, wanted: str | None, view: View) -> None:
        self.explaining = session.task.explaining()
        self.explaining.require(wanted)
        self.task, self.backend, self.wanted, self.view = session.task, session.backend, wanted, view
        self.task.tokenizer.traced = True
        torch.set_num_threads(session.device.threads)
        self.module, self.origin = _open(session)
        self.device = session.device.type
        self.baseline = _baseline(self.task.tokenizer)
        self.matrices = _chosen(self.module.config, view)

    def explain(self, record: Record) -> dict[str, Any]:
        """What predict gives, with `explanations` and, where asked for, `attention`. Raises RecordError."""
        if record.fault:
            raise RecordError(record.fault)
        (features,) = self.task.encode([record])
        if isinstance(features, RecordError):
            raise features
        outputs = [self._predicted(window) for window in features.windows]
        chosen = self.explaining.targets(record, features, outputs, self.wanted)
        texts = self.task.texts(record)
        pieces = [list(self._pieces(record, window, list(texts))) for window in features.windows]
        found = self.task.decode(record, self.task.combine(features, outputs))
        found |= {"windows": len(features.windows)} if len(features.windows) > 1 else {}
        found |= {"truncated": True} if features.truncated else {}
        found |= {"baseline": self.baseline[0], "weights": self.origin}
        found["explanations"] = self._explanations(chosen, features, outputs, pieces, texts) if chosen else []
        if self.view.attention:
            found["attention"] = self._attention(features, pieces)
        fields = record.fields
        return {(f"input_{name}" if name in found else name): value for name, value in fields.items()} | found

    def _predicted(self, window: Window) -> Mapping[str, Any]:
        return {name: array[0] for name, array in self.backend.run(collate([window])).items()}

    def _explanations(
        self,
        chosen: Sequence[Target],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
        pieces: Sequence[Sequence[Piece]],
        texts: Mapping[str, str],
    ) -> list[dict[str, Any]]:
        used = sorted(set().union(*(target.windows for target in chosen)))
        predicted = [{name: torch.from_numpy(array)[None] for name, array in output.items()} for output in outputs]
        exact, attributions = self._attribute(chosen, features, used)
        found = []
        for target, attribution in zip(chosen, attributions, strict=True):
            pairs = zip([pieces[k] for k in used], attribution.values, strict=True)
            rows = [list(zip(own, values.tolist(), strict=True)) for own, values in pairs]
            figures = _figures(target, attribution, target.share(exact), target.share(predicted))
            windows = used if len(pieces) > 1 else None
            tables = {"words": _words(rows, texts), "tokens": _tokens(rows, windows, len(texts) > 1)}
            found.append({"target": target.name, **target.shown, **figures, **tables})
        return found

    def _attribute(
        self, chosen: Sequence[Target], features: Features, used: Sequence[int]
    ) -> tuple[list[Any], list[Attribution]]:
        """The outputs of all windows, empty for those that no target looks at, and an attribution for each target."""
        embed = self.module.get_input_embeddings()
        batches = [self._tensors(features.windows[k]) for k in used]
        with torch.no_grad():
            inputs = [embed(batch["input_ids"])[0] for batch in batches]  # (T, C) each
            windows = [features.windows[k] for k in used]
            baselines = [
                embed(self._masked(window, batch["input_ids"]))[0]
                for window, batch in zip(windows, batches, strict=True)
            ]

        def run(points: Sequence[torch.Tensor]) -> list[Any]:
            found: list[Any] = [{} for _ in features.windows]
            for k, batch, own in zip(used, batches, points, strict=True):
                rest = {name: tensor.expand(len(own), -1) for name, tensor in batch.items() if name != "input_ids"}
                # with several windows only one's activations are kept, and computed again for its gradients
                call: Any = partial(checkpoint, self.module, use_reentrant=False) if len(used) > 1 else self.module
                found[k] = call(inputs_embeds=own, **rest)
            return found

        def score(points: Sequence[torch.Tensor]) -> torch.Tensor:
            found = run(points)
            return torch.stack([target.score(found) for target in chosen], 1)

        with torch.no_grad():
            exact = run([own[None] for own in inputs])
        return exact, attribute(score, inputs, baselines)

    def _tensors(self, window: Window) -> dict[str, torch.Tensor]:
        batch = collate([window])
        names = pytorch.inputs_of(self.module, batch)
        return {name: torch.from_numpy(batch[name]).to(self.device) for name in names}

    def _masked(self, window: Window, ids: torch.Tensor) -> torch.Tensor:
        assert window.encoding is not None  # the tokenizer is traced
        special = torch.tensor([window.encoding.special_tokens_mask], dtype=torch.bool, device=ids.device)
        return torch.where(special, ids, self.baseline[1])

    def _pieces(self, record: Record, window: Window, names: Sequence[str]) -> Iterator[Piece]:
        """Each token with where it is in its text, in code points."""
        encoding = window.encoding
        assert encoding is not None  # the tokenizer is traced
        places, shift = self._word_places(record)
        special = encoding.special_tokens_mask
        rows = zip(encoding.tokens, special, encoding.sequence_ids, encoding.word_ids, encoding.offsets, strict=True)
        for i, (token, is_special, side, word, (start, end)) in enumerate(rows):
            if is_special:
                yield Piece(token)
                continue
            if places is not None and word is not None:  # offsets count from the word's beginning
                start, end = (places[word][0] + max(place - shift, 0) for place in (start, end))
            # the library forgets the side of a first text that was encoded by itself
            yield Piece(token, names[side or 0], i if word is None else word, start, end)

    def _word_places(self, record: Record) -> tuple[Sequence[tuple[int, int]] | None, int]:
        """Where the words are that were tokenised one by one, and how many spaces were put before each."""
        words = self.task.word_offsets(record)
        return words, 0 if words is None else int(self.task.tokenizer.tells_spaces())

    def _attention(self, features: Features, pieces: Sequence[Sequence[Piece]]) -> list[dict[str, Any]]:
        """For each window its tokens and, by layer and head, softmax(QK^T / sqrt(d_k)): (T, T), a row per query.

        Arrays, for they grow with the square of the text: as lists those of 512 tokens would take 600 MB in 6 layers.
        """
        found = []
        for window, own in zip(features.windows, pieces, strict=True):
            with torch.no_grad():
                layers = self.module(**self._tensors(window), output_attentions=True).attentions
            matrices = [
                {"layer": layer, "head": head, "weights": layers[layer - 1][0, head - 1].cpu().numpy()}
                for layer, head in self.matrices
            ]
            found.append({"tokens": [piece.token for piece in own], "matrices": matrices})
        return found


def _open(session: Session) -> tuple[Any, str]:
    """The model in fp32 with eager attention, which shows its weights, and where they come from."""
    model, head = session.model, session.task.head
    if model.has_weights:
        module, origin = pytorch.load(model, head, attn_implementation="eager"), "model.safetensors"
    else:
        module, origin = dequantized(model, head, attn_implementation="eager"), f"{ONNX['int8']}, dequantised"
    return module.float().to(session.device.type).eval().requires_grad_(False), origin


def _baseline(tokenizer: Any) -> tuple[str, int]:
    """The token that stands for "no information", and its id: the mask, on which the encoder was trained."""
    try:
        token, found = tokenizer.mask
    except ModelError:
        found = tokenizer.pad
        token = tokenizer.backend.id_to_token(found)
    return str(token), int(found)


def _chosen(config: Any, view: View) -> list[tuple[int, int]]:
    """The layers and heads that are asked for, from 1. Raises UsageError for one that the model has not."""
    sizes = {"layer": config.num_hidden_layers, "head": config.num_attention_heads}
    for name, size in sizes.items():
        asked = getattr(view, name)
        if asked is not None and asked > size:
            raise UsageError(f"the model has {size} {name}s, counted from 1; --{name} {asked} is none of them.")
    layers, heads = (
        [getattr(view, name)] if getattr(view, name) is not None else range(1, size + 1) for name, size in sizes.items()
    )
    return [(layer, head) for layer in layers for head in heads]


def _figures(target: Target, attribution: Attribution, share: float, predicted: float) -> dict[str, Any]:
    """score: of this model; predict_score: what predict finds for the same; the rest is about the sum."""
    unit = "value" if target.link == "identity" else "log-odds"
    return {
        "score": round(share, DIGITS),
        "predict_score": round(predicted, DIGITS),
        "unit": unit,
        "value": round(attribution.score, DIGITS),
        "baseline_value": round(attribution.baseline, DIGITS),
        "sum": round(attribution.total, DIGITS),
        "error": round(attribution.error, DIGITS),
        "complete": attribution.is_complete,
        "steps": attribution.steps,
    }


def _tokens(rows: Sequence[Row], windows: Sequence[int] | None, is_many: bool) -> list[dict[str, Any]]:
    """As the model sees them, with their window, from 1, and the text they are of, where there are several."""
    return [
        {
            "token": piece.token,
            **({"field": piece.field} if is_many and piece.field else {}),
            **({} if windows is None else {"window": windows[k] + 1}),
            "start": piece.start,
            "end": piece.end,
            "attribution": round(value, DIGITS),
        }
        for k, row in enumerate(rows)
        for piece, value in row
    ]


def _words(rows: Sequence[Row], texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each word with the sum of its pieces in all windows, in the order of the text."""
    sums: dict[tuple[str, int], tuple[int, int, float]] = {}
    for piece, value in chain.from_iterable(rows):
        if piece.start is not None and piece.end is not None:
            start, end, total = sums.get((piece.field, piece.word), (piece.start, piece.end, 0.0))
            sums[piece.field, piece.word] = min(start, piece.start), max(end, piece.end), total + value
    return [
        {
            "text": texts[name][start:end],
            **({"field": name} if len(texts) > 1 else {}),
            "start": start,
            "end": end,
            "attribution": round(total, DIGITS),
        }
        for (name, _), (start, end, total) in sorted(sums.items(), key=lambda item: list(texts).index(item[0][0]))
    ]
