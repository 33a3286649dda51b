"""Answers that another system gave, as texts: SQuAD's `{id: text}`, or the `answer` of `predict`.

Try: bertcli evaluate dev-v1.1.json --predictions predictions.json
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bertcli.data.records import Record
from bertcli.errors import RecordError
from bertcli.tasks.question_answering import Task
from bertcli.tasks.question_answering.spans import Gold, Span, position_of
from bertcli.tasks.scored import Example
from bertcli.tasks.stated import BaseStated


class Stated(BaseStated, Task):
    """A prediction is a text, "" where there is no answer. It need not be in the context."""

    name = Task.name
    names = ("answer", "prediction_text")

    def stated(self, record: Record, result: Record) -> str:
        """The text of an answer. Raises RecordError."""
        value = self.value(self.options, result)
        if not isinstance(value, str):
            raise RecordError(f"the answer {value!r:.60} is not text; '' says that there is none.")
        return value

    def metrics(self, gold: Sequence[Gold], predictions: Sequence[Any]) -> dict[str, Any]:
        """Exact match and F1, as of a model that has no threshold."""
        from bertcli.metrics import answers

        has_answer = [bool(one.answers) for one in gold]
        return answers.score([0.0] * len(gold), self._values(gold, predictions), has_answer, None)

    def _answers(self, gold: Sequence[Gold], predictions: Sequence[Any]) -> list[str]:
        return list(predictions)

    def _example(
        self, record: Record, gold: Gold, prediction: Any, predicted: str, value: tuple[float, float]
    ) -> Example:
        position = position_of(gold.context, predicted, None)
        spans = [Span(0.0, *position)] if position else []
        return replace(super()._example(record, gold, spans, predicted if spans else "", value), predicted=predicted)
