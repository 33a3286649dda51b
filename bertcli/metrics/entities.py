"""Entities: tags to spans and back, and their scores.

Knows four ways to tag: IOB1 (B- only between neighbours of one type), IOB2 (B- begins every entity), BIOES (E- ends,
S- is single) and IO. One reading covers all four.
Try: python -c "from bertcli.metrics.entities import spans; print(spans(['B-PER', 'I-PER', 'O', 'S-LOC']))"
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from bertcli.errors import RecordError

Scheme = Literal["iob1", "iob2", "bioes", "io"]
SCHEMES: tuple[Scheme, ...] = ("iob1", "iob2", "bioes", "io")
OUTSIDE = ("O", "_", "")
PREFIXES = "BIESLU"  # L and U: what BILOU writes for E and S


class Span(NamedTuple):
    """An entity: words start to end - 1."""

    start: int
    end: int
    type: str


def split(tag: str) -> tuple[str, str]:
    """Prefix and type of a tag; RecordError for what is none."""
    if tag in OUTSIDE:
        return "O", ""
    if wrong := fault(tag):
        raise RecordError(wrong)
    return {"L": "E", "U": "S"}.get(tag[0], tag[0]), tag[2:]


def fault(tag: str) -> str | None:
    """What is wrong with a tag, if anything is."""
    if tag in OUTSIDE or (tag[0] in PREFIXES and tag[1:2] == "-" and tag[2:]):
        return None
    return f"'{tag}' is no tag; tags are O, B-TYPE, I-TYPE, E-TYPE or S-TYPE"


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities of a sentence.

    One begins at B and S, and at I and E where no entity of that type is open (conlleval's reading, so that a tagger's
    I after O is not lost). Raises RecordError for a tag that is none.
    """
    found: list[Span] = []
    start, kind = 0, ""
    for i, tag in enumerate([*tags, "O"]):
        prefix, own = split(tag)
        if kind and (own != kind or prefix in "BS"):
            found.append(Span(start, i, kind))
            kind = ""
        if own and not kind:
            start, kind = i, own
        if prefix in "ES":
            found.append(Span(start, i + 1, kind))
            kind = ""
    return found


def tags(entities: Iterable[Span], count: int, scheme: Scheme = "iob2") -> list[str]:
    """The tags of `count` words; the inverse of `spans` in every scheme but IO, which cannot part neighbours."""
    result = ["O"] * count
    for span in sorted(entities):
        begins = scheme in ("iob2", "bioes") or (
            scheme == "iob1" and span.start > 0 and result[span.start - 1].endswith(f"-{span.type}")
        )
        for i in range(span.start, span.end):
            result[i] = f"I-{span.type}"
        if begins:
            result[span.start] = f"B-{span.type}"
        if scheme == "bioes":
            result[span.end - 1] = f"{'S' if span.end - span.start == 1 else 'E'}-{span.type}"
    return result


def recognise(sentences: Iterable[Sequence[str]]) -> Scheme:
    """The scheme that tags sentences as they are tagged, the commonest first; IOB2 where several or none do."""
    left = ["iob2", "bioes", "iob1", "io"]
    for given in sentences:
        own = ["O" if tag in OUTSIDE else tag.replace("L-", "E-", 1).replace("U-", "S-", 1) for tag in given]
        found = spans(own)
        left = [scheme for scheme in left if tags(found, len(own), scheme) == own]  # type: ignore[arg-type]
    return left[0] if left else "iob2"  # type: ignore[return-value]


def counts(kinds: Sequence[Sequence[str]]) -> "np.ndarray[Any, Any]":
    """How many of each type, sorted, each of N lists has: (N, types)."""
    columns = {kind: i for i, kind in enumerate(sorted({kind for own in kinds for kind in own}))}
    found = np.zeros((len(kinds), len(columns)))
    for row, own in zip(found, kinds, strict=True):
        for kind in own:
            row[columns[kind]] += 1
    return found


def score(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], missed: Sequence[str] = ()
) -> dict[str, Any]:
    """Precision, recall and F1 of entities whose span and type are both right (CoNLL-2003), and token accuracy.

    gold, predicted: the tags of each sentence. missed: types of gold entities that no tags can show. micro over all
    types, macro_f1 the mean over the types; support: gold entities. What is not defined is None.
    """
    right, given, support = Counter[str](), Counter[str](), Counter(missed)
    for own, guess in zip(gold, predicted, strict=True):
        wanted, found = set(spans(own)), set(spans(guess))
        support.update(span.type for span in wanted)
        given.update(span.type for span in found)
        right.update(span.type for span in wanted & found)
    types = sorted(support.keys() | given.keys())
    per_type = {kind: _ratios(right[kind], given[kind], support[kind]) for kind in types}
    total = _ratios(right.total(), given.total(), support.total())
    pairs = [pair for own, guess in zip(gold, predicted, strict=True) for pair in zip(own, guess, strict=True)]
    f1 = [row["f1"] for row in per_type.values()]
    return {
        **total,
        "macro_f1": sum(f1) / len(f1) if f1 else None,
        "token_accuracy": sum(a == b for a, b in pairs) / len(pairs) if pairs else None,
        "per_class": per_type,
    }


def _ratios(right: int, given: int, support: int) -> dict[str, Any]:
    return {
        "precision": right / given if given else None,
        "recall": right / support if support else None,
        "f1": 2 * right / (given + support) if given + support else None,
        "support": support,
    }
