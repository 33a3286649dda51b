"""Labels, sets of labels or numbers that another system gave.

Try: bertcli evaluate gold.tsv --predictions labels.txt
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.arrays import Array, Logits
from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError, UsageError
from bertcli.tasks.labels import label_config, number_of, renamed
from bertcli.tasks.options import Options
from bertcli.tasks.scored import Example
from bertcli.tasks.stated import BaseStated, from_cell
from bertcli.tasks.text_classification import Task
from bertcli.tasks.text_classification.labels import (
    PROBLEMS,
    is_decimal,
    is_number,
    label_name,
    label_names,
    sorted_names,
)

if TYPE_CHECKING:
    from bertcli.metrics.calibration import Scored

UNKNOWN = ("log_loss", "map", "map_labels")  # metrics that need the scores of all labels


class Stated(BaseStated, Task):
    """A prediction is a row (L,): at each label that is stated its score, 1 where none is stated, and 0 elsewhere."""

    name = Task.name
    names = ("label", "labels", "score")

    @classmethod
    def config_for(cls, options: Options, gold: Sequence[Record], results: Sequence[Record]) -> Mapping[str, Any]:
        """The problem that both sides make, and the labels of both, sorted."""
        wanted = _usable(lambda record: lookup(record.fields, options.label_field, "--label-field"), gold)
        are_numbers = bool(wanted) and all(map(is_number, wanted))
        is_regression = are_numbers and any(map(is_decimal, wanted))
        said = _usable(lambda result: cls._read(options, result, is_regression), results)
        if is_regression or (are_numbers and all(map(is_number, said)) and any(map(is_decimal, said))):
            return label_config(["score"], "regression")
        several = any(isinstance(value, list) for value in [*wanted, *said])
        names = {renamed(name, options) for value in wanted for name in _names(value, several, options)}
        for value in said:
            names |= {cls._answer(options, name, several) for name in _names(value, several, options)}
        return label_config(sorted_names(names - {""}), PROBLEMS["multi" if several else "single"])

    @classmethod
    def _read(cls, options: Options, result: Record, is_regression: bool) -> Any:
        """What a result says. A number is stated as `score`, which beside a label is how sure that is.

        Raises RecordError where it says nothing, UsageError where `label` may be the input's own, which predict keeps.
        """
        fields = result.fields
        is_kept = options.text_field in fields and "input_label" not in fields and "score" in fields
        if is_regression:
            return cls.value(options, result, ("score", "label"))
        if options.prediction_field is None and is_kept and is_number(fields.get("label")):
            raise UsageError(
                f"{result.location}: the prediction may be the number in 'label' or that in 'score'; "
                "--prediction-field says which."
            )
        return from_cell(cls.value(options, result))

    @staticmethod
    def _answer(options: Options, name: str, several: bool) -> str:
        """A stated label, renamed. The only one stays where --map-labels leaves it out: it is a wrong answer then."""
        return renamed(name, options) or ("" if several else name)

    def stated(self, record: Record, result: Record) -> Array:
        """The row of a label, of labels, or (1,) of a number. Raises RecordError."""
        value = self._read(self.options, result, self.is_regression)
        if self.is_regression:
            return np.array([number_of(value)])
        names = label_names(value, self.options.label_separator) if self.is_multi else [label_name(value)]
        answers = [self._answer(self.options, name, self.is_multi) for name in names]
        row = np.zeros(len(self.labels))
        row[[self.index[name] for name in answers if name]] = 1 if self.is_multi else _score(result)
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
        """With the score that is stated, where it is."""
        examples = super().examples(records, gold, predictions)
        if self.is_regression:
            return examples
        has_scores = self._has_scores(predictions)
        return [replace(example, score=example.score if has_scores else None, more={}) for example in examples]

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """Without losses and scores."""
        columns = super().columns(gold, predictions)
        return {name: column for name, column in columns.items() if name not in ("loss", "scores")}

    def scored(self, gold: Sequence[Any], predictions: Sequence[Any], examples: Sequence[Example]) -> "Scored | None":
        """The label of each example, where its score is stated."""
        return Task.scored(self, gold, predictions, examples) if self._has_scores(predictions) else None

    def _has_scores(self, predictions: Sequence[Any]) -> bool:
        """Whether labels come with scores, not each with 1."""
        return self.classifies == "one" and bool((np.asarray(predictions).max(1) < 1).any())


def _usable(read: Callable[[Record], Any], records: Sequence[Record]) -> list[Any]:
    """What is read of the records that have it."""
    values = []
    for record in records:
        with suppress(RecordError):
            values.append(read(record))
    return [value for value in values if value is not None and value != ""]


def _names(value: Any, several: bool, options: Options) -> list[str]:
    """The labels in a value; none of what Task.label and `stated` refuse."""
    with suppress(RecordError):
        return label_names(value, options.label_separator) if several else [label_name(value)]
    return []


def _score(result: Record) -> float:
    """A stated score that is a probability, else 1."""
    with suppress(RecordError):
        return score if 0 < (score := number_of(result.fields.get("score"))) < 1 else 1.0
    return 1.0
