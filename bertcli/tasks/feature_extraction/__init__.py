"""Feature extraction: the embedding of a text, or the cosine similarity of two texts.

Pooling, normalisation and length are those of the model's sentence-transformers files; without them the mean over the
tokens (Reimers and Gurevych 2019, arXiv 1908.10084, section 3). No torch here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.arrays import Batch, Features, Vectors
from bertcli.data.records import Record, lookup
from bertcli.errors import ModelError, RecordError, UsageError
from bertcli.model import Model
from bertcli.tasks.base import BaseExternalTask, BaseTask, Encoded, Outputs
from bertcli.tasks.labels import Decision, number_of
from bertcli.tasks.options import LabelSettings, Options
from bertcli.tasks.texts import DIGITS, Example
from bertcli.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bertcli.metrics.bootstrap import Metrics


ALIASES = ("embed",)
HIDDEN = ("last_hidden_state", "token_embeddings")  # what transformers and sentence-transformers call (B, T, H)


class Task(BaseTask):
    """Embeddings from any encoder; no head."""

    head = ""
    accepts = frozenset({"normalize", "pair_field", "prompt"})
    decision = Decision("similarity", [], "the cosine of each pair, its labels' range scaled to 0 to 1", is_number=True)
    model_outputs = MappingProxyType({})  # none is required: its name is one of HIDDEN
    has_mistakes = False
    directions = MappingProxyType({"spearman": 1, "pearson": 1})

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any], options: Options) -> None:
        super().__init__(tokenizer, config, options)
        if config.get("activation"):
            raise ModelError(
                "the model is a CrossEncoder, which scores pairs and makes no vectors; bertcli predict --pair-field "
                "SECOND_TEXT without -t embed gives its scores, and finetune -t embed makes an encoder of it."
            )
        stated = config.get("sentence") or {}
        self.pooling = stated.get("pooling", "mean")
        self.normalize = stated.get("normalize", False) if options.normalize is None else options.normalize
        self.dimensions = stated.get("dimensions")
        prompts = stated.get("prompts") or {}
        chosen = stated.get("prompt") if options.prompt is None else options.prompt
        if chosen and not isinstance(prompts.get(chosen), str):
            known = ", ".join(prompts) or "none"
            raise UsageError(f"the model has no prompt '{chosen}'; it has {known}. --prompt names one, '' takes none.")
        self.prompt: str = prompts[chosen] if chosen else ""  # before each text
        self.example = {"embedding": [0.5]} if options.pair_field is None else {"similarity": 0.5}
        if stated.get("lowercase"):  # as in sentence-transformers, whatever tokenizer.json says
            from tokenizers import normalizers

            rest = tokenizer.backend.normalizer
            if rest is None or "A" in rest.normalize_str("A"):  # Only once: a training opens the task three times.
                both = [normalizers.Lowercase(), *([rest] if rest else [])]
                tokenizer.backend.normalizer = normalizers.Sequence(both)
        tokenizer.max_length = min(tokenizer.max_length, stated.get("max_length") or tokenizer.max_length)

    @classmethod
    def config_of(cls, model: Model) -> dict[str, Any]:
        """The config with what the sentence-transformers files say."""
        return {**model.config, "activation": model.activation, "sentence": model.sentence}

    @classmethod
    def decide(cls, settings: LabelSettings, base: Model, records: Sequence[Record]) -> Decision:
        """A number for each pair."""
        if settings.options.pair_field is None:
            raise UsageError("embeddings are trained on scored pairs; --pair-field names the second text.")
        return super().decide(settings, base, records)

    def tokenize(self, inputs: Sequence[Any]) -> list[Encoded]:
        """Windows of each text; for a pair those of the second text follow, and each text gets its own vector."""
        rows = [texts if isinstance(texts, tuple) else (texts,) for texts in inputs]
        texts = [[self.prompt + text for text in row] for row in rows]
        first = self.tokenizer.encode([pair[0] for pair in texts], self.options.long)
        if self.options.pair_field is None:
            return first
        second = self.tokenizer.encode([pair[1] for pair in texts], self.options.long)
        joined: list[Encoded] = []
        for one, other in zip(first, second, strict=True):
            if isinstance(one, RecordError):
                joined.append(one)
            elif isinstance(other, RecordError):
                joined.append(other)
            else:
                windows = [*one.windows, *other.windows]
                joined.append(Features(windows, one.truncated or other.truncated, len(one.windows)))
        return joined

    def reduce(self, batch: Batch, outputs: Batch) -> Batch:
        """Hidden states (B, T, H) to pooled vectors (B, H)."""
        if "pooled" in outputs:
            return {"pooled": outputs["pooled"]}
        hidden = next((outputs[name] for name in HIDDEN if name in outputs), None)
        if hidden is None:
            raise ModelError(f"the ONNX file gives {', '.join(outputs)}, not hidden states; try --backend pytorch.")
        if self.pooling == "cls":
            return {"pooled": hidden[:, 0]}
        mask = batch["attention_mask"][:, :, None]
        if self.pooling == "max":
            return {"pooled": np.where(mask, hidden, -np.inf).max(1)}
        return {"pooled": (hidden * mask.astype(hidden.dtype)).sum(1) / mask.sum(1)}

    def reduce_tensors(self, batch: Mapping[str, Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """As `reduce`. The hidden states of a text take some 30 times the memory of its vector."""
        from bertcli.tasks.feature_extraction.training import pooled

        return {"pooled": pooled(self.pooling, outputs["last_hidden_state"], batch["attention_mask"])}

    def combine(self, features: Features, outputs: Outputs) -> Vectors:
        """Vectors (1, H), or (2, H) for a pair: the mean over a text's windows, weighted by tokens, or the maximum."""
        sizes = np.array([len(window.ids) for window in features.windows], np.float32)
        pooled = np.array([output["pooled"] for output in outputs], np.float32)
        ends = [len(pooled)] if features.second is None else [features.second, len(pooled)]
        parts = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        if self.pooling == "max":
            vectors = np.array([pooled[part].max(0) for part in parts])
        else:  # One window has its own vector to the last bit.
            vectors = np.array([np.average(pooled[part], axis=0, weights=sizes[part]) if len(pooled[part]) > 1
                                else pooled[part][0] for part in parts])  # fmt: skip
        if self.normalize:
            vectors = _unit(vectors)
        if self.dimensions:  # The model's own normalisation comes before the cut, --normalize also after it.
            vectors = vectors[:, : self.dimensions]
            vectors = _unit(vectors) if self.options.normalize else vectors
        return vectors

    def decode(self, record: Record, prediction: Vectors) -> dict[str, Any]:
        """embedding, a list of H numbers; for a pair its similarity, the cosine."""
        if len(prediction) == 2:
            return {"similarity": round(self.similarity(prediction), DIGITS)}
        return {"embedding": np.round(prediction[0].astype(np.float64), DIGITS).tolist()}

    @staticmethod
    def similarity(prediction: Any) -> float:
        """The cosine similarity of the two texts of a pair, from their vectors (2, H); 0 if one is null."""
        one, other = prediction.astype(np.float64)
        length = np.linalg.norm(one) * np.linalg.norm(other)
        return float(one @ other / length) if length else 0.0

    def label(self, record: Record) -> float:
        """How similar people find the two texts of a pair, on any scale. Raises RecordError."""
        value = lookup(record.fields, self.options.label_field, "--label-field")
        if self.options.pair_field is None:
            raise RecordError("only pairs can be scored; --pair-field names the second text.")
        return number_of(value)

    def metrics(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """Correlations of the cosines with the labels."""
        from bertcli.metrics import classification

        scores = classification.regression(gold, np.array(list(map(self.similarity, predictions))))
        return {name: scores[name] for name in self.directions}

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """The label and the cosine of each pair; they have no common scale, so none is right or wrong."""
        examples = []
        for record, label, vectors in zip(records, gold, predictions, strict=True):
            text, pair = self.texts(record).values()
            examples.append(Example(record, text, label, round(self.similarity(vectors), DIGITS), pair=pair))
        return examples

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """The cosine of each pair."""
        return {"predicted": list(map(self.similarity, predictions))}

    def resampled(self, gold: Sequence[Any], columns: Mapping[str, Any]) -> "Metrics":
        """The correlations."""
        from bertcli.metrics import classification

        metrics = classification.weighted_regression(np.array(gold, np.float64), np.array(columns["predicted"]))
        return lambda weights: {name: value for name, value in metrics(weights).items() if name in self.directions}

    def model_files(self, base: Model) -> list[Path]:
        """The files from which sentence-transformers reads pooling and length."""
        folders = [folder for folder in base.sentence_folders.values() if folder != base.path]
        if not folders:
            return []
        files = [*base.path.glob("*sentence*.json"), base.path / "modules.json", *(f / "config.json" for f in folders)]
        return [file.relative_to(base.path) for file in files if file.is_file()]


def _unit(vectors: Vectors) -> Vectors:
    """Each row divided by its length."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, np.maximum(lengths, 1e-12))  # type: ignore[no-any-return]


class ExternalTask(BaseExternalTask, Task):
    """A prediction is a number."""

    names = ("similarity", "score")

    def external_prediction(self, record: Record, result: Record) -> float:
        """How similar the two texts are said to be. Raises RecordError."""
        return number_of(self.value(self.options, result))

    @staticmethod
    def similarity(prediction: float) -> float:
        """What is stated."""
        return prediction
