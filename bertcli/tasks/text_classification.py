"""Text classification: one label, several labels, or a number (regression) for a text or a pair of texts.

The model's config.json says which of the three, and the names and order of the labels. No torch here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError
from bertcli.tasks.base import BaseTask, Encoded, Options, Outputs, labels_of
from bertcli.tokenizer import Features, Text, Tokenizer

ALIASES = ("classify", "sentiment")
Problem = Literal["single_label_classification", "multi_label_classification", "regression"]
DIGITS = 6  # of a printed score: what fp32 carries


def problem_of(config: Mapping[str, Any]) -> Problem:
    """The kind of problem a Hugging Face config describes; a single output without more is a regression."""
    stated: Problem | None = config.get("problem_type")
    if stated:
        return stated
    return "regression" if len(config.get("id2label") or "12") == 1 else "single_label_classification"


class Task(BaseTask):
    """Sequence classification with any encoder that has a `…ForSequenceClassification` head."""

    name = "text-classification"
    head = "SequenceClassification"

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any], options: Options) -> None:
        super().__init__(tokenizer, config, options)
        self.labels = labels_of(config)
        self.index = ids_by_name(self.labels)
        self.problem = problem_of(config)

    def encode(self, records: Sequence[Record]) -> list[Encoded]:
        """Each record's text (or pair) as windows of token ids."""
        texts = [self._text(record) for record in records]
        good = [text for text in texts if not isinstance(text, RecordError)]
        encoded = iter(self.tokenizer.encode(good, self.options.long))
        return [text if isinstance(text, RecordError) else next(encoded) for text in texts]

    def _text(self, record: Record) -> Text | RecordError:
        try:
            first = _string(record, self.options.text_field, "--text-field")
            if self.options.pair_field is None:
                return first
            return first, _string(record, self.options.pair_field, "--pair-field")
        except RecordError as error:
            return error

    def texts(self, record: Record) -> dict[str, str]:
        """text, and text_pair for a pair."""
        if self.options.pair_field is None:
            return super().texts(record)
        return super().texts(record) | {"text_pair": _string(record, self.options.pair_field, "--pair-field")}

    def combine(self, features: Features, outputs: Outputs) -> "np.ndarray[Any, Any]":
        """Logits (L,): the mean over the windows of a long text, each weighted by its number of tokens."""
        if len(outputs) == 1:
            return outputs[0]["logits"]
        weights = [len(window.ids) for window in features.windows]
        return np.average([output["logits"] for output in outputs], axis=0, weights=weights).astype(np.float32)

    def decode(self, record: Record, prediction: "np.ndarray[Any, Any]") -> dict[str, Any]:
        """label and score; labels (all over the threshold) for multi-label; score alone for regression."""
        if self.problem == "regression":
            return {"score": round(float(prediction[0]), DIGITS)}
        scores = self.probabilities(prediction)
        order = np.argsort(-scores, kind="stable")
        result = self._multi(scores, order) if self._is_multi else self._single(scores, order[0])
        if self.options.top_k:
            result["top"] = [{"label": self.labels[i], "score": _score(scores[i])} for i in order[: self.options.top_k]]
        if self.options.all_scores:
            result["scores"] = {label: _score(score) for label, score in zip(self.labels, scores, strict=True)}
        return result

    @property
    def _is_multi(self) -> bool:
        return self.problem == "multi_label_classification"

    @property
    def threshold(self) -> float:
        """The least score for a label to be given: 0.5 for multi-label, 0 otherwise, unless set."""
        if self.options.threshold is not None:
            return self.options.threshold
        return 0.5 if self._is_multi else 0.0

    def _single(self, scores: "np.ndarray[Any, Any]", best: int) -> dict[str, Any]:
        sure = scores[best] >= self.threshold
        return {"label": self.labels[best] if sure else None, "score": _score(scores[best])}

    def _multi(self, scores: "np.ndarray[Any, Any]", order: "np.ndarray[Any, Any]") -> dict[str, Any]:
        given = [i for i in order if scores[i] >= self.threshold]
        return {"labels": [self.labels[i] for i in given], "label_scores": [_score(scores[i]) for i in given]}

    def probabilities(self, logits: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Logits (..., L) to probabilities: softmax, or a sigmoid per label for multi-label. In float64."""
        logits = logits.astype(np.float64)
        if self._is_multi:
            return 0.5 * (1 + np.tanh(0.5 * logits))  # the sigmoid, without overflow
        exponents = np.exp(logits - logits.max(-1, keepdims=True))
        return exponents / exponents.sum(-1, keepdims=True)  # type: ignore[no-any-return]

    def label(self, record: Record) -> Any:
        """A label's index, the list of indices for multi-label, or the number for regression."""
        value = lookup(record.fields, self.options.label_field, "--label-field")
        if self.problem == "regression":
            return _number(value)
        if self._is_multi:
            return sorted({self._index(name) for name in label_names(value, self.options.label_separator)})
        return self._index(label_name(value))

    def _index(self, name: str) -> int:
        if name not in self.index:
            raise RecordError(f"unknown label '{name}'; the model's labels are: {', '.join(self.labels)}.")
        return self.index[name]

    def metrics(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """Metrics of the problem's family, over logits (N, L)."""
        from bertcli.metrics import classification

        logits = np.asarray(predictions)
        if self.problem == "regression":
            return classification.regression(gold, logits[:, 0])
        scores = self.probabilities(logits)
        if self._is_multi:
            return classification.multi_label(gold, scores, self.labels, self.threshold)
        return classification.single_label(gold, scores, self.labels)

    @property
    def directions(self) -> Mapping[str, int]:
        """The metrics of the problem's family that gates and early stopping may name."""
        from bertcli.metrics import classification

        if self.problem == "regression":
            return classification.REGRESSION
        return classification.MULTI_LABEL if self._is_multi else classification.SINGLE_LABEL

    def mistake(self, gold: Any, prediction: "np.ndarray[Any, Any]") -> tuple[float, dict[str, Any]] | None:
        """The wrong label with its score; the labels wrongly given or missed; or a number's absolute error."""
        if self.problem == "regression":
            error = abs(float(prediction[0]) - gold)
            fields = {"gold": gold, "predicted": _score(prediction[0]), "error": _score(error)}
            return (error, fields) if error else None
        scores = self.probabilities(prediction)
        if self._is_multi:
            return self._set_mistake(gold, scores)
        best = int(scores.argmax())
        fields = {"gold": self.labels[gold], "predicted": self.labels[best], "score": _score(scores[best])}
        return (float(scores[best]), fields) if best != gold else None

    def _set_mistake(self, gold: list[int], scores: "np.ndarray[Any, Any]") -> tuple[float, dict[str, Any]] | None:
        given = [int(i) for i in np.flatnonzero(scores >= self.threshold)]
        margins = np.abs(scores - self.threshold)
        wrong = sorted(set(gold) ^ set(given), key=lambda i: -margins[i])
        fields = {
            "gold": [self.labels[i] for i in gold],
            "predicted": [self.labels[i] for i in given],
            "wrong": {self.labels[i]: _score(scores[i]) for i in wrong},
        }
        return (float(margins[wrong[0]]), fields) if wrong else None


def ids_by_name(labels: Sequence[str]) -> dict[str, int]:
    """The id of each label; the ids of id2label stand for their labels too, unless a label is itself a number."""
    by_name = {label: i for i, label in enumerate(labels)}
    if any(label.isdecimal() for label in labels):
        return by_name
    return {str(i): i for i in range(len(labels))} | by_name


def label_name(value: Any) -> str:
    """A label as a string, as config.json stores it: 1 and "1" are the same label, true is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int)) and str(value).strip():
        return str(value).strip()
    raise RecordError(f"the label {value!r} is neither text nor an integer.")


def label_names(value: Any, separator: str) -> list[str]:
    """The labels of a multi-label record: a JSON list, or text with a separator; none at all is allowed."""
    if isinstance(value, str):
        value = [part for part in value.split(separator) if part.strip()]
    if not isinstance(value, list):
        raise RecordError(f"the labels {value!r} are neither a list nor text.")
    return [label_name(item) for item in value]


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise RecordError(f"the label {value!r} is not a number.") from None
    if not np.isfinite(number):
        raise RecordError(f"the label {value!r} is not a finite number.")
    return number


def _string(record: Record, name: str, option: str) -> str:
    value = lookup(record.fields, name, option)
    if isinstance(value, str):
        return value
    raise RecordError(f"field '{name}' is {type(value).__name__}, not text.")


def _score(value: float) -> float:
    return round(float(value), DIGITS)
