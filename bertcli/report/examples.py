"""The examples of a page: which are shown, by which classes they can be found, and what stands below each text."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from bertcli.evaluation.results import Evaluation, Example

MOST = 1000  # what a browser searches at once
ROOM = 1_200_000  # bytes of their texts: with what stands around them a page stays under 2 MB


def chosen(examples: Sequence[Example]) -> list[Example]:
    """Those that a page shows, in input order: all, or as many as it holds: the surest mistakes, then the others."""
    order = sorted(range(len(examples)), key=lambda i: (examples[i].right is not False, -examples[i].sure))[:MOST]
    ends = accumulate(_size(examples[i]) for i in order)
    return [examples[i] for i in sorted(i for i, end in zip(order, ends, strict=True) if end <= ROOM)]


def _size(example: Example) -> int:
    return len(f"{example.text}{example.pair or ''}".encode(errors="replace"))


class Classes:
    """The classes or entity types of an evaluation, by which examples are found; none for other tasks."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.names = list(map(str, evaluation.per_class))
        self.index = {name: i for i, name in enumerate(self.names)}

    def of(self, example: Example, side: str) -> list[int]:
        """Indices of those that an example has; side: gold or predicted."""
        value = getattr(example, side)
        named = [mark.type for mark in getattr(example, f"{side}_marks")]
        given = value if isinstance(value, (list, tuple)) else [value]
        names = dict.fromkeys([*named, *(own for own in given if isinstance(own, str))])
        return [self.index[name] for name in names if name in self.index]


def facts(example: Example, in_text: bool) -> Iterator[tuple[str, Any]]:
    """What stands below a text: gold, predicted, scores. in_text: gold and predicted are marked in it already."""
    for name, value in example.shown.items():
        if not (in_text and name in ("gold", "predicted")):
            yield name, value


def place(example: Example) -> str:
    """`file:line`, without the directories of the machine that made the page."""
    source = example.record.source
    return example.place.replace(source, Path(source).name) if source else example.place


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
            return ", ".join(f"{name} {readable(own)}" for name, own in value.items()) or "-"
        case list() | tuple():
            return ", ".join(dict.fromkeys(map(readable, value))) or "-"
    return str(value)
