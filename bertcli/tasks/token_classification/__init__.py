"""Token classification (named entities): a label for every word, and the entities that the labels spell.

The words are the record's own (`tokens`), else those of its text: runs of letters and digits, with single points,
hyphens, apostrophes or & inside, or what nobody sees; every other character by itself, where it is seen, joined emoji
and flags as one. The label of a word is that of its first piece (Devlin et al. 2018, arXiv 1810.04805, section 5.3).
No torch here.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.arrays import Array, Features, Logits
from bertcli.data.records import Record
from bertcli.errors import RecordError, UsageError
from bertcli.metrics import entities
from bertcli.metrics.entities import OUTSIDE, SCHEMES, Span
from bertcli.model import Model
from bertcli.tasks.base import IGNORED, BaseExternalTask, BaseTask, Encoded, Outputs, from_cell, usable
from bertcli.tasks.labels import (
    Decision,
    Doubt,
    UnknownLabel,
    label_config,
    labels_of,
    renamed,
    temperature_of,
)
from bertcli.tasks.options import LabelSettings, Options
from bertcli.tasks.texts import DIGITS, Example, Mark, entity_results, grapheme_end, text_of
from bertcli.tasks.token_classification import labels as entity_labels
from bertcli.tasks.token_classification.labels import Gold, Lost, TagSet
from bertcli.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bertcli.metrics.bootstrap import Metrics
    from bertcli.metrics.calibration import Scored
    from bertcli.tasks.token_classification.redaction import Redaction


ALIASES = ("ner",)
CJK = r"\u2e80-\u2fff\u3040-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff"  # one word each, as BERT's tokenizer takes them
SYMBOLS = (  # ASCII's, Latin-1's, punctuation (not the joiners), currency to dingbats, CJK's, full-width ones, emoji
    r"!-/:-@\[-`{-~\u00a1-\u00a9\u00ab\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u2010-\u2027\u2030-\u205e"
    r"\u20a0-\u20cf\u2190-\u2bff\u3000-\u303f\ufe30-\ufe6f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\U0001f000-\U0001faff"
)
UNSEEN = (  # controls, and formats such as zero-width spaces, soft hyphens and variation selectors
    r"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    r"\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff"
)
LETTERS = rf"[^\s{UNSEEN}{SYMBOLS}{CJK}]+"  # and digits, and the marks on them
EMOJI = r"\u203c\u2049\u2122\u2139\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
# What is joined to an emoji, such as a skin's colour, is one character with it, which two entities would else share.
JOINED = rf"\ufe0f?(?:[\U0001f3fb-\U0001f3ff]|\u200d[{EMOJI}])"
FLAG = r"[\U0001f1e6-\U0001f1ff]{2}"
WORD = rf"{LETTERS}(?:(?:[-.'\u2019&]|[{UNSEEN}]+){LETTERS})*|{FLAG}|[{EMOJI}](?:{JOINED})*|[^\s{UNSEEN}]"
Offsets = list[tuple[int, int]]  # where each word begins and ends in the text, in code points


class Task(BaseTask):
    """Token classification with any encoder that has a `…ForTokenClassification` head, whatever its labels are."""

    head = "TokenClassification"
    model_outputs = MappingProxyType({"logits": 3})
    labelled_by = ({"entities"}, {"tokens"})  # which may have tags
    has_named_labels = True
    accepts = frozenset({"offset_unit", "redact", "scheme"})
    classifies = "one"  # tag for each word
    directions = MappingProxyType({"f1": 1, "precision": 1, "recall": 1, "macro_f1": 1, "token_accuracy": 1})

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any], options: Options) -> None:
        super().__init__(tokenizer, config, options)
        self.labels = labels_of(config)
        self.tag_set = TagSet(self.labels)
        self.temperature = temperature_of(config)
        words = ({"tokens": [""]}, {"tags": [""]}) if options.tags else ({}, {})
        entity = {"type": "", "text": "", "start": 0, "end": 0, "score": 0.5}
        self.example = words[0] | {"entities": [entity]} | words[1]
        self.redaction: Redaction | None = None
        if options.redact:
            from bertcli.tasks.token_classification import redaction

            self.redaction = redaction.Redaction(options, self.tag_set.types)
            self.memory, self.identity = self.redaction.memory, self.redaction.identity
            self.example = {"redacted": [entity | {"replacement": ""}]} if options.redact_list else {}

    @classmethod
    def decide(cls, settings: LabelSettings, base: Model, records: Sequence[Record]) -> Decision:
        """IOB2 labels of the entity types given, of the base model's where they cover the data, else of the data's."""
        types, options = entity_labels.types_in(records, settings.options), settings.options
        if not types:
            raise UsageError("no training record has an entity; at least one type is needed.")
        why = "as given by --labels" if settings.labels else "sorted types of the data"
        labels = iob2_labels(settings.labels or types)
        if not settings.labels and base.head == cls.head and set(labels) <= set(base.labels):
            labels, why = base.labels, f"those of the model {base.name}"
        scheme = "iob2" if options.scheme == "auto" else options.scheme
        if options.scheme == "auto":
            with suppress(RecordError):  # `label` says where
                tagged = (record for record in records if entity_labels.has_words(record, options))
                tags = (entity_labels.tags_of(record, options.label_field) for record in tagged)
                scheme = entities.recognise(tags)
        return Decision("token_classification", labels, f"tags in {scheme.upper()}", why, config=label_config(labels))

    @classmethod
    def relabelled(cls, record: Record, options: Options, several: bool) -> Record:
        """The record with its entity types renamed. Raises RecordError for invalid tags or entities."""
        fields = record.fields
        if not entity_labels.has_words(record, options):
            names = [renamed(entity.type, options) for entity in entity_labels.entities_of(record)]
            pairs = [(item, name) for item, name in zip(from_cell(fields["entities"]), names, strict=True) if name]
            items = [{**item, "type": name} if isinstance(item, Mapping) else [*item[:2], name] for item, name in pairs]
            return replace(record, fields={**fields, "entities": items})
        field = options.label_field if options.label_field in fields else "tags"
        spans = with_new_names(entity_labels.spans_of_tags(record, field, options.scheme), options)
        tags = [
            f"{tag[:2]}{name}" if tag not in OUTSIDE and (name := renamed(tag[2:], options)) else "O"
            for tag in entity_labels.tags_of(record, field)
        ]
        if entities.spans(tags) != spans:  # neighbours of two types that are now one
            tags = entities.tags(spans, len(tags), "iob2" if options.scheme == "auto" else options.scheme)
        return replace(record, fields={**fields, field: tags})

    @classmethod
    def unknown_labels(cls, settings: LabelSettings, decision: Decision, records: Sequence[Record]) -> list[str]:
        """Entity types that have no tags."""
        known = {label[2:] for label in decision.labels if label != "O"}
        return [label for label in entity_labels.types_in(records, settings.options) if label not in known]

    @classmethod
    def split_doubts(
        cls, settings: LabelSettings, records: Sequence[Record], is_train: bool
    ) -> Iterator[tuple[Record, str, RecordError]]:
        """The records whose tags break the scheme that most records keep."""
        field = settings.options.label_field
        tagged = [record for record in records if entity_labels.has_words(record, settings.options)]
        schemes = [entities.schemes_of(entity_labels.tags_of(record, field)) for record in tagged]
        votes = Counter(scheme for possible in schemes for scheme in possible)
        usual = max(SCHEMES, key=lambda scheme: votes[scheme])
        for record, possible in zip(tagged, schemes, strict=True):
            if usual not in possible:
                try:
                    entity_labels.spans_of_tags(record, field, usual)
                except RecordError as error:
                    yield record, "tag-scheme", error

    def read(self, record: Record) -> list[str]:
        """The words, which are tokenised one by one. Raises RecordError."""
        text, offsets = self.words(record)
        return [text[start:end] for start, end in offsets]

    def tokenize(self, inputs: Sequence[list[str]]) -> list[Encoded]:
        """Windows in which `words` tells which token begins which word."""
        return self.tokenizer.encode_words(inputs, self.options.long)

    def words(self, record: Record) -> tuple[str, Offsets]:
        """The text and the offsets of its words, in code points. Tokens are joined by spaces. Raises RecordError."""
        if not entity_labels.has_words(record, self.options):
            text = text_of(record, self.options.text_field, "--text-field")
            return text, [match.span() for match in re.finditer(WORD, text)]
        tokens = entity_labels.tokens_of(record)
        offsets, start = [], 0
        for token in tokens:
            offsets.append((start, start + len(token)))
            start += len(token) + 1
        return " ".join(tokens), offsets

    def word_offsets(self, record: Record) -> Offsets:
        """The offsets of the words."""
        return self.words(record)[1]

    def texts(self, record: Record) -> dict[str, str]:
        """The text, or the record's own tokens joined by spaces. Raises RecordError."""
        return {"text": self.words(record)[0]}

    def combine(self, features: Features, outputs: Outputs) -> Logits:
        """Logits (words, L): of each word from the window with most context around it; NaN without pieces."""
        count = 1 + max((max(window.words or [-1]) for window in features.windows), default=-1)
        logits = np.full((count, len(self.labels)), np.nan, np.float32)
        margins = np.full(count, -1)
        for window, output in zip(features.windows, outputs, strict=True):
            words = np.asarray(window.words)
            starts = np.flatnonzero(words >= 0)
            shown, margin = words[starts], np.minimum(starts, len(words) - 1 - starts)
            better = margin > margins[shown]
            logits[shown[better]], margins[shown[better]] = output["logits"][starts[better]], margin[better]
        return logits

    def decode(self, record: Record, prediction: Logits) -> dict[str, Any]:
        """entities, each with type, text, start, end and score; also tags, if the record has tokens."""
        text, offsets = self.words(record)
        ids, marks = self._entities(text, offsets, prediction)
        tags = [self.labels[i] for i in ids]
        listed = entity_results(text, marks, self.options.offset_unit)
        if entity_labels.has_words(record, self.options):
            return {"text": text, "entities": listed, "tags": tags}
        if self.options.tags:
            return {"tokens": [text[start:end] for start, end in offsets], "entities": listed, "tags": tags}
        return {"entities": listed}

    def answer(self, record: Record, prediction: Logits) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """As `decode` says; with --redact the redacted text and the fields that may be written."""
        if self.redaction is None:
            return super().answer(record, prediction)
        text, offsets = self.words(record)
        return self.redaction.answer(record, text, self._entities(text, offsets, prediction)[1])

    def _entities(self, text: str, offsets: Offsets, logits: Logits) -> tuple[list[int], tuple[Mark, ...]]:
        """The label ids of the words, and the entities that `predict` gives."""
        ids, scores = self.tag(logits, len(offsets))
        return ids, _marks(text, offsets, [self.tag_set.tags[i] for i in ids], scores)

    def tag(self, logits: Logits, count: int) -> tuple[list[int], Array]:
        """The ids of the likeliest labels of the words that the model's scheme allows, and their probabilities."""
        return self.tag_set.best(logits, count, self.temperature)

    def label_fields(self, record: Record) -> dict[str, Any]:
        """All fields, because the words come from them too. Raises RecordError for invalid tags or entities."""
        if entity_labels.has_words(record, self.options):
            entity_labels.spans_of_tags(record, self.options.label_field, self.options.scheme)
        else:
            entity_labels.entities_of(record)
        return record.fields

    def label(self, record: Record) -> Gold:
        """From the `tags` of tokens, or the `entities` of a text. Raises RecordError."""
        text, offsets = self.words(record)
        lost: list[Span] = []
        if entity_labels.has_words(record, self.options):
            spans = entity_labels.spans_of_tags(record, self.options.label_field, self.options.scheme)
        else:
            spans, given_up = entity_labels.spans_of_text(record, text, offsets)
            lost = [one.span for one in given_up]
        known, types = ", ".join(self.labels), self.tag_set.types
        if unknown := [span for span in sorted([*spans, *lost]) if span.type not in types]:
            faults = [(one.start, f"unknown label 'B-{one.type}'; the model's labels are: {known}.") for one in unknown]
            raise UnknownLabel([one.type for one in unknown], faults)
        ids = self.tag_set.ids(spans, len(offsets))
        spelt = self.tag_set.spans(ids)  # Without B-, the tags of two neighbours of one type make one entity.
        tags = entities.tags(set(spans).intersection(spelt), len(offsets))
        lost += sorted(set(spans).difference(spelt))
        for i in chain.from_iterable(range(span.start, span.end) for span in lost):
            ids[i] = IGNORED if tags[i] == "O" else ids[i]
        return Gold(ids, tuple(span.type for span in lost))

    def label_names(self, gold: Gold) -> list[str]:
        """The types of the entities, including those that cannot be found."""
        return [span.type for span in entities.spans(self._tags(gold.tags))] + list(gold.lost)

    def doubts(self, record: Record, gold: Gold) -> Iterator[Doubt]:
        """Entities that are not made up of whole words, each with its reason."""
        if gold.lost:
            for _, code, shown in entity_labels.spans_of_text(record, *self.words(record))[1]:
                yield code, shown

    def warnings(self, gold: Sequence[Gold]) -> list[str]:
        """How many entities cannot be found."""
        lost = sum(len(target.lost) for target in gold)
        why = "begin or end inside a word, overlap another or have gaps; they teach nothing"
        return [f"{lost:,} entities {why}"] if lost else []

    def metrics(self, gold: Sequence[Gold], predictions: Sequence[Any]) -> dict[str, Any]:
        """Entity precision, recall and F1, micro and per type, and token accuracy; what cannot be found is missed."""
        lost = [label for target in gold for label in target.lost]
        misplaced = {"misplaced_entities": len(lost)} if lost else {}
        right = [self._tags(target.tags) for target in gold]
        return entities.score(right, self._predicted(gold, predictions), lost) | misplaced

    def _tags(self, ids: Sequence[int]) -> list[str]:
        """In IOB2 whatever the model's scheme, so that models of several schemes are scored and compared alike."""
        tags = ["O" if i == IGNORED else self.tag_set.tags[i] for i in ids]
        return entities.tags(entities.spans(tags), len(tags))

    def _predicted(self, gold: Sequence[Gold], predictions: Sequence[Logits]) -> list[list[str]]:
        pairs = zip(predictions, gold, strict=True)
        return [self._tags(self.tag(logits, len(target.tags))[0]) for logits, target in pairs]

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """Tags and entities. The score is that of the surest wrong tag, or of the least sure one if all are right."""
        examples, prefix = [], "B-" if self.tag_set.scheme == "words" else ""  # Parts of speech are shown without B-.
        for record, target, prediction in zip(records, gold, predictions, strict=True):
            text, offsets = self.words(record)
            ids, scores = self.tag(prediction, len(target.tags))
            tags, right = self._tags(ids), self._tags(target.tags)
            named, predicted = ([tag.removeprefix(prefix) for tag in side] for side in (right, tags))
            wrong = [i for i, (a, b) in enumerate(zip(right, tags, strict=True)) if a != b]
            sure = float(scores[wrong].max() if wrong else scores.min(initial=1.0))
            examples.append(Example(
                record, text, named, predicted, not wrong, round(sure, DIGITS), sure,
                gold_marks=_marks(text, offsets, right), predicted_marks=_marks(text, offsets, tags, scores),
            ))  # fmt: skip
        return examples

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """The entities, as first word, end and type, and the number of words with the right tag."""
        tagged = self._predicted(gold, predictions)
        pairs = [zip(self._tags(target.tags), tags, strict=True) for target, tags in zip(gold, tagged, strict=True)]
        return {
            "entities": [[list(span) for span in entities.spans(tags)] for tags in tagged],
            "right_words": [sum(a == b for a, b in words) for words in pairs],
        }

    def resampled(self, gold: Sequence[Any], columns: Mapping[str, Any]) -> "Metrics":
        """From the counts of each type in each record."""
        wanted = [set(entities.spans(self._tags(target.tags))) for target in gold]
        predicted = [{Span(*span) for span in spans} for spans in columns["entities"]]
        right = [one & other for one, other in zip(wanted, predicted, strict=True)]
        types = [[span.type for span in spans] for group in (right, predicted, wanted) for spans in group]
        lost = [list(target.lost) for target in gold]
        counts = entities.counts([*types, *lost]).reshape(4, len(gold), -1)
        words = np.array([len(target.tags) for target in gold])
        return entities.weighted(counts[0], counts[1], counts[2] + counts[3], words, np.array(columns["right_words"]))

    def scored(self, gold: Sequence[Any], predictions: Sequence[Any], examples: Sequence[Example]) -> "Scored | None":
        """The predicted entities, with the scores that `predict` prints."""
        from bertcli.metrics.calibration import Scored

        wanted = [{(mark.start, mark.end, mark.type) for mark in example.gold_marks} for example in examples]
        pairs = zip(wanted, examples, strict=True)
        marks = [(m.score, (m.start, m.end, m.type) in right) for right, shown in pairs for m in shown.predicted_marks]
        if not marks:
            return None
        scores, is_right = zip(*marks, strict=True)
        support = sum(map(len, wanted)) + sum(len(target.lost) for target in gold)
        return Scored("entities", np.array(scores), np.array(is_right), support)

    def classified(self, gold: Sequence[Any], predictions: Sequence[Any]) -> tuple[Array, Array]:
        """The logits and tags of all words that have both."""
        targets = np.concatenate([one.tags[: len(logits)] for one, logits in zip(gold, predictions, strict=True)])
        logits = np.concatenate([logits[: len(one.tags)] for one, logits in zip(gold, predictions, strict=True)])
        known = ~np.isnan(logits).any(1) & (targets != IGNORED)
        return logits[known].astype(np.float64), targets[known].astype(np.int64)


def _marks(text: str, offsets: Offsets, tags: Sequence[str], scores: Array | None = None) -> tuple[Mark, ...]:
    """The entities that tags spell, in code points; the score of each is the mean of its words'."""
    chances = None if scores is None else scores.tolist()  # NumPy is slow at many short means.
    return tuple(
        Mark(
            offsets[span.start][0], grapheme_end(text, offsets[span.start][0], offsets[span.end - 1][1]), span.type,
            None if chances is None else round(sum(chances[span.start : span.end]) / (span.end - span.start), DIGITS),
        )
        for span in entities.spans(tags)
    )  # fmt: skip


def iob2_labels(types: Iterable[str]) -> list[str]:
    """The labels of a model that finds entities of these types."""
    return ["O", *(f"{prefix}-{name}" for name in types for prefix in "BI")]


def with_new_names(spans: Iterable[Span], options: Options) -> list[Span]:
    """The entities with their types renamed by --map-labels, without those that it leaves out."""
    return [span._replace(type=name) for span in spans if (name := renamed(span.type, options))]


class ExternalTask(BaseExternalTask, Task):
    """A prediction has the form of a label: a tag for each word, and the types of entities that words do not make up.

    These count as wrong, as such gold entities count as missed.
    """

    names = ("tags", "entities")

    @classmethod
    def config_for(cls, options: Options, gold: Sequence[Record], results: Sequence[Record]) -> Mapping[str, Any]:
        """IOB2 labels of the types in both files."""
        records = [*gold, *usable(lambda result: cls._bare(options, result), results)]
        names = {renamed(name, options) for name in entity_labels.types_in(records, options)}
        return label_config(iob2_labels(sorted(names - {""})))

    @classmethod
    def _bare(cls, options: Options, result: Record) -> Record:
        """A record with only the stated entities, or tags; in a table's cell spaces part the tags."""
        value = from_cell(cls.value(options, result))
        value = value.split() if isinstance(value, str) else value
        are_tags = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
        return replace(result, fields={"tokens": value, "tags": value} if are_tags else {"entities": value})

    def external_prediction(self, record: Record, result: Record) -> Gold:
        """The tags of the record's words. Raises RecordError."""
        text, offsets = self.words(record)
        bare, lost = self._bare(self.options, result), list[Lost]()
        if "tags" not in bare.fields:
            with suppress(RecordError):  # Offsets are those of the result's own text, if it has the same words.
                text, offsets = self.words(result if self.read(result) == self.read(record) else record)
            spans, lost = entity_labels.spans_of_text(bare, text, offsets)
        elif len(bare.fields["tags"]) == len(offsets):
            spans = entity_labels.spans_of_tags(bare, "tags")
        else:
            raise RecordError(f"{len(bare.fields['tags'])} tags for {len(offsets)} tokens.")
        ids = self.tag_set.ids(with_new_names(spans, self.options), len(offsets))
        return Gold(ids, tuple(span.type for span in with_new_names([one.span for one in lost], self.options)))

    def tag(self, prediction: Any, count: int) -> tuple[list[int], Array]:
        """The stated tags, whose probabilities are not known and taken for 1."""
        return prediction.tags, np.ones(count)

    def metrics(self, gold: Sequence[Gold], predictions: Sequence[Any]) -> dict[str, Any]:
        """The metrics, with stated entities that words do not make up as wrong ones."""
        missed, wrong = ([label for one in side for label in one.lost] for side in (gold, predictions))
        right = [self._tags(one.tags) for one in gold]
        scores = entities.score(right, self._predicted(gold, predictions), missed, wrong)
        return scores | ({"misplaced_entities": len(missed)} if missed else {})

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        """The examples; one with such entities is wrong."""
        pairs = zip(super().examples(records, gold, predictions), predictions, strict=True)
        return [replace(example, right=example.right and not prediction.lost) for example, prediction in pairs]

    def columns(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        """The columns, with such entities at negative words, where no gold entity is."""
        columns = super().columns(gold, predictions)
        for spans, prediction in zip(columns["entities"], predictions, strict=True):
            spans += [[-1 - i, -1 - i, label] for i, label in enumerate(prediction.lost)]
        return columns
