"""Text classification: one label, several labels, or a number (regression) for a text or a pair of texts.

The model's config.json says which of the three, and the names and order of the labels. No torch here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.arrays import Array, Flags, Floats, Logits
from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError, UsageError
from bertcli.features import Features
from bertcli.model import Model
from bertcli.tasks.base import BaseStated, BaseTask, Outputs, from_cell, usable
from bertcli.tasks.labels import (
    Decision,
    LabelSettings,
    UnknownLabel,
    label_config,
    labels_of,
    number_of,
    renamed,
    temperature_of,
)
from bertcli.tasks.options import Options
from bertcli.tasks.text_classification import labels as text_labels
from bertcli.tasks.text_classification.labels import (
    NUMBERS,
    ids_by_name,
    label_name,
    label_names,
    names_of,
    problem_of,
    sort_of,
)
from bertcli.tasks.texts import Example
from bertcli.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bertcli.metrics.bootstrap import Metrics
    from bertcli.metrics.calibration import Scored


ALIASES = ("classify", "sentiment")
DIGITS = 6  # of a printed score: what fp32 carries


class Task(BaseTask):
    """Sequence classification with any encoder that has a `…ForSequenceClassification` head."""

    head = "SequenceClassification"
    inputs = ("pair",)

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any], options: Options) -> None:
        super().__init__(tokenizer, config, options)
        self.labels = labels_of(config)
        self.index = ids_by_name(self.labels)
        self.problem = problem_of(config)
        self.is_regression = self.problem == "regression"
        self.is_multi = self.problem == "multi_label_classification"
        self.temperature = temperature_of(config)
        if self.is_regression:
            self.subject = "this model predicts a number, which"
            self.example = {"score": 0.5}
        else:
            self.classifies = "several" if self.is_multi else "one"
            self.example = {"labels": [""], "label_scores": [0.5]} if self.is_multi else {"label": "", "score": 0.5}
            self.example |= {"top": [{"label": "", "score": 0.5}]} if options.top_k else {}
            self.example |= {"scores": dict.fromkeys(self.labels, 0.5)} if options.all_scores else {}

    @classmethod
    def decide(cls, settings: LabelSettings, base: Model, records: Sequence[Record]) -> Decision:
        """One label, several, or a number, as the labels look; and the labels' order."""
        return text_labels.decide(settings, base, records)

    @classmethod
    def renaming(cls, options: Options, several: bool) -> Callable[[Record], Record | None]:
        """Of the label, or of each of several."""
        return partial(text_labels.relabelled, options=options, several=several)

    @classmethod
    def unknown_labels(cls, settings: LabelSettings, decision: Decision, records: Sequence[Record]) -> list[str]:
        """Those that the decision has neither by name nor by id; a number is never unknown."""
        if not decision.has_classes:
            return []
        known = ids_by_name(decision.labels)
        return [name for name in text_labels.names_in(records, decision.problem, settings) if name not in known]

    @classmethod
    def split_doubts(
        cls, settings: LabelSettings, records: Sequence[Record], is_train: bool
    ) -> Iterator[tuple[Record, str, RecordError]]:
        """Whole numbers, and labels of another sort than most, where the sort decides what is learnt."""
        if is_train and settings.problem == "auto":
            yield from text_labels.doubts(records, settings.options.label_field)

    def combine(self, features: Features, outputs: Outputs) -> Array:
        """Logits (L,): the mean over the windows of a long text, each weighted by its number of tokens."""
        if len(outputs) == 1:
            return outputs[0]["logits"]
        weights = [len(window.ids) for window in features.windows]
        return np.average([output["logits"] for output in outputs], axis=0, weights=weights).astype(np.float32)

    def decode(self, record: Record, prediction: Array) -> dict[str, Any]:
        """label and score; labels (all over the threshold) for multi-label; score alone for regression."""
        if self.is_regression:
            return {"score": round(float(prediction[0]), DIGITS)}
        scores = self.probabilities(prediction)
        order = np.argsort(-scores, kind="stable")
        if self.is_multi:
            enough = scores >= self.threshold
            above = [i for i in order if enough[i]]
            result: dict[str, Any] = {"labels": [self.labels[i] for i in above]}
            result["label_scores"] = [_score(scores[i]) for i in above]
        else:
            best = int(scores.argmax())
            is_sure = scores[best] >= self.threshold
            result = {"label": self.labels[best] if is_sure else None, "score": _score(scores[best])}
        if self.options.top_k:
            result["top"] = [{"label": self.labels[i], "score": _score(scores[i])} for i in order[: self.options.top_k]]
        if self.options.all_scores:
            result["scores"] = {label: _score(score) for label, score in zip(self.labels, scores, strict=True)}
        return result

    @property
    def threshold(self) -> float | Array:
        """The least score for a label to be given, unless set: 0 where one is; else 0.5, or of each label, (L,)."""
        if self.options.threshold is not None:
            return self.options.threshold
        stated = (self.config.get("calibration") or {}).get("thresholds")
        if self.is_multi and stated:
            return np.array([stated.get(label, 0.5) for label in self.labels])
        return 0.5 if self.is_multi else 0.0

    def probabilities(self, logits: Logits) -> Array:
        """Logits (..., L) to calibrated probabilities: softmax, or a sigmoid per label for multi-label. In float64."""
        logits = logits.astype(np.float64) / self.temperature
        if self.is_multi:
            return 0.5 * (1 + np.tanh(0.5 * logits))  # the sigmoid, without overflow
        exponents = np.exp(logits - logits.max(-1, keepdims=True))
        return exponents / exponents.sum(-1, keepdims=True)  # type: ignore[no-any-return]

    def certainty(self, logits: Logits) -> Floats:
        """The log-odds of the label against the next likely one; for multi-label the least that a label has either way.

        Raises UsageError for regression.
        """
        if self.is_regression:
            return super().certainty(logits)
        if self.is_multi:
            return np.abs(logits).min(-1)  # type: ignore[no-any-return]
        ordered = np.sort(logits, axis=-1)
        return ordered[:, -1] - ordered[:, -2]  # type: ignore[no-any-return]

    def label(self, record: Record) -> Any:
        """A label's index, the list of indices for multi-label, or the number for regression."""
        value = lookup(record.fields, self.options.label_field, "--label-field")
        if self.is_regression:
            return number_of(value)
        if self.is_multi:
            return sorted({self._index(name) for name in label_names(value, self.options.label_separator)})
        return self._index(label_name(value))

    def _index(self, name: str) -> int:
        if name not in self.index:
            message = f"unknown label '{name}'; the model's labels are: {', '.join(self.labels)}."
            raise UnknownLabel([name], [(0, message)])
        return self.index[name]

    def label_names(self, gold: Any) -> list[str]:
        """The label, or all of them; none of a number."""
        if self.is_regression:
            return []
        return [self.labels[i] for i in gold] if self.is_multi else [self.labels[gold]]

    def metrics(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """Metrics of the problem's family, over logits (N, L)."""
        from bertcli.metrics import classification

        logits = np.asarray(predictions)
        if self.is_regression:
            return classification.regression(gold, logits[:, 0])
        scores = self.probabilities(logits)
        if self.is_multi:
            return classification.multi_label(gold, scores, self.labels, self.threshold)
        return classification.single_label(gold, scores, self.labels)

    @property
    def directions(self) -> Mapping[str, int]:
        """The metrics of the problem's family that gates and early stopping may name."""
        from bertcli.metrics import classification

        if self.is_regression:
            return classification.REGRESSION
        return classification.MULTI_LABEL if self.is_multi else classification.SINGLE_LABEL

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """The wrong label with its score; the labels wrongly given or missed; or a number's absolute error."""
        logits = np.asarray(predictions)
        values = logits[:, 0].tolist() if self.is_regression else self.probabilities(logits)
        return list(map(self._example, records, gold, values))

    def _example(self, record: Record, gold: Any, scores: Any) -> Example:
        """scores: (L,) of the labels, or the number that was predicted."""
        text, pair = (*self.texts(record).values(), None)[:2]
        example = partial(Example, record, str(text), pair=pair)
        if self.is_regression:
            error = abs(scores - gold)
            return example(gold, _score(scores), sure=error, more={"error": _score(error)})
        if not self.is_multi:
            best = int(scores.argmax())
            sure, gold_score = float(scores[best]), {"gold_score": _score(scores[gold])}
            return example(self.labels[gold], self.labels[best], best == gold, _score(sure), sure, more=gold_score)
        above = [int(i) for i in np.flatnonzero(scores >= self.threshold)]
        margins = np.abs(scores - self.threshold)
        wrong = sorted(set(gold) ^ set(above), key=lambda i: -margins[i])
        sure = float(margins[wrong[0]] if wrong else margins.min())
        names, predicted = sorted(self.labels[i] for i in gold), [self.labels[i] for i in above]
        more = {"wrong": {self.labels[i]: _score(scores[i]) for i in wrong}}
        return example(names, predicted, not wrong, sure=sure, more=more)

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """The label and what it cost; the labels, and in memory all scores; or the number."""
        logits = np.asarray(predictions)
        if self.is_regression:
            return {"predicted": logits[:, 0].astype(np.float64).tolist()}
        scores = self.probabilities(logits)
        if self.is_multi:
            sets = [[self.labels[i] for i in np.flatnonzero(row)] for row in scores >= self.threshold]
            return {"given": sets, "scores": scores}
        losses = -np.log(np.maximum(scores[np.arange(len(gold)), list(gold)], np.finfo(np.float64).eps))
        return {"given": [self.labels[i] for i in scores.argmax(1)], "loss": losses.round(DIGITS).tolist()}

    def resampled(self, gold: Sequence[Any], columns: Mapping[str, Any]) -> "Metrics":
        """The metrics of the problem's family."""
        from bertcli.metrics import classification

        if self.is_regression:
            return classification.weighted_regression(np.array(gold, np.float64), np.array(columns["predicted"]))
        named = columns["given"]
        names = named if not self.is_multi else [label for labels in named for label in labels]
        ids = {label: i for i, label in enumerate(dict.fromkeys([*self.labels, *names]))}  # another model has others
        if self.is_multi:
            predicted = indicators([[ids[label] for label in labels] for labels in named], len(ids))
            return classification.weighted_multi_label(indicators(gold, len(ids)), predicted, columns.get("scores"))
        classes = np.array([ids[label] for label in named])
        losses = np.array(columns["loss"]) if "loss" in columns else None
        return classification.weighted_single_label(np.array(gold), classes, losses, len(ids))

    def classified(self, gold: Sequence[Any], predictions: Sequence[Any]) -> tuple[Array, Array]:
        """The logits with the class, or for multi-label the classes, of each text."""
        logits = np.asarray(predictions, np.float64)
        return logits, indicators(gold, len(self.labels)) if self.is_multi else np.array(gold)

    def scored(self, gold: Sequence[Any], predictions: Sequence[Any], examples: Sequence[Example]) -> "Scored | None":
        """The label of each example; for multi-label each label, to be given or not."""
        from bertcli.metrics.calibration import Scored

        if self.is_regression:
            return None
        scores = self.probabilities(np.asarray(predictions))
        if self.is_multi:
            truth = indicators(gold, len(self.labels))
            return Scored("labels", scores.ravel(), truth.ravel(), int(truth.sum()))
        right = np.array([bool(example.right) for example in examples])
        return Scored("texts", scores.max(1), right, len(examples))


def indicators(sets: Sequence[Sequence[int]], labels: int) -> Flags:
    """(N, L) of bool, from the label indices of each example."""
    flags = np.zeros((len(sets), labels), bool)
    for row, ids in zip(flags, sets, strict=True):
        row[list(ids)] = True
    return flags


def _score(value: float) -> float:
    return round(float(value), DIGITS)


UNKNOWN = ("log_loss", "map", "map_labels")  # metrics that need the scores of all labels


class Stated(BaseStated, Task):
    """A prediction is a row (L,), 1 at each label that is stated and 0 elsewhere; or (1,), a number."""

    names = ("label", "labels", "score")

    @classmethod
    def config_for(cls, options: Options, gold: Sequence[Record], results: Sequence[Record]) -> Mapping[str, Any]:
        """The problem that both sides make, and the labels of both, sorted."""
        wanted = usable(lambda record: lookup(record.fields, options.label_field, "--label-field"), gold)
        sorts = set(map(sort_of, wanted))
        are_numbers = bool(sorts) and sorts <= NUMBERS
        is_regression = are_numbers and "decimal number" in sorts
        said = usable(lambda result: cls._read(options, result, is_regression), results)
        sorts |= set(map(sort_of, said))
        if is_regression or (are_numbers and sorts <= NUMBERS and "decimal number" in sorts):
            return label_config(["score"], "regression")
        several = "list" in sorts
        listed = usable(lambda value: names_of(value, options, several), wanted)
        names = {renamed(name, options) for name in chain(*listed)}
        names.update(*usable(lambda value: _answers(options, value, several), said))
        problem = text_labels.PROBLEMS["multi" if several else "single"]
        return label_config(text_labels.sorted_names(names - {""}), problem)

    @classmethod
    def _read(cls, options: Options, result: Record, is_regression: bool) -> Any:
        """What a result says. A number is stated as `score`, which beside a label is how sure that is.

        Raises RecordError where it says nothing, UsageError where `label` may be the input's own, which predict keeps.
        """
        fields = result.fields
        if is_regression:
            return cls.value(options, result, ("score", "label"))
        is_kept = options.text_field in fields and "input_label" not in fields and "score" in fields
        if options.prediction_field is None and is_kept and sort_of(fields.get("label")) in NUMBERS:
            raise UsageError(
                f"{result.location}: the prediction may be the number in 'label' or that in 'score'; "
                "--prediction-field says which."
            )
        return from_cell(cls.value(options, result))

    def stated(self, record: Record, result: Record) -> Array:
        """The row of a label, of labels, or of a number. Raises RecordError."""
        value = self._read(self.options, result, self.is_regression)
        if self.is_regression:
            return np.array([number_of(value)])
        row = np.zeros(len(self.labels))
        row[[self.index[name] for name in _answers(self.options, value, self.is_multi)]] = 1
        return row

    def probabilities(self, logits: Logits) -> Array:
        """What is stated, which is no logit."""
        return logits

    def metrics(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """Those that labels alone decide."""
        metrics = super().metrics(gold, predictions)
        for row in metrics.get("per_class", {}).values():
            row.pop("average_precision", None)
        return {name: value for name, value in metrics.items() if name not in UNKNOWN}

    @property
    def directions(self) -> Mapping[str, int]:
        """Those of the problem that labels alone decide."""
        return {name: sign for name, sign in super().directions.items() if name not in UNKNOWN}

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """A number's with its error."""
        examples = super().examples(records, gold, predictions)
        return examples if self.is_regression else [replace(example, more={}) for example in examples]

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """Without losses and scores."""
        columns = super().columns(gold, predictions)
        return {name: column for name, column in columns.items() if name not in ("loss", "scores")}


def _answers(options: Options, value: Any, several: bool) -> list[str]:
    """The stated labels, renamed. The only one stays where --map-labels leaves it out: it is a wrong answer then."""
    answers = [renamed(name, options) or ("" if several else name) for name in names_of(value, options, several)]
    return list(filter(None, answers))
