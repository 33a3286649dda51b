"""The entities of labelled records: `tokens` with `tags` in any scheme, or a text with `entities`; and a model's tags.

Imports no torch.
Try: python -c "from bertcli.tasks.token_classification.labels import TagSet; print(TagSet(['I-PER', 'O']).scheme)"
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from bertcli.arrays import Array, Flags, Logits
from bertcli.data.records import Record, lookup, names_in
from bertcli.errors import RecordError
from bertcli.metrics import entities
from bertcli.metrics.entities import BIOES, OUTSIDE, Scheme, Span, split
from bertcli.tasks.base import from_cell
from bertcli.tasks.options import Options
from bertcli.tasks.texts import excerpt


class Entity(NamedTuple):
    """An entity as a record states it, in code points. has_gaps: it has several parts with other text between them."""

    start: int
    end: int
    type: str
    has_gaps: bool = False
    text: str | None = None


class Lost(NamedTuple):
    """An entity that words do not make up: the words that it touches, the code of checking/, and a sentence."""

    span: Span
    code: str
    shown: str


@dataclass(frozen=True)
class Gold:
    """A tag id for each word, IGNORED where no tag is right.

    lost: the types of the entities that cannot be found: words do not make them up, or they have gaps or overlap.
    """

    tags: list[int]
    lost: tuple[str, ...] = ()


def has_words(record: Record, options: Options) -> bool:
    """Whether the words of a record are its `tokens`, and not those of its text.

    Beside a text, tokens do not count if they are objects, as Prodigy writes them, or if --text-field was given, unless
    only the tokens have labels.
    """
    tokens, name = record.fields.get("tokens"), options.text_field
    if tokens is None or not isinstance(record.fields.get(name), str) or name == "tokens":
        return tokens is not None
    if isinstance(tokens, list) and any(isinstance(token, Mapping) for token in tokens):
        return False
    is_labelled = "entities" not in record.fields and ("tags" in record.fields or options.label_field in record.fields)
    return not options.text_first or is_labelled


def spans_of_tags(record: Record, field: str, scheme: str = "auto") -> list[Span]:
    """The entities of a record with tokens and tags, one tag for each token. Raises RecordError.

    scheme: any but auto refuses tags that it would not write so.
    """
    tags = tags_of(record, field)
    faults = [(i, fault) for i, tag in enumerate(tags) if (fault := entities.fault(tag))]
    spans = [] if faults else entities.spans(tags)
    if scheme != "auto" and not faults:
        expected = entities.tags(spans, len(tags), scheme)  # type: ignore[arg-type]
        faults = [
            (i, f"the tag {tag} of token {i + 1} is not {scheme}, which would have {other} there.")
            for i, (tag, other) in enumerate(zip(tags, expected, strict=True))
            if tag != other
        ]
    if faults:
        raise RecordError(faults[0][1], faults)
    return spans


def tokens_of(record: Record) -> list[str]:
    """The `tokens` of a record that has them. Raises RecordError."""
    tokens = from_cell(record.fields["tokens"])
    if not (isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)):
        raise RecordError("field 'tokens' is not a list of texts; --text-field names a text to read instead.")
    return tokens


def tags_of(record: Record, field: str) -> list[str]:
    """The tags of a record with tokens. Raises RecordError unless there is one for each token."""
    name = field if field in record.fields else "tags"
    tags = from_cell(lookup(record.fields, name, "--label-field"))
    if not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        raise RecordError(
            f"field '{name}' is not a list of tags; if they are numbers, Parquet files of `datasets` have their names."
        )
    if len(tags) != (count := len(tokens_of(record))):
        raise RecordError(f"{len(tags)} tags for {count} tokens.")
    return entities.typed(tags)


def spans_of_text(record: Record, text: str, words: Sequence[tuple[int, int]]) -> tuple[list[Span], list[Lost]]:
    """The entities of a record with text and `entities` (start, end, type): those that are whole words, and all others.

    The others begin or end inside a word, have gaps, overlap an earlier or longer one, or state another text than is at
    their offsets, as happens with bytes. Both in the order of the text. Raises RecordError for invalid entities.
    """
    whole: list[Span] = []
    lost: list[Lost] = []
    begins, ends = [start for start, _ in words], [end for _, end in words]
    listed = sorted(dict.fromkeys(entities_of(record)), key=lambda entity: (entity.start, -entity.end))
    for start, end, label, has_gaps, stated in listed:
        if not 0 <= start < end <= len(text):
            raise RecordError(f"the entity at {start} to {end} is not in the text of {len(text)} characters.")
        touched = range(bisect_right(ends, start), bisect_left(begins, end))
        span = Span(touched[0], touched[-1] + 1, label) if touched else Span(0, 0, label)
        first, last = (words[touched[0]][0], words[touched[-1]][1]) if touched else (0, 0)  # of these words
        shown = f"{label} {start}-{end} '{excerpt(text[start:end])}'"
        if has_gaps:
            lost.append(Lost(span, "discontinuous-entity", shown))
        elif stated is not None and _letters(stated) != _letters(text[start:end]):
            lost.append(Lost(span, "misplaced-entity", f"{shown}, stated to be '{excerpt(stated)}'"))
        elif (first, last) != (start, end):
            lost.append(Lost(span, "misplaced-entity", f"{shown}, in '{excerpt(text[first:last], 60)}'"))
        elif whole and span.start < whole[-1].end:
            lost.append(Lost(span, "overlapping-entity", shown))
        else:
            whole.append(span)
    return whole, lost


def entities_of(record: Record) -> list[Entity]:
    """The `entities` of a record. Raises RecordError."""
    if "entities" not in record.fields:
        is_line = list(record.fields) == ["text"]
        hint = "--input-format conll reads columns" if is_line else 'as in "entities": [[0, 8, "PER"]]'
        there = names_in(record.fields) or "nothing"
        raise RecordError(f"no 'entities', nor 'tokens' with 'tags' (the record has: {there}); {hint}.")
    items = from_cell(record.fields["entities"])
    if not isinstance(items, list):
        raise RecordError("field 'entities' is not a list.")
    listed = []
    for item in items:
        try:
            is_object = isinstance(item, Mapping)
            start, end, label = (item["start"], item["end"], item.get("type") or item["label"]) if is_object else item
            has_gaps = is_object and len(item.get("fragments") or ()) > 1
            text = item.get("text") if is_object else None
        except (KeyError, TypeError, ValueError):
            raise RecordError(f"{item!r} is no entity; write start, end and type.") from None
        if not (isinstance(start, int) and isinstance(end, int) and isinstance(label, str) and label.strip()):
            raise RecordError(f"{item!r} is no entity; start and end are integers, type is text.")
        listed.append(Entity(start, end, label.strip(), has_gaps, text if isinstance(text, str) else None))
    return listed


def _letters(text: str) -> str:
    r"""The text without case and white space, which tools change; Label Studio writes a line end as the letters \n."""
    return "".join(text.replace("\\n", " ").split()).casefold()


def types_in(records: Iterable[Record], options: Options) -> list[str]:
    """The entity types, sorted. Task.label refuses records whose tags are invalid, so they are ignored here."""
    types: set[str] = set()
    for record in records:
        with suppress(RecordError):
            are_tags = has_words(record, options)
            spans = spans_of_tags(record, options.label_field) if are_tags else entities_of(record)
            types.update(span.type for span in spans)
    return sorted(types)


# The labels of a model as tags, in whatever scheme it was trained with, and the likeliest sequence of them.

_LETTER = f"(?P<prefix>[{''.join(BIOES)}])"
WRITTEN = [re.compile(form, re.I | re.S) for form in (f"{_LETTER}[-_](?P<type>.+)", f"(?P<type>.+)[-_]{_LETTER}")]


class TagSet:
    """The labels of a model, read as tags.

    Prefix and type are written in either case, in this order or the other, with - or _ between them. scheme: iob2 where
    each type has a B- to begin with; iob1 where a type has only I-, so that B- parts neighbours and I- begins an entity
    too; bioes where there are E- or S-; io where labels are types alone, or I- alone; words where no label stands for
    "no entity", as for parts of speech: each word is an entity by itself then. In a set with prefixes, labels without
    one, such as the "X" and "[CLS]" of some models, stand outside of entities. types: what an entity may be, sorted.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        if {"B", "I"} <= set(labels) <= {*"BIES", *OUTSIDE}:
            labels = entities.typed(labels)
        named = [label for label in labels if label.upper() not in OUTSIDE]
        prefixed = next(filter(None, (_prefixed(named, pattern) for pattern in WRITTEN)), {})
        types = {letter: {name for prefix, name in prefixed.values() if prefix == letter} for letter in "BIES"}
        self.scheme: Scheme | Literal["words"]
        if types["E"] | types["S"]:
            self.scheme = "bioes"
        elif types["B"]:
            self.scheme = "iob2" if types["I"] <= types["B"] else "iob1"
        else:
            self.scheme = "io" if prefixed or len(named) < len(labels) else "words"
        self.tags: list[str] = []
        for label in labels:
            if label in prefixed:
                self.tags.append("-".join(prefixed[label]))
            elif label not in named or prefixed:
                self.tags.append("O")
            else:
                self.tags.append(f"{'B' if self.scheme == 'words' else 'I'}-{label}")
        self.index = {tag: i for i, tag in reversed(list(enumerate(self.tags)))}
        self.types = sorted({tag[2:] for tag in self.tags if tag != "O"})
        self.any_of = {tag[2:]: i for tag, i in reversed(self.index.items())}  # a label of each type

    def spans(self, ids: Sequence[int]) -> list[Span]:
        """The entities that labels spell."""
        return entities.spans([self.tags[i] for i in ids])

    def ids(self, spans: Sequence[Span], count: int) -> list[int]:
        """The labels of `count` words that spell these entities, of types that there are."""
        scheme: Scheme = "iob2" if self.scheme == "words" else self.scheme
        near = {"S": "SBEI", "B": "BI", "E": "EI"}  # where a type lacks one, the next best
        tags = (split(tag) for tag in entities.tags(spans, count, scheme))
        outside = self.index.get("O", 0)
        return [
            next(
                (self.index[tag] for letter in near.get(prefix, prefix) if (tag := f"{letter}-{name}") in self.index),
                self.any_of.get(name, outside),
            )
            for prefix, name in tags
        ]

    @cached_property
    def forbidden(self) -> Flags:
        """(1 + L, L): whether the second label may not follow the first; row 0 is the start of a sentence."""
        after = [split(tag) for tag in self.tags]
        prefixes = {prefix for prefix, _ in after}
        flags = np.zeros((1 + len(after), len(after)), bool)
        for i, (prefix, last) in enumerate([("O", ""), *after]):
            for j, (next_prefix, label) in enumerate(after):
                if self.scheme == "iob2":
                    flags[i, j] = next_prefix == "I" and label != last
                elif self.scheme == "bioes" and "B" in prefixes:  # in which a type may lack E-, or all of them B-
                    goes_on, must_go_on = next_prefix in "IE", prefix in "BI" and f"E-{last}" in self.index
                    flags[i, j] = (prefix not in "BI" or label != last) if goes_on else must_go_on
        return flags

    def best(self, logits: Logits, count: int, temperature: float) -> tuple[list[int], Array]:
        """The likeliest labels of `count` words that the scheme allows, and the probability of each.

        Viterbi (Forney 1973) with the allowed transitions and no other preference. logits: (N, L) of the first words,
        of which some are NaN: a word that no window shows has no part in this. It belongs to an entity if the words on
        both sides of it do, else to none; where no label says none, as of parts of speech, it is what is before it.
        """
        known = np.flatnonzero(~np.isnan(logits).any(1))[:count]
        scores = log_softmax(logits[known].astype(np.float64))
        path = viterbi(scores, self.forbidden)
        calibrated = scores if temperature == 1 else log_softmax(scores / temperature)
        labels = np.full(count, self.index.get("O", 0))
        chances = np.ones(count)
        labels[known], chances[known] = path, np.exp(calibrated[np.arange(len(path)), path])
        for first, second in pairwise(known):
            tag = self.tags[labels[second]]
            if second - first > 1 and tag[0] in "IE" and self.tags[labels[first]][2:] == tag[2:]:
                labels[first + 1 : second] = self.index.get(f"I-{tag[2:]}", labels[second])
                chances[first + 1 : second] = chances[second]
        if "O" not in self.index and len(known):
            nearest = known[np.searchsorted(known, np.arange(count), "right").clip(1) - 1]
            labels, chances = labels[nearest], chances[nearest]
        return labels.tolist(), chances


def _prefixed(labels: Sequence[str], pattern: re.Pattern[str]) -> dict[str, tuple[str, str]]:
    """Prefix and type of those labels that are written so; none where it looks like chance, as of E-MAIL beside NAME.

    It is none where a type has a B or I and another prefix, or where most labels have a B or I.
    """
    parts = {label: (match["prefix"].upper(), match["type"]) for label in labels if (match := pattern.fullmatch(label))}
    begun = [name for prefix, name in parts.values() if prefix in "BI"]
    types = Counter(name for _, name in parts.values())
    if any(types[name] > 1 for name in begun) or 2 * len(begun) > len(labels):
        return {label: (BIOES[prefix], name) for label, (prefix, name) in parts.items()}
    return {}


def log_softmax(logits: Logits) -> Array:
    """Logits (N, L) to logarithms of probabilities."""
    below = logits - logits.max(1, keepdims=True)
    return below - np.log(np.exp(below).sum(1, keepdims=True))  # type: ignore[no-any-return]


def viterbi(scores: Array, forbidden: Flags) -> list[int]:
    """The path (N,) of greatest sum through (N, L) that makes no forbidden step (1 + L, L), its row 0 the start."""
    if not len(scores):
        return []
    likeliest = scores.argmax(1)
    if not forbidden[np.concatenate([[0], likeliest[:-1] + 1]), likeliest].any():  # which most sentences' are not
        return likeliest.tolist()  # type: ignore[no-any-return]
    cost = np.where(forbidden, -np.inf, 0.0)
    best, back = scores[0] + cost[0], []
    for row in scores[1:]:
        total = best[:, None] + cost[1:]  # (L, L)
        back.append(total.argmax(0))
        best = total.max(0) + row
    path = [int(best.argmax())]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    return path[::-1]
