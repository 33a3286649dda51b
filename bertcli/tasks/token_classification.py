"""Token classification (named entities): a label for every word, and the entities that the labels spell.

The words are the record's own (`tokens`), else those of its text: runs of letters and digits, with single points,
hyphens, apostrophes or & inside; every other character by itself. The label of a word is that of its first piece
(Devlin et al. 2018, arXiv 1810.04805, section 5.3). No torch here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError
from bertcli.metrics import entities
from bertcli.metrics.entities import Span
from bertcli.tasks.base import IGNORED, BaseTask, Encoded, Options, Outputs, labels_of, offset, text_of
from bertcli.tokenizer import Features, Tokenizer

ALIASES = ("ner",)
DIGITS = 6  # of a printed score: what fp32 carries
CJK = r"\u2e80-\u2fff\u3040-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff"  # one word each, as BERT's tokenizer takes them
SYMBOLS = (  # ASCII's, Latin-1's, punctuation (not the joiners), currency to dingbats, CJK's, full-width ones, emoji
    r"!-/:-@\[-`{-~\u00a1-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u2010-\u205e\u20a0-\u20cf\u2190-\u2bff"
    r"\u3000-\u303f\ufe30-\ufe6f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\U0001f000-\U0001faff"
)
LETTERS = rf"[^\s{SYMBOLS}{CJK}]+"  # and digits, and the marks on them
WORD = re.compile(rf"{LETTERS}(?:[-.'\u2019&]{LETTERS})*|\S")


@dataclass(frozen=True)
class Gold:
    """A tag id for each word, IGNORED in training where no tag is right.

    lost: the types of entities that no words make up, or that overlap another: none can be found.
    """

    tags: list[int]
    lost: tuple[str, ...] = ()


class Task(BaseTask):
    """Token classification with any encoder that has a `…ForTokenClassification` head and IOB2 labels."""

    name = "token-classification"
    head = "TokenClassification"

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any], options: Options) -> None:
        super().__init__(tokenizer, config, options)
        self.labels = labels_of(config)
        self.index = {label: i for i, label in enumerate(self.labels)}

    def encode(self, records: Sequence[Record]) -> list[Encoded]:
        """Each record's words as windows of token ids."""
        sentences = [self._words_or_error(record) for record in records]
        good = [words for words in sentences if not isinstance(words, RecordError)]
        encoded = iter(self.tokenizer.encode_words(good, self.options.long))
        return [words if isinstance(words, RecordError) else next(encoded) for words in sentences]

    def _words_or_error(self, record: Record) -> list[str] | RecordError:
        try:
            text, places = self.words(record)
        except RecordError as error:
            return error
        return [text[start:end] for start, end in places]

    def words(self, record: Record) -> tuple[str, list[tuple[int, int]]]:
        """The text and where its words are, in code points. Given tokens are joined by spaces. Raises RecordError."""
        tokens = record.fields.get("tokens")
        if tokens is None:
            text = text_of(record, self.options.text_field, "--text-field")
            return text, [match.span() for match in WORD.finditer(text)]
        if not (isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)):
            raise RecordError("field 'tokens' is not a list of texts.")
        places, start = [], 0
        for token in tokens:
            places.append((start, start + len(token)))
            start += len(token) + 1
        return " ".join(tokens), places

    def texts(self, record: Record) -> dict[str, str]:
        """The text that `words` gives."""
        return {"text": self.words(record)[0]}

    def combine(self, features: Features, outputs: Outputs) -> "np.ndarray[Any, Any]":
        """Logits (words, L): each word's from the window that shows most around it; NaN for a word without pieces."""
        count = 1 + max((max(window.words or [-1]) for window in features.windows), default=-1)
        logits = np.full((count, len(self.labels)), np.nan, np.float32)
        margins = np.full(count, -1)
        for window, output in zip(features.windows, outputs, strict=True):
            words = np.asarray(window.words)
            places = np.flatnonzero(words >= 0)
            own, margin = words[places], np.minimum(places, len(words) - 1 - places)
            better = margin > margins[own]
            logits[own[better]], margins[own[better]] = output["logits"][places[better]], margin[better]
        return logits

    def decode(self, record: Record, prediction: "np.ndarray[Any, Any]") -> dict[str, Any]:
        """entities, each with type, text, start, end (code points) and score; tags too, for given tokens."""
        text, places = self.words(record)
        tags, scores = self.tag(prediction, len(places))
        found = [self._entity(text, places, span, scores) for span in entities.spans(tags)]
        if "tokens" in record.fields:
            return {"text": text, "entities": found, "tags": tags}
        if self.options.tags:
            return {"tokens": [text[start:end] for start, end in places], "entities": found, "tags": tags}
        return {"entities": found}

    def _entity(
        self, text: str, places: list[tuple[int, int]], span: Span, scores: "np.ndarray[Any, Any]"
    ) -> dict[str, Any]:
        start, end = places[span.start][0], places[span.end - 1][1]
        score = round(float(scores[span.start : span.end].mean()), DIGITS)
        unit = self.options.offset_unit
        place = {"start": offset(text, start, unit), "end": offset(text, end, unit)}
        return {"type": span.type, "text": text[start:end], **place, "score": score}

    def tag(self, logits: "np.ndarray[Any, Any]", count: int) -> tuple[list[str], "np.ndarray[Any, Any]"]:
        """The likeliest sequence of tags in which each I follows its own kind, and each tag's probability.

        Viterbi (Forney 1973) with the allowed transitions of IOB2 and no other preference. A word that no window shows
        is O.
        """
        shown = np.full((count, len(self.labels)), -np.inf)
        shown[:, self.index.get("O", 0)] = 0.0
        known = ~np.isnan(logits).any(1)
        exact = logits[known].astype(np.float64)
        exact -= exact.max(1, keepdims=True)
        shown[np.flatnonzero(known)] = exact - np.log(np.exp(exact).sum(1, keepdims=True))
        path = _viterbi(shown, self._forbidden())
        return [self.labels[i] for i in path], np.exp(shown[np.arange(count), path])

    def _forbidden(self) -> "np.ndarray[Any, Any]":
        """(1 + L, L): whether the second tag may not follow the first; row 0 is the start of a sentence."""
        before = [("O", ""), *map(entities.split, self.labels)]
        after = [entities.split(label) for label in self.labels]
        return np.array([[prefix == "I" and kind != own for prefix, kind in after] for _, own in before])

    def kept(self, record: Record) -> dict[str, Any]:
        """All: the tags are those of the record's own words. Raises RecordError for tags that are none."""
        if "tokens" in record.fields:
            gold_of_tags(record, self.options.label_field, self.options.scheme)
        return record.fields

    def label(self, record: Record) -> Gold:
        """From `tags` of given tokens, or the `entities` of a text. Raises RecordError."""
        text, places = self.words(record)
        lost: list[Span] = []
        if "tokens" in record.fields:
            found = gold_of_tags(record, self.options.label_field, self.options.scheme)
        else:
            found, lost = gold_of_text(record, len(text), places)
        tags = entities.tags(found, len(places))
        known = ", ".join(self.labels)
        _demand(
            (span.start, f"unknown label 'B-{span.type}'; the model's labels are: {known}.")
            for span in sorted([*found, *lost])
            if f"B-{span.type}" not in self.index or f"I-{span.type}" not in self.index
        )
        ids = [self.index.get(tag, 0) for tag in tags]
        for i in chain.from_iterable(range(span.start, span.end) for span in lost):
            ids[i] = IGNORED if tags[i] == "O" else ids[i]
        return Gold(ids, tuple(span.type for span in lost))

    def word_targets(self, gold: Gold) -> Sequence[int]:
        """The tags."""
        return gold.tags

    def warnings(self, gold: Sequence[Any]) -> list[str]:
        """How many entities cannot be found."""
        lost = sum(len(own.lost) for own in gold)
        return [f"{lost:,} entities begin or end inside a word or overlap another; they teach nothing"] if lost else []

    def metrics(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """Entity precision, recall and F1, micro and per type, and token accuracy; what cannot be found is missed."""
        found = [self.tag(logits, len(own.tags))[0] for logits, own in zip(predictions, gold, strict=True)]
        lost = [kind for own in gold for kind in own.lost]
        stated = {"misplaced_entities": len(lost)} if lost else {}
        return entities.score([self._shown(own) for own in gold], found, lost) | stated

    def _shown(self, gold: Gold) -> list[str]:
        return ["O" if i == IGNORED else self.labels[i] for i in gold.tags]

    @property
    def directions(self) -> Mapping[str, int]:
        """What gates and early stopping may name."""
        return {"f1": 1, "precision": 1, "recall": 1, "macro_f1": 1, "token_accuracy": 1}

    def mistake(self, gold: Gold, prediction: "np.ndarray[Any, Any]") -> tuple[float, dict[str, Any]] | None:
        """The tags where they differ, with the surest wrong one's score."""
        tags, scores = self.tag(prediction, len(gold.tags))
        own = self._shown(gold)
        wrong = [i for i, (a, b) in enumerate(zip(own, tags, strict=True)) if a != b]
        sure = max((float(scores[i]) for i in wrong), default=0.0)
        return (sure, {"gold": own, "predicted": tags, "score": round(sure, DIGITS)}) if wrong else None


def entity_types(record: Record, field: str) -> set[str]:
    """The types of a labelled record's entities, whatever its words are. Raises RecordError."""
    if "tokens" in record.fields:
        return {span.type for span in gold_of_tags(record, field)}
    return {kind for _, _, kind in _triples(record)}


def gold_of_tags(record: Record, field: str, scheme: str = "auto") -> list[Span]:
    """The entities of a record with tokens and tags, one tag for each token. Raises RecordError.

    scheme: any but auto refuses tags that it would not write so.
    """
    given = tags_of(record, field)
    _demand((i, fault) for i, tag in enumerate(given) if (fault := entities.fault(tag)))
    found = entities.spans(given)
    if scheme == "auto":
        return found
    expected = entities.tags(found, len(given), scheme)  # type: ignore[arg-type]
    _demand(
        (i, f"the tag {tag} of token {i + 1} is not {scheme}, which would have {other} there.")
        for i, (tag, other) in enumerate(zip(given, expected, strict=True))
        if tag != other
    )
    return found


def _demand(faults: Iterable[tuple[int, str]]) -> None:
    """Raise RecordError with all of them, each at its token, unless there are none."""
    if found := list(faults):
        raise RecordError(found[0][1], found)


def tags_of(record: Record, field: str) -> list[str]:
    """The tags of a record with tokens. Raises RecordError unless there is one for each token."""
    name = field if field in record.fields else "tags"
    given = lookup(record.fields, name, "--label-field")
    if not (isinstance(given, list) and all(isinstance(tag, str) for tag in given)):
        raise RecordError(f"field '{name}' is not a list of tags.")
    if len(given) != len(record.fields["tokens"]):
        raise RecordError(f"{len(given)} tags for {len(record.fields['tokens'])} tokens.")
    return given


def gold_of_text(record: Record, length: int, places: list[tuple[int, int]]) -> tuple[list[Span], list[Span]]:
    """The entities of a record with text and `entities` (start, end, type), on its words; and those that are not.

    The latter, over all words that they touch, begin or end inside a word, or overlap one that begins before or is
    longer. Raises RecordError for what is no entity of a text of that length.
    """
    found: list[Span] = []
    lost: list[Span] = []
    for start, end, kind in sorted(_triples(record), key=lambda item: (item[0], -item[1])):
        if not 0 <= start < end <= length:
            raise RecordError(f"the entity at {start} to {end} is not in the text of {length} characters.")
        own = [i for i, (begins, ends) in enumerate(places) if begins < end and ends > start]
        span = Span(own[0], own[-1] + 1, kind) if own else Span(0, 0, kind)
        is_whole = own and (places[own[0]][0], places[own[-1]][1]) == (start, end)
        is_free = not found or span.start >= found[-1].end
        (found if is_whole and is_free else lost).append(span)
    return found, lost


def _triples(record: Record) -> list[tuple[int, int, str]]:
    if "entities" not in record.fields:
        there = ", ".join(record.fields) or "nothing"
        raise RecordError(
            f"no 'entities', nor 'tokens' with 'tags' (the record has: {there}); --input-format conll reads columns."
        )
    given = record.fields["entities"]
    if not isinstance(given, list):
        raise RecordError("field 'entities' is not a list.")
    return [_triple(item) for item in given]


def _triple(item: Any) -> tuple[int, int, str]:
    try:
        values = [item["start"], item["end"], item.get("type") or item["label"]] if isinstance(item, Mapping) else item
        start, end, kind = values
    except (KeyError, TypeError, ValueError):
        raise RecordError(f"{item!r} is no entity; write start, end and type.") from None
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(kind, str)):
        raise RecordError(f"{item!r} is no entity; start and end are integers, type is text.")
    return start, end, kind


def _viterbi(scores: "np.ndarray[Any, Any]", forbidden: "np.ndarray[Any, Any]") -> list[int]:
    """The path (N,) of greatest sum through (N, L) that makes no forbidden step (1 + L, L), its row 0 the start."""
    cost = np.where(forbidden, -np.inf, 0.0)
    if not len(scores):
        return []
    best, back = scores[0] + cost[0], []
    for row in scores[1:]:
        total = best[:, None] + cost[1:]  # (L, L)
        back.append(total.argmax(0))
        best = total.max(0) + row
    path = [int(best.argmax())]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    return path[::-1]
