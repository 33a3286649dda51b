"""The examples of a page: which are shown, by which classes they can be found, and their texts cut where marks end.

Knows no HTML: page.html asks these functions for what stands in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal

from bertcli.evaluation.results import Evaluation, Example

MOST = 1000  # what a browser searches at once
ROOM = 1_200_000  # bytes of their texts: with what stands around them a page stays under 2 MB


def chosen(examples: Sequence[Example]) -> list[Example]:
    """Those that a page shows, in input order: all, or as many as it holds: the surest mistakes, then the others."""
    order = sorted(range(len(examples)), key=lambda i: (examples[i].right is not False, -examples[i].sure))[:MOST]
    sizes = (len(f"{examples[i].text}{examples[i].pair or ''}".encode(errors="replace")) for i in order)
    return [examples[i] for i in sorted(i for i, end in zip(order, accumulate(sizes), strict=True) if end <= ROOM)]


class Classes:
    """The classes or entity types of an evaluation, by which examples are found; none for other tasks."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.names = list(map(str, evaluation.per_class))
        self.index = {name: i for i, name in enumerate(self.names)}

    def of(self, example: Example, side: Literal["gold", "predicted"]) -> list[int]:
        """Indices of those that an example has on one side."""
        value, marks = getattr(example, side), getattr(example, f"{side}_marks")
        values = value if isinstance(value, (list, tuple)) else [value]
        names = dict.fromkeys([*(mark.type for mark in marks), *(name for name in values if isinstance(name, str))])
        return [self.index[name] for name in names if name in self.index]


@dataclass(frozen=True)
class Tag:
    """The name that stands where a mark ends. verdict: right, wrong (predicted, not gold) or missed (gold only)."""

    verdict: str
    name: str


@dataclass(frozen=True)
class Piece:
    """Text under the same marks. gold: "", "found" or "missed"; predicted: "", "right" or "wrong"."""

    text: str
    gold: str
    predicted: str
    tags: tuple[Tag, ...]


def pieces(example: Example) -> list[Piece]:
    """The whole text of an example, in order. Marks may overlap in any way: a piece ends where one begins or ends."""
    gold = [(mark.start, mark.end, mark.type) for mark in example.gold_marks]
    predicted = [(mark.start, mark.end, mark.type) for mark in example.predicted_marks]
    right = [span for span in predicted if span in gold]
    wrong = [span for span in predicted if span not in gold]
    missed = [span for span in gold if span not in predicted]
    if example.right:
        # One of several gold answers is enough, and the prediction may differ in case, articles or where it stands.
        right, wrong, missed = [*right, *wrong], [], []
    edges = sorted({0, len(example.text), *(edge for start, end, _ in [*gold, *predicted] for edge in (start, end))})

    def covers(spans: Sequence[tuple[int, int, str]], position: int) -> bool:
        return any(start <= position < end for start, end, _ in spans)

    return [
        Piece(
            example.text[start:end],
            "missed" if covers(missed, start) else "found" if covers(gold, start) else "",
            "wrong" if covers(wrong, start) else "right" if covers(right, start) else "",
            tuple(
                Tag(verdict, name)
                for verdict, spans in (("right", right), ("wrong", wrong), ("missed", missed))
                for name in dict.fromkeys(type_ for _, last, type_ in spans if last == end)
            ),
        )
        for start, end in pairwise(edges)
    ]


def where(example: Example) -> str:
    """`file:line`, without the directories of the machine that made the page."""
    source = example.record.source
    return example.location.replace(source, Path(source).name) if source else example.location


def readable(value: Any) -> str:
    """A value in a cell or below a text."""
    match value:
        case None:
            return "-"
        case bool() | str():
            return str(value)
        case float():
            return f"{value:.4f}"
        case int():
            return f"{value:,}"
        case Mapping():
            return ", ".join(f"{name} {readable(entry)}" for name, entry in value.items()) or "-"
        case list() | tuple():
            return ", ".join(dict.fromkeys(map(readable, value))) or "-"
    return str(value)
