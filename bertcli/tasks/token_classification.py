"""Token classification (named entities): a label for every word, and the entities that the labels spell.

The words are the record's own (`tokens`), else those of its text: runs of letters and digits, with single points,
hyphens, apostrophes or & inside; every other character by itself. The label of a word is that of its first piece
(Devlin et al. 2018, arXiv 1810.04805, section 5.3). No torch here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError
from bertcli.metrics import entities
from bertcli.metrics.entities import Span
from bertcli.tasks.base import BaseTask, Encoded, Options, Outputs, labels_of, offset, text_of
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
        """All: the tags are those of the record's own words."""
        return record.fields

    def label(self, record: Record) -> list[int]:
        """The tag id of each word, from `tags` of given tokens or the `entities` of a text."""
        _, places = self.words(record)
        found = self._gold(record, places)
        return [self._index(tag) for tag in entities.tags(found, len(places))]

    def _gold(self, record: Record, places: list[tuple[int, int]]) -> list[Span]:
        if "tokens" in record.fields:
            return gold_of_tags(record, self.options.label_field, self.options.scheme)
        return gold_of_text(record, places)

    def _index(self, tag: str) -> int:
        if tag not in self.index:
            raise RecordError(f"unknown label '{tag}'; the model's labels are: {', '.join(self.labels)}.")
        return self.index[tag]

    def metrics(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """Entity precision, recall and F1, micro and per type, and token accuracy."""
        wanted = [[self.labels[i] for i in sentence] for sentence in gold]
        found = [self.tag(logits, len(sentence))[0] for logits, sentence in zip(predictions, gold, strict=True)]
        return entities.score(wanted, found)

    @property
    def directions(self) -> Mapping[str, int]:
        """What gates and early stopping may name."""
        return {"f1": 1, "precision": 1, "recall": 1, "macro_f1": 1, "token_accuracy": 1}

    def mistake(self, gold: Any, prediction: "np.ndarray[Any, Any]") -> tuple[float, dict[str, Any]] | None:
        """The tags where they differ, with the surest wrong one's score."""
        tags, scores = self.tag(prediction, len(gold))
        own = [self.labels[i] for i in gold]
        wrong = [i for i, (a, b) in enumerate(zip(own, tags, strict=True)) if a != b]
        sure = max((float(scores[i]) for i in wrong), default=0.0)
        return (sure, {"gold": own, "predicted": tags, "score": round(sure, DIGITS)}) if wrong else None


def entity_types(record: Record, field: str) -> set[str]:
    """The types of a labelled record's entities, whatever its words are. Raises RecordError."""
    if "tokens" in record.fields:
        return {span.type for span in gold_of_tags(record, field)}
    return {_triple(item)[2] for item in lookup(record.fields, "entities", "--label-field")}


def gold_of_tags(record: Record, field: str, scheme: str = "auto") -> list[Span]:
    """The entities of a record with tokens and tags, one tag for each token. Raises RecordError.

    scheme: any but auto refuses tags that it would not write so.
    """
    given = tags_of(record, field)
    found = entities.spans(given)
    if scheme == "auto":
        return found
    expected = entities.tags(found, len(given), scheme)  # type: ignore[arg-type]
    for i, (tag, other) in enumerate(zip(given, expected, strict=True)):
        if tag != other:
            raise RecordError(f"the tag {tag} of token {i + 1} is not {scheme}, which would have {other} there.")
    return found


def tags_of(record: Record, field: str) -> list[str]:
    """The tags of a record with tokens. Raises RecordError unless there is one for each token."""
    name = field if field in record.fields else "tags"
    given = lookup(record.fields, name, "--label-field")
    if not (isinstance(given, list) and all(isinstance(tag, str) for tag in given)):
        raise RecordError(f"field '{name}' is not a list of tags.")
    if len(given) != len(record.fields["tokens"]):
        raise RecordError(f"{len(given)} tags for {len(record.fields['tokens'])} tokens.")
    return given


def gold_of_text(record: Record, places: list[tuple[int, int]]) -> list[Span]:
    """The entities of a record with text and `entities` (start, end, type), on its words. Raises RecordError."""
    starts = {start: i for i, (start, _) in enumerate(places)}
    ends = {end: i for i, (_, end) in enumerate(places)}
    found = []
    for item in lookup(record.fields, "entities", "--label-field"):
        start, end, kind = _triple(item)
        if start not in starts or end not in ends:
            raise RecordError(f"the entity at {start} to {end} does not begin and end with words.")
        found.append(Span(starts[start], ends[end] + 1, kind))
    for one, other in zip(sorted(found), sorted(found)[1:], strict=False):
        if other.start < one.end:
            raise RecordError(f"two entities overlap at word {other.start + 1}.")
    return found


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
