"""Which words made a decision, and what attention looked at.

For each record it runs what `predict` would run, and explains the decision with the same weights in torch, which has
gradients. The baseline has the mask token (or padding) in place of each piece, with the same special tokens and
positions. The task's `Explaining` says which decisions there are.
Try: bertcli explain "a gripping film"
"""

import inspect
import re
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, product
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from bertcli.arrays import Array, Arrays, Window
from bertcli.backends import pytorch
from bertcli.data.records import Record
from bertcli.device import use_threads
from bertcli.errors import ModelError, RecordError, UsageError
from bertcli.export.int8 import dequantized
from bertcli.inference.batching import collate
from bertcli.inference.session import Session
from bertcli.inference.stream import Outcome, result
from bertcli.model import ONNX, Model
from bertcli.tasks.explaining import Target
from bertcli.tokenizer import Tokenizer
from bertcli.words import IDEOGRAPHS

DIGITS = 6  # of a printed number: what fp32 carries
SHORT = 8  # tokens of a text on which it is tested whether the model gives attention as BERT does
SUM_TOLERANCE = 1e-3  # by which the sum of a token's attention may differ from 1


@dataclass(frozen=True)
class Piece:
    """A token of a window. field: the text that it belongs to, "" for special tokens. word: what tells its word.

    start, end: where it is in its text, in code points; None for special tokens.
    """

    token: str
    field: str = ""
    word: tuple[int, ...] = ()
    start: int | None = None
    end: int | None = None


Row = list[tuple[Piece, float]]  # of a window: each token with its attribution


class Explainer:
    """A session with its model in torch, opened once for many records.

    target: a label, an entity type or an answer to explain in place of the prediction. attention: whether to give it
    too; layer, head: of these alone, counted from 1. Raises UsageError for a target that no record could have and for a
    layer or head that the model does not have, ModelError for a model without weights that torch can open, or without
    attention as BERT's where attention is asked for.
    """

    def __init__(
        self,
        session: Session,
        target: str | None,
        attention: bool = False,
        layer: int | None = None,
        head: int | None = None,
    ) -> None:
        self.explaining = session.task.explaining()
        self.explaining.require(target)
        self.task, self.backend, self.target, self.attention = session.task, session.backend, target, attention
        self.task.tokenizer.traced = True
        self.device = session.device.type
        use_threads(session.device.threads)
        # Eager attention shows its weights. `origin` says which weights of the model these are.
        model = session.model
        load, self.origin = pytorch.load, "model.safetensors"
        if not model.has_weights:
            load, self.origin = dequantized, f"{ONNX['int8']}, dequantised"
        module = load(model, session.task.head, attn_implementation="eager")
        self.module = module.float().to(self.device).eval().requires_grad_(False)
        self.baseline = _baseline(self.task.tokenizer, model)
        self.matrices: list[tuple[int, int]] = []
        tensors = self._tensors(Window([self.baseline[1]] * SHORT))
        rest = {name: tensor for name, tensor in tensors.items() if name != "input_ids"}
        try:
            with torch.no_grad():
                self.module(inputs_embeds=self.module.get_input_embeddings()(tensors["input_ids"]), **rest)
        except Exception as error:
            family = type(self.module).__name__
            raise ModelError(f"{model.path}: a {family} takes ids only, no vectors whose gradients explain.") from error
        if attention:
            layers, fault = _attention_of(self.module, tensors)
            if fault:
                raise ModelError(f"{model.path}: {fault}; leave out --attention and --html.")
            numbers = []
            for name, asked, size in (("layer", layer, len(layers)), ("head", head, layers[0].shape[1])):
                if asked is not None and asked > size:
                    raise UsageError(f"the model has {size} {name}s, counted from 1; --{name} {asked} is none of them.")
                numbers.append(range(1, size + 1) if asked is None else [asked])
            self.matrices = list(product(numbers[0], numbers[1]))

    def explain(self, record: Record) -> dict[str, Any]:
        """The result of `predict`, with `explanations` and, where asked for, `attention`. Raises RecordError."""
        if record.fault:
            raise RecordError(record.fault)
        (features,) = self.task.encode([record])
        if isinstance(features, RecordError):
            raise features
        windows = features.windows
        outputs = [
            {name: array[0] for name, array in self.backend.run(collate([window])).items()} for window in windows
        ]
        targets = self.explaining.targets(record, features, outputs, self.target)
        texts = self.task.texts(record)
        pieces = [self._pieces(record, window, texts) for window in windows]
        explained: dict[str, Any] = {"baseline": self.baseline[0], "weights": self.origin}
        explained["explanations"] = self._explanations(targets, windows, outputs, pieces, texts) if targets else []
        if self.attention:
            explained["attention"] = [self._attention(*pair) for pair in zip(windows, pieces, strict=True)]
        outcome = Outcome(record, self.task.combine(features, outputs), windows=len(windows))
        outcome.truncated, outcome.unknown = features.truncated, self.task.tokenizer.unknown_share(windows)
        return result(self.task, outcome, explained)

    def _explanations(
        self,
        targets: Sequence[Target],
        windows: Sequence[Window],
        outputs: Sequence[Arrays],
        pieces: Sequence[Sequence[Piece]],
        texts: Mapping[str, str],
    ) -> list[dict[str, Any]]:
        """For each target its score, the sum of the attributions, and the attribution of each word and token."""
        used = sorted({window for target in targets for row in target.rows for window, _, _ in row.sources})
        exact, attributions = self._attribute(targets, windows, used)
        names = self.task.model_outputs
        predicted = [{name: torch.from_numpy(output[name])[None] for name in names} for output in outputs]
        layers = max((int(output["layers"]) for output in outputs if "layers" in output), default=None)
        explanations = []
        for target, attribution in zip(targets, attributions, strict=True):
            parts = zip([pieces[k] for k in used], attribution.values, strict=True)
            rows = [list(zip(part, values.tolist(), strict=True)) for part, values in parts]
            explanations.append({
                "target": target.name,
                **target.shown,
                "score": round(target.probability(exact), DIGITS),
                "predict_score": round(target.probability(predicted), DIGITS),
                **({} if layers is None else {"predict_layers": layers}),
                "unit": "value" if target.link == "identity" else "log-odds",
                "value": round(attribution.score, DIGITS),
                "baseline_value": round(attribution.baseline, DIGITS),
                "sum": round(attribution.total, DIGITS),
                "error": round(attribution.error, DIGITS),
                "complete": attribution.is_complete,
                "steps": attribution.steps,
                "words": _words(rows, texts),
                "tokens": _tokens(rows, used if len(windows) > 1 else None, len(texts) > 1),
            })  # fmt: skip
        return explanations

    def _attribute(
        self, targets: Sequence[Target], windows: Sequence[Window], used: Sequence[int]
    ) -> "tuple[list[Any], list[Attribution]]":
        """The outputs of all windows, empty for those that no target looks at, and an attribution for each target.

        used: indices of the windows that targets look at.
        """
        embed = self.module.get_input_embeddings()
        batches = [self._tensors(windows[k]) for k in used]
        inputs, baselines = [], []  # (T, C) each
        with torch.no_grad():
            for k, batch in zip(used, batches, strict=True):
                ids, trace = batch["input_ids"], windows[k].trace
                assert trace is not None  # the tokenizer is traced
                special = torch.tensor([trace.is_special], dtype=torch.bool, device=ids.device)
                inputs.append(embed(ids)[0])
                baselines.append(embed(torch.where(special, ids, self.baseline[1]))[0])

        def run(points: Sequence[torch.Tensor]) -> list[Any]:
            outputs: list[Any] = [{} for _ in windows]
            for k, batch, vectors in zip(used, batches, points, strict=True):
                rest = {name: tensor.expand(len(vectors), -1) for name, tensor in batch.items() if name != "input_ids"}
                # With several windows only one's activations are kept, and computed again for its gradients.
                call: Any = partial(checkpoint, self.module, use_reentrant=False) if len(used) > 1 else self.module
                outputs[k] = call(inputs_embeds=vectors, **rest)
            return outputs

        def score(points: Sequence[torch.Tensor]) -> torch.Tensor:
            outputs = run(points)
            return torch.stack([target.score(outputs) for target in targets], 1)

        with torch.no_grad():
            exact = run([vectors[None] for vectors in inputs])
        return exact, attribute(score, inputs, baselines)

    def _tensors(self, window: Window) -> dict[str, torch.Tensor]:
        """The inputs of the model for a window, (1, T) each."""
        batch = collate([window])
        names = pytorch.inputs_of(self.module, batch)
        return {name: torch.from_numpy(batch[name]).to(self.device) for name in names}

    def _pieces(self, record: Record, window: Window, texts: Mapping[str, str]) -> list[Piece]:
        """Each token with where it is in its text."""
        trace = window.trace
        assert trace is not None  # the tokenizer is traced
        words = self.task.word_offsets(record)  # of words that were tokenised one by one
        spaces = 0 if words is None else int(self.task.tokenizer.tells_spaces())  # that were put before each
        names = list(texts)
        ends = {name: [run.end() for run in re.finditer(IDEOGRAPHS, text)] for name, text in texts.items()}
        pieces = []
        rows = zip(trace.tokens, trace.is_special, trace.sides, trace.words, trace.offsets, strict=True)
        for token, is_special, side, word, (start, end) in rows:
            if is_special:
                pieces.append(Piece(token))
                continue
            if words is not None and word is not None:  # offsets count from the word's beginning
                start, end = (words[word][0] + max(offset - spaces, 0) for offset in (start, end))
            name = names[side or 0]  # The library forgets the side of a first text that was encoded by itself.
            # What tells the word of the piece from the text's others, in all windows the same: its number, or, where
            # nothing parts words, as in Chinese, the place of the piece, for a sentence would be one word; what stands
            # between ideographs is a word too. A space, or its mark, belongs to what follows.
            text = texts[name]
            first = len(text) - len(text[start:].lstrip())
            is_ideograph = re.match(IDEOGRAPHS, text[first : first + 1])
            unit = (first,) if word is None or is_ideograph else (word, bisect(ends[name], first))
            pieces.append(Piece(token, name, unit, start, end))
        return pieces

    def _attention(self, window: Window, pieces: Sequence[Piece]) -> dict[str, Any]:
        """The tokens of a window and, by layer and head, softmax(QK^T / sqrt(d_k)): (T, T), a row per query.

        Arrays, for they grow with the square of the text: as lists those of 512 tokens would take 600 MB in 6 layers.
        """
        layers, fault = _attention_of(self.module, self._tensors(window))
        if fault:
            raise RecordError(f"of a text of {len(window.ids):,} tokens, {fault}.")
        matrices = [
            {"layer": layer, "head": head, "weights": layers[layer - 1][0, head - 1].cpu().numpy()}
            for layer, head in self.matrices
        ]
        return {"tokens": [piece.token for piece in pieces], "matrices": matrices}


def _baseline(tokenizer: Tokenizer, model: Model) -> tuple[str, int]:
    """The token that stands for "no information", and its id: the mask, on which the encoder was trained.

    Where there is none: padding, else what stands for unknown pieces. Raises ModelError where there is none of these.
    """
    with suppress(ModelError):
        return tokenizer.mask
    for id_ in (tokenizer.padding, model.config.get("pad_token_id"), tokenizer.unknown):
        if id_ is not None and (token := tokenizer.backend.id_to_token(id_)) is not None:
            return str(token), int(id_)
    raise ModelError(f"{model.path}: its tokenizer has no token for a mask, padding or unknown pieces to start from.")


def _tokens(rows: Sequence[Row], windows: Sequence[int] | None, is_pair: bool) -> list[dict[str, Any]]:
    """The tokens as the model reads them; with window (from 1) and text, where there are several."""
    return [
        {
            "token": piece.token,
            **({"field": piece.field} if is_pair and piece.field else {}),
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
    sums: dict[tuple[str, tuple[int, ...]], tuple[int, int, float]] = {}
    for piece, value in chain.from_iterable(rows):
        if piece.start is not None and piece.end is not None:
            start, end, total = sums.get((piece.field, piece.word), (piece.start, piece.end, 0.0))
            sums[piece.field, piece.word] = min(start, piece.start), max(end, piece.end), total + value
    words = []
    for (name, _), (first, last, total) in sorted(sums.items(), key=lambda item: list(texts).index(item[0][0])):
        text = texts[name][first:last].lstrip()  # some tokenizers count the space before a word as the word's
        start = last - len(text)
        text = text.rstrip()
        field = {"field": name} if len(texts) > 1 else {}
        end = start + len(text)
        words.append({"text": text, **field, "start": start, "end": end, "attribution": round(total, DIGITS)})
    return words


def _attention_of(module: Any, tensors: Mapping[str, torch.Tensor]) -> tuple[Sequence[torch.Tensor], str | None]:
    """The attention of each layer, and a sentence on what is wrong with it; None if nothing is.

    It should be (1, heads, T, T): how much each token looks at each other token. The output tells, not the config:
    some families have none (FNet), give raw scores (SqueezeBERT), only neighbouring tokens (Longformer), or fewer heads
    than the config says (ConvBERT).
    """
    layers, length = [], tensors["input_ids"].shape[1]
    if not {"output_attentions", "kwargs"}.isdisjoint(inspect.signature(module.forward).parameters):
        with torch.no_grad():
            outputs = module(**tensors, output_attentions=True)
        layers = [layer for layer in outputs.get("attentions") or () if layer is not None]
    fault = None
    if not layers:
        fault = "this kind of model gives no attention"
    elif any(layer.ndim != 4 or layer.shape[-2:] != (length, length) for layer in layers):
        fault = "its attention is not from each token to each token"
    elif any(not torch.allclose(layer.sum(-1), torch.ones(()).to(layer), atol=SUM_TOLERANCE) for layer in layers):
        fault = "its attention comes as raw scores, not as weights that sum to 1"
    return layers, fault


# Integrated gradients: how much each input vector added to a score, on the way from a baseline to the input.
#
# Sundararajan, Taly and Yan 2017 (arXiv 1703.01365), section 3. The integral is taken by Gauss-Legendre quadrature,
# with more points until the attributions sum to the difference of the scores (their "completeness"). Captum has the
# method too. It is not used because it would bring matplotlib and five more packages, has a fixed number of points, and
# runs the model again for each score; a test compares the attributions with Captum's.

STEPS = (16, 32, 64, 128, 256, 512)  # points of the quadrature, tried until the sum is right
TOLERANCE = 0.01  # of the difference of the scores
NOISE = 1e-3  # in units of the score: a difference of less than this is fp32's rounding, and needs no 1 %
POINTS = 2048  # vectors in a batch: windows of 512 tokens then take about 1 GB in 6 layers of 12 heads
Tensors = list[torch.Tensor]
Score = Callable[[Tensors], torch.Tensor]


@dataclass(frozen=True)
class Attribution:
    """What each input vector added to one score. values: (T,) for each input; steps: points of the quadrature."""

    values: list[Array]
    score: float
    baseline: float
    steps: int

    @property
    def total(self) -> float:
        """The sum of the attributions."""
        return float(sum(value.sum(dtype=np.float64) for value in self.values))

    @property
    def error(self) -> float:
        """How far the sum is off, as a share of the scores' difference; 0 where both are mere rounding."""
        difference, off = self.score - self.baseline, abs(self.total - (self.score - self.baseline))
        return off / max(abs(difference), NOISE / 10)

    @property
    def is_complete(self) -> bool:
        """Whether the sum is right within 1 %."""
        return self.error <= TOLERANCE or abs(self.total - (self.score - self.baseline)) <= TOLERANCE * NOISE


def attribute(score: Score, inputs: Tensors, baselines: Tensors) -> list[Attribution]:
    """An attribution for each of the K numbers that `score` gives of vectors.

    inputs, baselines: (T, C) for each window. score: a list with (S, T, C) for each window -> (S, K). Where no number
    of points is enough the last attempt is returned, and `is_complete` is false.
    """
    with torch.no_grad():
        ends = score([torch.stack(pair) for pair in zip(baselines, inputs, strict=True)])  # (2, K)
    attributions: list[Attribution] = []
    for steps in STEPS:
        values = _integrate(score, inputs, baselines, steps)
        attributions = [
            Attribution([value[k].cpu().numpy() for value in values], float(ends[1, k]), float(ends[0, k]), steps)
            for k in range(ends.shape[1])
        ]
        if all(attribution.is_complete for attribution in attributions):
            break
    return attributions


def _integrate(score: Score, inputs: Tensors, baselines: Tensors, steps: int) -> Tensors:
    """(K, T) for each window: the mean gradient along the way times the way."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # between -1 and 1; their weights sum to 2
    device = inputs[0].device
    fractions, shares = (torch.from_numpy(array).float().to(device) for array in ((nodes + 1) / 2, weights / 2))
    size = max(1, POINTS // max(1, sum(len(vectors) for vectors in inputs)))
    sums: list[Any] = [0] * len(inputs)  # then (K, T, C) each
    for part, part_shares in zip(torch.split(fractions, size), torch.split(shares, size), strict=True):
        points = [
            (baseline + part[:, None, None] * (vectors - baseline)).requires_grad_()  # (S, T, C)
            for vectors, baseline in zip(inputs, baselines, strict=True)
        ]
        totals = part_shares @ score(points)  # (K,)
        rows = [
            torch.autograd.grad(total, points, retain_graph=k + 1 < len(totals), materialize_grads=True)
            for k, total in enumerate(totals)
        ]
        columns = zip(*rows, strict=True)  # of each window, K gradients (S, T, C)
        gradients = [torch.stack([gradient.sum(0) for gradient in column]) for column in columns]
        sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
    ways = (vectors - baseline for vectors, baseline in zip(inputs, baselines, strict=True))
    return [(total * way).sum(-1) for total, way in zip(sums, ways, strict=True)]
