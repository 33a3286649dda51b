"""Entities: tags to spans and back, and their scores.

Knows four ways to tag: IOB1 (B- only between neighbours of one type), IOB2 (B- begins every entity), BIOES (E- ends,
S- is single; with other letters BILOU, BMES and BMEWO) and IO. One reading covers all four.
Try: python -c "from bertcli.metrics.entities import spans; print(spans(['B-PER', 'I-PER', 'O', 'S-LOC']))"
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from bertcli.arrays import Array
from bertcli.errors import RecordError

if TYPE_CHECKING:
    from bertcli.metrics.bootstrap import Metrics, Weights

Scheme = Literal["iob1", "iob2", "bioes", "io"]
SCHEMES: tuple[Scheme, ...] = ("iob1", "iob2", "bioes", "io")
OUTSIDE = ("O", "_", "")
BIOES = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S", "M": "I", "W": "S"}  # BILOU, BMES, BMEWO: as what

UNNAMED = "ENTITY"  # the type of entities whose tags are B, I, E and S alone, as in BioBERT's data of diseases


class Span(NamedTuple):
    """An entity: words start to end - 1."""

    start: int
    end: int
    type: str


def split(tag: str) -> tuple[str, str]:
    """Prefix and type of a tag, ("O", "") outside; RecordError for what is none."""
    if tag in OUTSIDE:
        return "O", ""
    if wrong := fault(tag):
        raise RecordError(wrong)
    return BIOES[tag[0]], tag[2:]


def typed(tags: Iterable[str]) -> list[str]:
    """Tags with a type: B, I, E and S alone become B-ENTITY and the like; others stay as they are."""
    return [f"{tag}-{UNNAMED}" if tag in ("B", "I", "E", "S") else tag for tag in tags]


def fault(tag: str) -> str | None:
    """What is wrong with a tag, if anything is."""
    if tag in OUTSIDE or (tag[0] in BIOES and tag[1:2] == "-" and tag[2:]):
        return None
    return f"'{tag}' is no tag; tags are O, B-TYPE, I-TYPE, E-TYPE or S-TYPE"


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities of a sentence.

    One begins at B and S, and at I and E where no entity of that type is open (conlleval's reading, so that a tagger's
    I after O is not lost). Raises RecordError for a tag that is none.
    """
    entities: list[Span] = []
    start, open_type = 0, ""
    for i, tag in enumerate([*tags, "O"]):
        prefix, tag_type = split(tag)
        if open_type and (tag_type != open_type or prefix in "BS"):
            entities.append(Span(start, i, open_type))
            open_type = ""
        if tag_type and not open_type:
            start, open_type = i, tag_type
        if prefix in "ES":
            entities.append(Span(start, i + 1, open_type))
            open_type = ""
    return entities


def tags(entities: Iterable[Span], count: int, scheme: Scheme = "iob2") -> list[str]:
    """The tags of `count` words; the inverse of `spans` in every scheme but IO, which cannot part neighbours."""
    result = ["O"] * count
    for span in sorted(entities):
        has_b = scheme in ("iob2", "bioes") or (
            scheme == "iob1" and span.start > 0 and result[span.start - 1][2:] == span.type
        )
        for i in range(span.start, span.end):
            result[i] = f"I-{span.type}"
        if has_b:
            result[span.start] = f"B-{span.type}"
        if scheme == "bioes":
            result[span.end - 1] = f"{'S' if span.end - span.start == 1 else 'E'}-{span.type}"
    return result


def schemes_of(sentence: Sequence[str], schemes: Iterable[Scheme] = SCHEMES) -> list[Scheme]:
    """Those of the schemes in which these tags could be written."""
    read = ["O" if tag in OUTSIDE else "-".join(split(tag)) for tag in sentence]
    entities = spans(read)
    return [scheme for scheme in schemes if tags(entities, len(read), scheme) == read]


def recognise(sentences: Iterable[Sequence[str]]) -> Scheme:
    """The scheme that tags sentences as they are tagged, the commonest first; IOB2 where several or none do."""
    possible: list[Scheme] = ["iob2", "bioes", "iob1", "io"]
    for sentence in sentences:
        possible = schemes_of(sentence, possible)
    return possible[0] if possible else "iob2"


def score(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    missed: Sequence[str] = (),
    wrong: Sequence[str] = (),
) -> dict[str, Any]:
    """Precision, recall and F1 of entities whose span and type are both right (CoNLL-2003), and token accuracy.

    gold, predicted: the tags of each sentence. missed, wrong: types of gold and predicted entities that no tags can
    show. micro over all types, macro_f1 the mean over the types; support: gold entities. What is not defined is None.
    """
    correct, total, support = Counter[str](), Counter(wrong), Counter(missed)
    words = correct_words = 0
    for gold_tags, predicted_tags in zip(gold, predicted, strict=True):
        gold_spans, predicted_spans = set(spans(gold_tags)), set(spans(predicted_tags))
        support.update(span.type for span in gold_spans)
        total.update(span.type for span in predicted_spans)
        correct.update(span.type for span in gold_spans & predicted_spans)
        correct_words += sum(a == b for a, b in zip(gold_tags, predicted_tags, strict=True))
        words += len(gold_tags)
    types = sorted(support.keys() | total.keys())
    per_type = {name: _ratios(correct[name], total[name], support[name]) for name in types}
    f1 = [row["f1"] for row in per_type.values()]
    return {
        **_ratios(correct.total(), total.total(), support.total()),
        "macro_f1": sum(f1) / len(f1) if f1 else None,
        "token_accuracy": correct_words / words if words else None,
        "per_class": per_type,
    }


def _ratios(correct: int, predicted: int, support: int) -> dict[str, Any]:
    return {
        "precision": correct / predicted if predicted else None,
        "recall": correct / support if support else None,
        "f1": 2 * correct / (predicted + support) if predicted + support else None,
        "support": support,
    }


def counts(types: Sequence[Sequence[str]]) -> Array:
    """How many of each type, sorted, each of N lists has: (N, types) float64."""
    columns = {name: i for i, name in enumerate(sorted({name for names in types for name in names}))}
    result = np.zeros((len(types), len(columns)))
    for row, names in zip(result, types, strict=True):
        for name in names:
            row[columns[name]] += 1
    return result


def weighted(correct: Array, predicted: Array, support: Array, tokens: Array, correct_tokens: Array) -> "Metrics":
    """The metrics of `score` for many weightings of N sentences at once, as metrics/bootstrap.py takes them.

    correct, predicted, support: (N, types) counts of entities. tokens, correct_tokens: (N,) counts of words.
    """
    from bertcli.metrics.bootstrap import f1_averages, ratio

    def metrics(weights: "Weights") -> dict[str, Array]:
        correct_sums, predicted_sums, gold_sums = (
            weights @ counts for counts in (correct, predicted, support)
        )  # (B, types)
        averages = f1_averages(correct_sums, gold_sums, predicted_sums)
        return {
            "precision": ratio(correct_sums.sum(1), predicted_sums.sum(1)),
            "recall": ratio(correct_sums.sum(1), gold_sums.sum(1)),
            "f1": averages["micro_f1"],
            "macro_f1": averages["macro_f1"],
            "token_accuracy": ratio(weights @ correct_tokens, weights @ tokens),
        }

    return metrics
