"""Entities that another system gave: tags of the record's tokens, or start, end and type in its text.

Try: bertcli evaluate gold.conll --predictions tagged.conll
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from bertcli.arrays import Array
from bertcli.data.records import Record
from bertcli.errors import RecordError
from bertcli.metrics import entities
from bertcli.metrics.entities import Span
from bertcli.tasks.labels import label_config, renamed
from bertcli.tasks.options import Options
from bertcli.tasks.scored import Example
from bertcli.tasks.stated import BaseStated, from_cell, usable
from bertcli.tasks.token_classification import Task
from bertcli.tasks.token_classification import labels as entity_labels
from bertcli.tasks.token_classification.labels import Gold


class Stated(BaseStated, Task):
    """A prediction is as a label: a tag for each word, and the types of the entities that the words do not make up.

    The latter count as wrong, as gold ones of that sort count as missed.
    """

    name = Task.name
    names = ("tags", "entities")

    @classmethod
    def config_for(cls, options: Options, gold: Sequence[Record], results: Sequence[Record]) -> Mapping[str, Any]:
        """IOB2 labels of the types on both sides."""
        records = [*gold, *usable(lambda result: cls._bare(options, result), results)]
        types = chain(*usable(lambda record: entity_labels.types_of(record, options), records))
        names = sorted({renamed(name, options) for name in types} - {""})
        return label_config(["O", *(f"{prefix}-{name}" for name in names for prefix in "BI")])

    @classmethod
    def _bare(cls, options: Options, result: Record) -> Record:
        """A record with nothing but the stated entities or tags, which in a cell stand between spaces."""
        value = from_cell(cls.value(options, result))
        value = value.split() if isinstance(value, str) else value
        are_tags = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
        return replace(result, fields={"tokens": value, "tags": value} if are_tags else {"entities": value})

    def stated(self, record: Record, result: Record) -> Gold:
        """The tags of the record's words. Raises RecordError."""
        text, offsets = self.words(record)
        bare, lost = self._bare(self.options, result), list[Span]()
        if "tags" not in bare.fields:
            with suppress(RecordError):  # places count in the result's own text, where that has the same words
                text, offsets = self.words(result if self.read(result) == self.read(record) else record)
            spans, lost = entity_labels.spans_of_text(bare, len(text), offsets)
        elif len(bare.fields["tags"]) == len(offsets):
            spans = entity_labels.spans_of_tags(bare, "tags")
        else:
            raise RecordError(f"{len(bare.fields['tags'])} tags for {len(offsets)} tokens.")
        spans, lost = (
            [span._replace(type=new) for span in group if (new := renamed(span.type, self.options))]
            for group in (spans, lost)
        )
        return Gold(self.tag_set.ids(spans, len(offsets)), tuple(span.type for span in lost))

    def tag(self, prediction: Any, count: int) -> tuple[list[int], Array]:
        """The tags that are stated; how likely they are, nobody says."""
        return prediction.tags, np.ones(count)

    def metrics(self, gold: Sequence[Gold], predictions: Sequence[Any]) -> dict[str, Any]:
        """With the stated entities that no words make up, which are wrong."""
        missed, wrong = ([label for one in side for label in one.lost] for side in (gold, predictions))
        scores = entities.score(list(map(self._tags, gold)), self._predicted(gold, predictions), missed, wrong)
        return scores | ({"misplaced_entities": len(missed)} if missed else {})

    def _example(self, record: Record, gold: Gold, prediction: Any) -> Example:
        example = super()._example(record, gold, prediction)
        return replace(example, right=example.right and not prediction.lost)

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """With the stated entities that no words make up, before the first word, where no gold one is."""
        columns = super().columns(gold, predictions)
        for spans, prediction in zip(columns["entities"], predictions, strict=True):
            spans += [[-1 - i, -1 - i, label] for i, label in enumerate(prediction.lost)]
        return columns
