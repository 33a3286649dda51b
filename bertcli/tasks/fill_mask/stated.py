"""Guesses at masks that another system made, by their text.

Try: bertcli evaluate -t mask cloze.jsonl --predictions guesses.jsonl
"""

from collections.abc import Mapping
from typing import Any

from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError
from bertcli.tasks.fill_mask import Task
from bertcli.tasks.stated import BaseStated, from_cell


class Stated(BaseStated, Task):
    """A prediction is the guesses for each mask, as a model's, but by their text, in lower case: no token has an id.

    A guess that is not listed is none, so --top-k 10 of `predict` lists as many as `evaluate` looks at.
    """

    name = Task.name
    names = ("masks",)

    def label(self, record: Record) -> list[Any]:
        """The text of the answer at each mask. Raises RecordError."""
        return list(map(_text, self.one_each(record, lookup(record.fields, self.options.label_field, "--label-field"))))

    def stated(self, record: Record, result: Record) -> list[Any]:
        """The guesses: of `masks` as `predict` writes it, or the one text for each mask. Raises RecordError."""
        masks = self.one_each(record, from_cell(self.value(self.options, result)))
        listed = [mask if isinstance(mask, list) and mask else [mask] for mask in masks]
        return [[(_text(guess), 0.0) for guess in mask] for mask in listed]

    def _token(self, token: Any) -> str:
        return str(token)


def _text(answer: Any) -> str:
    value = answer.get("token") if isinstance(answer, Mapping) else answer
    if not isinstance(value, str):
        raise RecordError(f"the answer {value!r:.60} is not text.")
    return value.strip().lower()
