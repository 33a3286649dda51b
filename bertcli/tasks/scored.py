"""A record that was scored, as people read it: what a task makes of a label and a prediction for lists and pages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bertcli.data.records import Record


@dataclass(frozen=True, slots=True)
class Mark:
    """A part of an example's text, in code points: an entity or an answer."""

    start: int
    end: int
    type: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A record that was scored, as people read it.

    text: what was read; pair: its second text, or the question. gold, predicted: what JSON can hold. right: None where
    a task knows no right and wrong. score: of the prediction, as predict prints it, if it has one. sure: by how much
    the model preferred it, or how far a number is off; mistakes are sorted by it. more: what else shows the mistake.
    marks: of `text`.
    """

    record: Record
    text: str
    gold: Any
    predicted: Any
    right: bool | None = None
    score: float | None = None
    sure: float = 0.0
    pair: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    gold_marks: tuple[Mark, ...] = ()
    predicted_marks: tuple[Mark, ...] = ()

    @property
    def location(self) -> str:
        """`file:line`."""
        return self.record.location

    @property
    def shown(self) -> dict[str, Any]:
        """gold, predicted and what else shows how it went."""
        score = {} if self.score is None else {"score": self.score}
        return {"gold": self.gold, "predicted": self.predicted, **score, **self.more}
