"""Labels, sets of labels or numbers that another system gave.

Try: bertcli evaluate gold.tsv --predictions labels.txt
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from bertcli.arrays import Array, Logits
from bertcli.data.records import Record, lookup
from bertcli.errors import UsageError
from bertcli.tasks.labels import label_config, number_of, renamed
from bertcli.tasks.options import Options
from bertcli.tasks.scored import Example
from bertcli.tasks.stated import BaseStated, from_cell, usable
from bertcli.tasks.text_classification import Task
from bertcli.tasks.text_classification import labels as text_labels
from bertcli.tasks.text_classification.labels import is_decimal, is_number

UNKNOWN = ("log_loss", "map", "map_labels")  # metrics that need the scores of all labels


class Stated(BaseStated, Task):
    """A prediction is a row (L,), 1 at each label that is stated and 0 elsewhere; or (1,), a number."""

    name = Task.name
    names = ("label", "labels", "score")

    @classmethod
    def config_for(cls, options: Options, gold: Sequence[Record], results: Sequence[Record]) -> Mapping[str, Any]:
        """The problem that both sides make, and the labels of both, sorted."""
        wanted = usable(lambda record: lookup(record.fields, options.label_field, "--label-field"), gold)
        are_numbers = bool(wanted) and all(map(is_number, wanted))
        is_regression = are_numbers and any(map(is_decimal, wanted))
        said = usable(lambda result: cls._read(options, result, is_regression), results)
        if is_regression or (are_numbers and all(map(is_number, said)) and any(map(is_decimal, said))):
            return label_config(["score"], "regression")
        several = any(isinstance(value, list) for value in [*wanted, *said])
        names = {
            renamed(name, options) for name in chain(*usable(lambda value: _names(options, value, several), wanted))
        }
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
        if options.prediction_field is None and is_kept and is_number(fields.get("label")):
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


def _names(options: Options, value: Any, several: bool) -> list[str]:
    """The labels in a value. Raises RecordError."""
    return text_labels.label_names(value, options.label_separator) if several else [text_labels.label_name(value)]


def _answers(options: Options, value: Any, several: bool) -> list[str]:
    """The stated labels, renamed. The only one stays where --map-labels leaves it out: it is a wrong answer then."""
    answers = [renamed(name, options) or ("" if several else name) for name in _names(options, value, several)]
    return list(filter(None, answers))
