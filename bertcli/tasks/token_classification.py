"""Token classification (named entities): a label for every word, and the entities that the labels spell.

The words are the record's own (`tokens`), else those of its text: runs of letters and digits, with single points,
hyphens, apostrophes or & inside; every other character by itself. The label of a word is that of its first piece
(Devlin et al. 2018, arXiv 1810.04805, section 5.3). No torch here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bertcli.data.records import Record
from bertcli.errors import RecordError
from bertcli.metrics import entities
from bertcli.metrics.entities import Span
from bertcli.tasks._entity_labels import demand, gold_of_tags, gold_of_text
from bertcli.tasks._tagging import log_softmax, viterbi
from bertcli.tasks.base import (
    IGNORED,
    BaseTask,
    Encoded,
    Example,
    Mark,
    Options,
    Outputs,
    labels_of,
    offset,
    temperature_of,
    text_of,
)  # fmt: skip
from bertcli.tokenizer import Features, Tokenizer

if TYPE_CHECKING:
    from bertcli.arrays import Array
    from bertcli.metrics.bootstrap import Metrics
    from bertcli.metrics.calibration import Scored

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
        self.temperature = temperature_of(config)

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
        """The text, of given tokens joined by spaces. Raises RecordError."""
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
        shown[np.flatnonzero(known)] = log_softmax(logits[known].astype(np.float64))
        path = viterbi(shown, self._forbidden)
        calibrated = shown if self.temperature == 1 else log_softmax(shown / self.temperature)
        return [self.labels[i] for i in path], np.exp(calibrated[np.arange(count), path])

    @cached_property
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
        demand(
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

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """The tags and the entities that they spell; of a wrong one its surest wrong tag's score, else the least."""
        return list(map(self._example, records, gold, predictions))

    def _example(self, record: Record, gold: Gold, prediction: "np.ndarray[Any, Any]") -> Example:
        text, places = self.words(record)
        tags, scores = self.tag(prediction, len(gold.tags))
        own = self._shown(gold)
        wrong = [i for i, (a, b) in enumerate(zip(own, tags, strict=True)) if a != b]
        sure = float(scores[wrong].max() if wrong else scores.min(initial=1.0))
        return Example(
            record, text, own, tags, not wrong, round(sure, DIGITS), sure,
            gold_marks=_marks(places, own), predicted_marks=_marks(places, tags, scores),
        )  # fmt: skip

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """The entities, as first word, end and type, and how many words have the right tag."""
        found = [self.tag(logits, len(own.tags))[0] for logits, own in zip(predictions, gold, strict=True)]
        pairs = [zip(self._shown(own), tags, strict=True) for own, tags in zip(gold, found, strict=True)]
        return {
            "entities": [[list(span) for span in entities.spans(tags)] for tags in found],
            "right_words": [sum(a == b for a, b in own) for own in pairs],
        }

    def resampled(self, gold: Sequence[Any], columns: Mapping[str, Any]) -> "Metrics":
        """Of counts by type in each sentence."""
        wanted = [set(entities.spans(self._shown(own))) for own in gold]
        found = [{Span(*span) for span in own} for own in columns["entities"]]
        right = [own & guess for own, guess in zip(wanted, found, strict=True)]
        kinds = [[span.type for span in own] for group in (right, found, wanted) for own in group]
        lost = [list(own.lost) for own in gold]
        counts = entities.counts([*kinds, *lost]).reshape(4, len(gold), -1)
        words = np.array([len(own.tags) for own in gold])
        return entities.weighted(counts[0], counts[1], counts[2] + counts[3], words, np.array(columns["right_words"]))

    def scored(self, gold: Sequence[Any], predictions: Sequence[Any], examples: Sequence[Example]) -> "Scored | None":
        """The entities that were found, with the scores that predict prints."""
        from bertcli.metrics.calibration import Scored

        wanted = [{(mark.start, mark.end, mark.type) for mark in own.gold_marks} for own in examples]
        pairs = zip(wanted, examples, strict=True)
        found = [(m.score, (m.start, m.end, m.type) in own) for own, shown in pairs for m in shown.predicted_marks]
        if not found:
            return None
        scores, right = zip(*found, strict=True)
        support = sum(map(len, wanted)) + sum(len(own.lost) for own in gold)
        return Scored("entities", np.array(scores), np.array(right), support)

    @property
    def classifies(self) -> Literal["one"]:
        """Each word has one tag."""
        return "one"

    def classified(self, gold: Sequence[Any], predictions: Sequence[Any]) -> "tuple[Array, Array]":
        """The logits of all words that have pieces and a right tag."""
        targets = np.concatenate([own.tags[: len(logits)] for own, logits in zip(gold, predictions, strict=True)])
        logits = np.concatenate([logits[: len(own.tags)] for own, logits in zip(gold, predictions, strict=True)])
        known = ~np.isnan(logits).any(1) & (targets != IGNORED)
        return logits[known].astype(np.float64), targets[known].astype(np.int64)


def _marks(
    places: Sequence[tuple[int, int]], tags: Sequence[str], scores: "np.ndarray[Any, Any] | None" = None
) -> tuple[Mark, ...]:
    """The entities that tags spell, in code points; each scores the mean of its words."""
    return tuple(
        Mark(
            places[span.start][0], places[span.end - 1][1], span.type,
            None if scores is None else round(float(scores[span.start : span.end].mean()), DIGITS),
        )
        for span in entities.spans(tags)
    )  # fmt: skip
