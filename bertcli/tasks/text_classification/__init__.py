"""Text classification: one label, several labels, or a number (regression) for a text or a pair of texts.

The model's config.json says which of the three, and the names and order of the labels. No torch here.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bertcli.arrays import Array, Features, Flags, Floats, Logits
from bertcli.data.records import Record, lookup
from bertcli.errors import ModelError, RecordError, UsageError
from bertcli.metrics import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from bertcli.model import Model
from bertcli.tasks.base import BaseExternalTask, BaseTask, Outputs, from_cell, usable
from bertcli.tasks.labels import (
    Decision,
    UnknownLabel,
    label_config,
    labels_of,
    number_of,
    renamed,
    temperature_of,
    thresholds_of,
)
from bertcli.tasks.options import LabelSettings, Options
from bertcli.tasks.texts import DIGITS, Example, excerpt
from bertcli.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bertcli.metrics.bootstrap import Metrics
    from bertcli.metrics.calibration import Scored


ALIASES = ("classify", "sentiment")
Problem = Literal["single_label_classification", "multi_label_classification", "regression"]
PROBLEMS: Mapping[str, Problem] = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}
INTEGER = re.compile(r"[+-]?\d{1,300}")  # Python reads at most 4,300 digits, and a float holds 308.
# Tables also have 3. and 1e-05. NaN and infinity are numbers too, so that they are no classes beside numbers.
DECIMAL = re.compile(r"\s*[+-]?((\d*\.\d+|\d+\.|\d+(?=e))(e[+-]?\d+)?|nan|inf(inity)?)\s*", re.IGNORECASE)
NUMBERS = {"decimal number", "integer"}  # types of labels; the others are list and name
# {a,b} and [a, b], as PostgreSQL and DuckDB print lists; JSON is no text here any more.
PRINTED = re.compile(r"\{[^{},]*,[^{}]*\}|\[[^][,]*,[^][]*\]")
FAR = 100.0  # A step of AdamW moves an output by at most its rate times its inputs: 0.08 at 1e-4 and 768 inputs.
NEED_SCORES = ("log_loss", "map", "map_labels")  # metrics that need the scores of all labels
NEARLY_ALL = 0.9  # share of labels of one type above which the others look like mistakes


class Task(BaseTask):
    """Sequence classification with any encoder that has a `…ForSequenceClassification` head."""

    head = "SequenceClassification"
    accepts = frozenset({"all_scores", "pair_field", "threshold", "top_k"})
    inputs = ("pair",)
    has_named_labels = True
    unscored: tuple[str, ...] = ()  # metrics that are not computed, for lack of scores

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any], options: Options) -> None:
        super().__init__(tokenizer, config, options)
        self.labels = labels_of(config)
        self.index = ids_by_name(self.labels)
        self.problem = problem_of(config)
        self.is_regression = self.problem == "regression"
        self.is_multi = self.problem == "multi_label_classification"
        # With a problem_type, as transformers and bertcli write it, the number is the output itself.
        activation = "" if config.get("problem_type") else str(config.get("activation") or "").rpartition(".")[2]
        self.has_sigmoid = self.is_regression and activation == "Sigmoid"
        family = REGRESSION if self.is_regression else MULTI_LABEL if self.is_multi else SINGLE_LABEL
        self.directions = {name: direction for name, direction in family.items() if name not in self.unscored}
        self.temperature = temperature_of(config)
        self.thresholds = thresholds_of(config, self.labels)
        if self.is_regression and len(self.labels) > 1:
            raise ModelError(f"config.json: a regression of {len(self.labels)} numbers; bertcli gives one for a text.")
        if self.is_regression and activation not in ("", "Identity", "Sigmoid"):
            raise ModelError(f"config.json: the score passes through {activation}; bertcli has Sigmoid and Identity.")
        if self.is_regression:
            options.require_accepted({"pair_field"}, "a model that predicts a number")
            self.subject = "this model predicts a number, which"
            self.example = {"score": 0.5}
        else:
            self.classifies = "several" if self.is_multi else "one"
            self.example = {"labels": [""], "label_scores": [0.5]} if self.is_multi else {"label": "", "score": 0.5}
            self.example |= {"top": [{"label": "", "score": 0.5}]} if options.top_k else {}
            self.example |= {"scores": dict.fromkeys(self.labels, 0.5)} if options.all_scores else {}

    @classmethod
    def config_of(cls, model: Model) -> dict[str, Any]:
        """The config with the activation of a sentence-transformers CrossEncoder."""
        return {**model.config, "activation": model.activation}

    @classmethod
    def decide(cls, settings: LabelSettings, base: Model, records: Sequence[Record]) -> Decision:
        """The problem by what the labels look like; the labels given, else the base model's, else sorted."""
        values = [label_of(record, settings.options) for record in records]
        stated = usable(lambda value: value, values)  # A missing label is a fault of its record, and decides nothing.
        counts = Counter(map(label_type, stated))
        types, numbers = set(counts), sum(counts[type_] for type_ in NUMBERS)
        problem: Problem = "single_label_classification"
        if settings.problem != "auto":
            problem, reason = PROBLEMS[settings.problem], "asked for"
        elif types == {"list"} and all(len(value) == 1 for value in stated):
            reason = "every label is a list of one; --problem multi learns each by itself"
        elif types == {"list"}:
            problem, reason = "multi_label_classification", "every label is a list"
        elif types == {"decimal number"}:
            problem, reason = "regression", "every label is a number with a decimal point"
            if all(float(value).is_integer() for value in stated):  # as pandas writes classes beside nulls
                reason += "; --problem single makes classes of them"
        elif types == NUMBERS:
            problem, reason = "regression", "every label is a number, and some have a decimal point"
        elif counts["decimal number"] and numbers >= NEARLY_ALL * len(stated):  # The others are faults.
            problem, reason = "regression", "nearly every label is a number; --problem single makes classes of all"
        elif types == {"integer"}:
            reason = "whole numbers are classes; --problem regression takes them as numbers"
        else:
            reason = "the labels are neither lists nor all decimal numbers"
        if settings.problem == "auto" and "name" in types:
            parts = {str(value): str(value).split(settings.options.label_separator) for value in stated}
            if all(label_type(part) in NUMBERS for listed in parts.values() for part in listed):
                shown = next(name for name, listed in parts.items() if len(listed) > 1)
                raise UsageError(
                    f"labels such as '{shown}' may be several or one decimal number: --problem multi takes them for "
                    "several, a point in place of the comma for numbers, --problem single for names."
                )
        # A model of pairs would also answer single texts, wrongly: so its config says where the second text was.
        second = settings.options.pair_field
        pairs = {"pair_field": second} if second else {}
        if problem == "regression":
            config = label_config(["score"], problem) | pairs
            return Decision(problem, ["score"], reason, is_number=True, config=config)
        names = names_in(records, problem, settings)
        if not names:
            shown = f"no training record has a label that can be a class, the first has {excerpt(repr(values[0]), 60)}"
            raise UsageError(f"{shown}; --label-field and --label-separator say where they are.")
        if len(names) < 2 and problem == "single_label_classification":
            raise UsageError(f"the training data has no label but '{names[0]}'; two classes are needed.")
        if names == ["0", "1"] and all(isinstance(value, list) and len(value) == 2 for value in stated):
            raise UsageError("the labels are 0 and 1 for each of two classes; write the names of those that apply.")
        is_same_problem = base.head == cls.head and problem_of(base.config) == problem
        labels, why = names, "sorted, from the training data"
        if settings.labels:
            labels, why = list(settings.labels), "as given by --labels"
        elif is_same_problem and set(names) <= set(base.labels):
            labels, why = base.labels, f"those of the model {base.name}"
        return Decision(problem, labels, reason, why, config=label_config(labels, problem) | pairs)

    @classmethod
    def relabelled(cls, record: Record, options: Options, several: bool) -> Record | None:
        """The record with its label, or each of several, renamed."""
        value = label_of(record, options)
        if isinstance(value, float):  # pandas writes integer classes so beside nulls; a renamed one is a class.
            value = next((name for name in (str(value), f"{value:g}") if renamed(name, options) != name), value)
        several = several or isinstance(value, list)
        names = [name for label in names_in_label(value, options, several) if (name := renamed(label, options))]
        if not names and not several:
            return None
        return replace(record, fields={**record.fields, options.label_field: names if several else names[0]})

    @classmethod
    def unknown_labels(cls, settings: LabelSettings, decision: Decision, records: Sequence[Record]) -> list[str]:
        """The labels that the decision has neither by name nor by id; a number is never unknown."""
        if not decision.has_classes:
            return []
        known = ids_by_name(decision.labels)
        return [name for name in names_in(records, decision.problem, settings) if name not in known]

    @classmethod
    def split_doubts(
        cls, settings: LabelSettings, records: Sequence[Record], is_train: bool
    ) -> Iterator[tuple[Record, str, RecordError]]:
        """Integers, which may be meant as numbers; and labels of another type than most, which would make all classes.

        Only if the type of the labels decides the problem.
        """
        if not is_train or settings.problem != "auto":
            return
        labelled = [(record, label_of(record, settings.options)) for record in records]
        types = [label_type(label) for _, label in labelled]
        counts = Counter(types)
        numbers = {int(label) for (_, label), type_ in zip(labelled, types, strict=True) if type_ == "integer"}
        if len(numbers) > 2 and counts["integer"] == len(types):
            shown = f"{len(numbers):,} whole numbers from {min(numbers)} to {max(numbers)}"
            yield records[0], "number-labels", RecordError(shown)
        usual = max(("list", "decimal number"), key=lambda type_: counts[type_])
        same = {usual} if usual == "list" else NUMBERS  # 4 among 3.5 and 2.25 is a number too
        alike = sum(counts[type_] for type_ in same)
        if not counts[usual] or not NEARLY_ALL * len(types) <= alike < len(types):
            return
        for (record, label), type_ in zip(labelled, types, strict=True):
            if type_ not in same:
                shown = f"{excerpt(repr(label), 60)} is {'an' if type_ == 'integer' else 'a'} {type_}"
                message = f"{shown}, {alike:,} of {len(types):,} are a {usual}"
                yield record, "mixed-labels", RecordError(message)

    def combine(self, features: Features, outputs: Outputs) -> Array:
        """Logits (L,): the mean over the windows of a long text, each weighted by its number of tokens.

        The number of a regression, (1,): that mean, or its sigmoid where the model says so.
        """
        logits = outputs[0]["logits"]
        if len(outputs) > 1:
            weights = [len(window.ids) for window in features.windows]
            logits = np.average([output["logits"] for output in outputs], axis=0, weights=weights).astype(np.float32)
        return _sigmoid(logits) if self.has_sigmoid else logits

    def decode(self, record: Record, prediction: Array) -> dict[str, Any]:
        """label and score; labels (all over the threshold) for multi-label; score alone for regression."""
        if self.is_regression:
            return {"score": round(float(prediction[0]), DIGITS)}
        scores = self.probabilities(prediction)
        order = np.argsort(-scores, kind="stable") if self.is_multi or self.options.top_k else ()
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
        if self.is_multi and self.thresholds:
            return np.array(self.thresholds)
        return 0.5 if self.is_multi else 0.0

    def probabilities(self, logits: Logits) -> Array:
        """Logits (..., L) to calibrated probabilities: softmax, or a sigmoid per label for multi-label. In float64."""
        logits = logits.astype(np.float64) / self.temperature
        if self.is_multi:
            return _sigmoid(logits)
        exponents = np.exp(logits - logits.max(-1, keepdims=True))
        return exponents / exponents.sum(-1, keepdims=True)  # type: ignore[no-any-return]

    def certainty(self, logits: Logits) -> Floats:
        """The log-odds of the best label against the second; for multi-label the least that any label has either way.

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
        value = label_of(record, self.options)
        if self.is_regression:
            return number_of(value)
        names = names_in_label(value, self.options, self.is_multi)
        if unknown := next((name for name in names if name not in self.index), None):
            message = f"unknown label '{unknown}'; the model's labels are: {', '.join(self.labels)}."
            raise UnknownLabel([unknown], [(0, message)])
        indices = [self.index[name] for name in names]
        return sorted(set(indices)) if self.is_multi else indices[0]

    def warnings(self, gold: Sequence[Any]) -> list[str]:
        """A warning of labels that are too large: a new head starts near 0, and each step moves it little (FAR)."""
        largest = max(map(abs, gold), default=0) if self.is_regression else 0
        if largest <= FAR:
            return []
        why = "a model begins at 0 and may not come so far"
        return [f"labels are numbers up to {largest:,.6g}; {why}: divide or shift them to between -10 and 10"]

    def reading(self, records: Sequence[Record]) -> str:
        """A sentence if labels are ids and some of the model's are missing: they may be the ids of another model."""
        if self.is_regression:
            return ""
        values = [label_of(record, self.options) for record in records]
        names = {name for value in values for name in names_in_label(value, self.options, self.is_multi)}
        ids = sorted_names(names - set(self.labels))
        if not ids or len(ids) == len(self.labels):
            return ""
        shown = ", ".join(f"{name} as {self.labels[self.index[name]]}" for name in ids[:10])
        return (
            f"labels are read as ids of the model's, {shown}, and {len(self.labels) - len(ids)} of its "
            f"{len(self.labels)} are in no record; where they mean others, --map-labels {ids[0]}=LABEL,… says which"
        )

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

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """With the score of the gold label; with the scores of wrong and missed labels; or with a number's error."""
        logits, threshold = np.asarray(predictions), self.threshold
        values = logits[:, 0].tolist() if self.is_regression else self.probabilities(logits)
        examples = []
        for record, target, scores in zip(records, gold, values, strict=True):
            text, pair = (*self.texts(record).values(), None)[:2]
            example = partial(Example, record, str(text), pair=pair)
            if self.is_regression:  # The one score is the number.
                error = abs(scores - target)
                examples.append(example(target, _score(scores), sure=error, more={"error": _score(error)}))
            elif self.is_multi:
                above = [int(i) for i in np.flatnonzero(scores >= threshold)]
                margins = np.abs(scores - threshold)
                wrong = sorted(set(target) ^ set(above), key=margins.__getitem__, reverse=True)
                sure = float(margins[wrong[0]] if wrong else margins.min())
                names, predicted = sorted(self.labels[i] for i in target), [self.labels[i] for i in above]
                missed = {"wrong": {self.labels[i]: _score(scores[i]) for i in wrong}}
                examples.append(example(names, predicted, not wrong, sure=sure, more=missed))
            else:
                best = int(scores.argmax())
                sure, more = float(scores[best]), {"gold_score": _score(scores[target])}
                labels = self.labels[target], self.labels[best]
                examples.append(example(*labels, best == target, _score(sure), sure, more=more))
        return examples

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """The predicted label and the loss; the labels and, in memory, all scores; or the number."""
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
        """The weighted metrics of the problem's family."""
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
        """The predicted label of each example; for multi-label every label of every example."""
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


def _sigmoid(logits: Logits) -> Array:
    """Of each logit, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * logits))


# Labels of records: names, lists of names, or numbers.


def problem_of(config: Mapping[str, Any]) -> Problem:
    """The problem that a config describes; a single output without a problem_type is a regression."""
    stated: Problem | None = config.get("problem_type")
    if stated and stated not in PROBLEMS.values():
        raise ModelError(f"config.json: problem_type is '{stated}', which is none of {', '.join(PROBLEMS.values())}.")
    return stated or ("regression" if len(labels_of(config)) == 1 else "single_label_classification")


def label_of(record: Record, options: Options) -> Any:
    """The label or labels of a record; a cell of a table may hold a list as JSON. Raises RecordError."""
    return from_cell(lookup(record.fields, options.label_field, "--label-field"))


def label_type(value: Any) -> str:
    """What a label looks like, in JSON or as text: list, decimal number, integer, or name (also true and false)."""
    if isinstance(value, list):
        return "list"
    text = value if isinstance(value, str) else ""
    if isinstance(value, float) or DECIMAL.fullmatch(text):
        return "decimal number"
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return "integer" if is_integer or INTEGER.fullmatch(text.strip()) else "name"


def names_in_label(value: Any, options: Options, several: bool) -> list[str]:
    """The label name in a value; if several are allowed, those of a list, or of text with --label-separator.

    As config.json stores them: 1, 1.0, "1" and ["1"] are the same label, true is "true". Raises RecordError.
    """
    if isinstance(value, str) and PRINTED.fullmatch(value.strip()):
        raise RecordError(f"the label '{excerpt(value)}' is a list as databases print it; write JSON, as by to_json().")
    if several and isinstance(value, str):
        value = [part for part in value.split(options.label_separator) if part.strip()]
    if several and not isinstance(value, list):
        raise RecordError(f"the labels {value!r} are neither a list nor text.")
    names = []
    for item in value if several else [value]:
        label = item[0] if isinstance(item, list) and len(item) == 1 else item
        label = int(label) if isinstance(label, float) and label.is_integer() else label
        if not isinstance(label, str | int) or not str(label).strip():
            raise RecordError(f"the label {label!r} is neither text nor an integer.")
        names.append(str(label).lower() if isinstance(label, bool) else str(label).strip())
    if len(names) > len(set(names)) and set(names) <= {"0", "1"}:
        shown = excerpt(repr(value), 60)
        raise RecordError(f"the labels {shown} are 0 and 1 for each class; write the names of those that apply.")
    return names


def ids_by_name(labels: Sequence[str]) -> dict[str, int]:
    """The id of each label name. Ids themselves count as names too, unless a label is called by a number."""
    by_name = {label.strip(): i for i, label in enumerate(labels)}  # as `names_in_label` reads them
    if any(name.isdecimal() for name in by_name):
        return by_name
    return {str(i): i for i in range(len(labels))} | by_name


def names_in(records: Sequence[Record], problem: str, settings: LabelSettings) -> list[str]:
    """The distinct label names, sorted. Task.label refuses invalid labels, so they are ignored here."""
    names: set[str] = set()
    for record in records:
        with suppress(RecordError):
            value = label_of(record, settings.options)
            names.update(names_in_label(value, settings.options, problem == "multi_label_classification"))
    return sorted_names(names)


def sorted_names(names: set[str]) -> list[str]:
    """The names sorted, by value if all are integers."""
    return sorted(names, key=int) if all(INTEGER.fullmatch(name) for name in names) else sorted(names)


class ExternalTask(BaseExternalTask, Task):
    """A prediction is a row (L,), 1 for each stated label and 0 elsewhere; or (1,), a number."""

    names = ("label", "labels", "score")
    unscored = NEED_SCORES

    @classmethod
    def config_for(cls, options: Options, gold: Sequence[Record], results: Sequence[Record]) -> Mapping[str, Any]:
        """The problem by what the labels in both files look like, and all their labels, sorted."""
        wanted = usable(lambda record: label_of(record, options), gold)
        types = set(map(label_type, wanted))
        are_numbers = bool(types) and types <= NUMBERS
        is_regression = are_numbers and "decimal number" in types
        said = usable(lambda result: cls._read(options, result, is_regression), results)
        whole = list(map(_whole, said))
        if types == {"integer"} == set(map(label_type, whole)):
            said = whole
        types |= set(map(label_type, said))
        if is_regression or (are_numbers and types <= NUMBERS and "decimal number" in types):
            return label_config(["score"], "regression")
        several = "list" in types
        listed = usable(lambda value: names_in_label(value, options, several), wanted)
        names = {renamed(name, options) for name in chain(*listed)}
        names.update(*usable(lambda value: _stated_labels(options, value, several), said))
        return label_config(sorted_names(names - {""}), PROBLEMS["multi" if several else "single"])

    @classmethod
    def _read(cls, options: Options, result: Record, is_regression: bool) -> Any:
        """What a result predicts. A number is in `score`, which beside a label is the score of that label.

        Raises RecordError if it has none, UsageError if `label` may be a field of the input, which `predict` keeps.
        """
        fields = result.fields
        if is_regression:
            return cls.value(options, result, ("score", "label"))
        is_kept = options.text_field in fields and "input_label" not in fields and "score" in fields
        if options.prediction_field is None and is_kept and label_type(fields.get("label")) in NUMBERS:
            raise UsageError(
                f"{result.location}: the prediction may be the number in 'label' or that in 'score'; "
                "--prediction-field says which."
            )
        return from_cell(cls.value(options, result))

    def external_prediction(self, record: Record, result: Record) -> Array:
        """The row of a label, of labels, or of a number. Raises RecordError."""
        value = self._read(self.options, result, self.is_regression)
        if self.is_regression:
            return np.array([number_of(value)])
        row = np.zeros(len(self.labels))
        value = value if str(value) in self.index else _whole(value)
        row[[self.index[name] for name in _stated_labels(self.options, value, self.is_multi)]] = 1
        return row

    def probabilities(self, logits: Logits) -> Array:
        """The rows as they are: they are not logits."""
        return logits

    def metrics(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """The metrics that need no scores."""
        metrics = super().metrics(gold, predictions)
        for row in metrics.get("per_class", {}).values():
            row.pop("average_precision", None)
        return {name: value for name, value in metrics.items() if name not in NEED_SCORES}

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """The examples, without scores; a number's keeps its error."""
        examples = super().examples(records, gold, predictions)
        return examples if self.is_regression else [replace(example, more={}) for example in examples]

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """The columns without losses and scores."""
        columns = super().columns(gold, predictions)
        return {name: column for name, column in columns.items() if name not in ("loss", "scores")}


def _whole(value: Any) -> Any:
    """The digits of a class that NumPy or pandas has written as a float, 1.00e+00; any other value as it is."""
    is_whole = label_type(value) == "decimal number" and float(value).is_integer()
    return f"{float(value):.0f}" if is_whole else value


def _stated_labels(options: Options, value: Any, several: bool) -> list[str]:
    """The stated labels, renamed. An only label that --map-labels leaves out stays: it is a wrong prediction."""
    answers = [renamed(name, options) or ("" if several else name) for name in names_in_label(value, options, several)]
    return list(filter(None, answers))
