"""What the sets of the sentiment recipe have in common: labels, splits, and texts with several labels."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

import data

LABELS = ("negative", "neutral", "positive")
Item = tuple[str, str, str]  # split, text, label


def split_of(text: str) -> str:
    """The split of a text whose set has none: a tenth dev, a tenth test."""
    place = int(hashlib.sha256(data.key_of(text).encode()).hexdigest(), 16) % 10
    return {0: "dev", 1: "test"}.get(place, "train")


def agreed(split: str, pairs: Iterable[tuple[str, str]]) -> Iterator[Item]:
    """The texts all of whose labels are one. split: "" for a split by hash."""
    labels: dict[str, set[str]] = defaultdict(set)
    for text, label in pairs:
        labels[text].add(label)
    for text, own in labels.items():
        if len(own) == 1 and own <= set(LABELS):
            yield split or split_of(text), text, own.pop()
