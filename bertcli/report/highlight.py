"""Texts with their gold and predicted marks (entities, answers), cut into pieces that a page can style.

Marks may overlap each other in any way, so a piece ends wherever a mark begins or ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bertcli.tasks.scored import Example, Mark


@dataclass(frozen=True)
class Tag:
    """The name that stands where a mark ends. kind: right, wrong (predicted, not gold) or missed (gold only)."""

    kind: str
    name: str


@dataclass(frozen=True)
class Piece:
    """Text under the same marks. gold: "", "found" or "missed"; predicted: "", "right" or "wrong"."""

    text: str
    gold: str
    predicted: str
    tags: tuple[Tag, ...]


def pieces(example: Example) -> list[Piece]:
    """The whole text of an example, in order."""
    found = {_span(mark) for mark in example.predicted_marks}
    wanted = {_span(mark) for mark in example.gold_marks}
    # One of several gold answers is enough: where the prediction is right, none of the others was missed.
    missed = [] if example.right else [mark for mark in example.gold_marks if _span(mark) not in found]
    right = [mark for mark in example.predicted_marks if _span(mark) in wanted]
    wrong = [mark for mark in example.predicted_marks if _span(mark) not in wanted]
    if example.right:
        right, wrong = [*right, *wrong], []  # equal to a gold answer but for case, articles or the place
    marks = [*example.gold_marks, *example.predicted_marks]
    edges = sorted({0, len(example.text), *(edge for mark in marks for edge in (mark.start, mark.end))})
    return [
        Piece(
            example.text[start:end],
            "missed" if _covers(missed, start) else "found" if _covers(example.gold_marks, start) else "",
            "wrong" if _covers(wrong, start) else "right" if _covers(right, start) else "",
            tuple(
                Tag(kind, name)
                for kind, own in (("right", right), ("wrong", wrong), ("missed", missed))
                for name in dict.fromkeys(mark.type for mark in own if mark.end == end)
            ),
        )
        for start, end in pairwise(edges)
    ]


def _span(mark: Mark) -> tuple[int, int, str]:
    return mark.start, mark.end, mark.type


def _covers(marks: Sequence[Mark], place: int) -> bool:
    return any(mark.start <= place < mark.end for mark in marks)
