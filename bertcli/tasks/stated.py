"""What all tasks share where another system answered: its results, as they stand in a file, become predictions.

A task's folder has a stated.py with a class `Stated`: the task itself, but for predictions that are what such a result
says and no outputs of a model. Labels are those of the data; there is neither model nor tokenizer.
Try: bertcli evaluate gold.jsonl --predictions theirs.jsonl --id-field id
"""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError
from bertcli.tasks.base import BaseTask
from bertcli.tasks.options import Options
from bertcli.tasks.scored import Example


class BaseStated(BaseTask):
    """A task whose predictions are stated. names: the fields in which `predict` states them, the first that is there.

    The class of a task extends this one and its Task.
    """

    names: ClassVar[tuple[str, ...]]

    @classmethod
    def config_for(cls, options: Options, gold: Sequence[Record], results: Sequence[Record]) -> Mapping[str, Any]:
        """What config.json would say of a model that gives such results. Raises UsageError where that is unclear."""
        return {}

    @classmethod
    def value(cls, options: Options, result: Record, names: Sequence[str] = ()) -> Any:
        """The field of a result that holds its prediction: as --prediction-field says, the only one, or of `names`.

        Raises RecordError where there is none.
        """
        fields, names = result.fields, names or cls.names
        if options.prediction_field is None and len(fields) == 1:
            return next(iter(fields.values()))
        name = options.prediction_field or next((name for name in names if name in fields), names[0])
        return lookup(fields, name, "--prediction-field")

    @abstractmethod
    def stated(self, record: Record, result: Record) -> Any:
        """The prediction that a result states of a labelled record. Raises RecordError where it states none."""

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """Without scores, which nobody states."""
        return [
            replace(
                shown, score=None, predicted_marks=tuple(replace(mark, score=None) for mark in shown.predicted_marks)
            )
            for shown in super().examples(records, gold, predictions)
        ]

    def scored(self, gold: Sequence[Any], predictions: Sequence[Any], examples: Sequence[Example]) -> None:
        """None: results state no probabilities."""


def usable(read: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """What is read of the items, of those that have it."""
    values = []
    for item in items:
        with suppress(RecordError):
            values.append(read(item))
    return [value for value in values if value not in (None, "")]


def from_cell(value: Any) -> Any:
    """A value as it was before it was written into the cell of a table, where lists and objects are JSON."""
    if isinstance(value, str) and value.startswith(("[", "{")):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value
