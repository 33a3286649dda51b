"""A model's own tags, in whatever scheme its labels are, and entities that end where a reader sees them end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertcli import tokenizer_files
from bertcli.data.records import Record
from bertcli.tasks.base import Options
from bertcli.tasks.texts import grapheme_end, grapheme_start, in_offset_unit
from bertcli.tasks.token_classification import Task
from bertcli.tasks.token_classification.labels import TagSet, spans_of_tags

CONLL = ["B-LOC", "B-MISC", "B-ORG", "I-LOC", "I-MISC", "I-ORG", "I-PER", "O"]  # of two models that are much downloaded


def logits(labels: list[str], wanted: list[str | None]) -> "np.ndarray[Any, Any]":
    """Such that each word's label is the wanted one; None for a word that has no pieces."""
    rows = [[np.nan] * len(labels) if name is None else [5.0 * (label == name) for label in labels] for name in wanted]
    return np.array(rows, np.float32)


@pytest.mark.parametrize(
    ("labels", "scheme", "wanted", "spans"),
    [
        (CONLL, "iob1", ["I-PER", "I-PER", "O", "I-LOC", "B-LOC"], [(0, 2, "PER"), (3, 4, "LOC"), (4, 5, "LOC")]),
        (["O", "B-PER", "I-PER"], "iob2", ["B-PER", "I-PER", "O"], [(0, 2, "PER")]),
        (["O", "I-PER", "I-LOC"], "io", ["I-PER", "I-PER", "I-LOC"], [(0, 2, "PER"), (2, 3, "LOC")]),
        (["O", "PER", "LOC"], "io", ["PER", "PER", "O", "LOC"], [(0, 2, "PER"), (3, 4, "LOC")]),
        (["NOUN", "VERB"], "words", ["NOUN", "NOUN", "VERB"], [(0, 1, "NOUN"), (1, 2, "NOUN"), (2, 3, "VERB")]),
        (["LABEL_0", "LABEL_1"], "words", ["LABEL_1", "LABEL_0"], [(0, 1, "LABEL_1"), (1, 2, "LABEL_0")]),
        (["O", "B-P", "I-P", "L-P", "U-P"], "bioes", ["B-P", "L-P", "U-P"], [(0, 2, "P"), (2, 3, "P")]),
        (["O", "B-PER", "I-PER", "X", "[CLS]", "[SEP]"], "iob2", ["B-PER", "X", "O"], [(0, 1, "PER")]),
        (["O", "B-P", "M-P", "E-P", "S-P"], "bioes", ["B-P", "M-P", "E-P", "S-P"], [(0, 3, "P"), (3, 4, "P")]),  # BMES
        (["O", "B-P", "M-P", "E-P", "W-P"], "bioes", ["B-P", "E-P", "W-P", "O"], [(0, 2, "P"), (2, 3, "P")]),  # BMEWO
        (["O", "B-P", "I-P", "S-P"], "bioes", ["B-P", "I-P", "O", "S-P"], [(0, 2, "P"), (3, 4, "P")]),
        (["O", "E-P", "I-P"], "bioes", ["I-P", "E-P", "E-P", "O"], [(0, 2, "P"), (2, 3, "P")]),
        (["I-P", "E-P", "O"], "bioes", ["E-P", "E-P", "I-P", "I-P", "E-P"], [(0, 1, "P"), (1, 2, "P"), (2, 5, "P")]),
        (["O", "PER-B", "PER-I"], "iob2", ["PER-B", "PER-I", "PER-B"], [(0, 2, "PER"), (2, 3, "PER")]),
        (["O", "B_PER", "I_PER"], "iob2", ["B_PER", "I_PER", "O"], [(0, 2, "PER")]),
        (["o", "b-per", "i-per"], "iob2", ["b-per", "i-per", "o"], [(0, 2, "per")]),
        (["o", "per"], "io", ["per", "per", "o"], [(0, 2, "per")]),
        (["O", "NAME", "E-MAIL"], "io", ["NAME", "O", "E-MAIL"], [(0, 1, "NAME"), (2, 3, "E-MAIL")]),
        (["O", "B-CELL", "T-CELL"], "io", ["B-CELL", "T-CELL"], [(0, 1, "B-CELL"), (1, 2, "T-CELL")]),
        (["O", "B-work-of-art", "I-work-of-art"], "iob2", ["B-work-of-art", "I-work-of-art"], [(0, 2, "work-of-art")]),
    ],
)  # fmt: skip
def test_the_scheme_is_read_off_the_labels(
    labels: list[str], scheme: str, wanted: list[str | None], spans: list[Any]
) -> None:
    tag_set = TagSet(labels)
    assert tag_set.scheme == scheme
    ids, chances = tag_set.best(logits(labels, wanted), len(wanted), 1.0)
    assert [labels[i] for i in ids] == wanted and (chances > 0.8).all()
    assert tag_set.spans(ids) == spans
    assert tag_set.spans(tag_set.ids(tag_set.spans(ids), len(ids))) == spans  # what is learnt is what is read


def test_iob2_forbids_what_it_has_no_use_for() -> None:
    labels = ["O", "B-PER", "I-PER"]
    ids, _ = TagSet(labels).best(logits(labels, ["O", "I-PER", "O"]), 3, 1.0)
    assert 2 not in ids


def test_a_word_without_pieces_belongs_to_the_entity_around_it() -> None:
    labels = ["O", "B-PER", "I-PER"]
    tag_set = TagSet(labels)
    for wanted, spans in (
        (["B-PER", None, "I-PER"], [(0, 3, "PER")]),
        (["B-PER", None, "B-PER"], [(0, 1, "PER"), (2, 3, "PER")]),
        (["B-PER", None], [(0, 1, "PER")]),
        ([None, "B-PER"], [(1, 2, "PER")]),
    ):
        ids, _ = tag_set.best(logits(labels, wanted), len(wanted), 1.0)
        assert tag_set.spans(ids) == spans


def test_a_word_without_pieces_is_the_part_of_speech_before_it() -> None:
    labels = ["ADJ", "NOUN", "VERB"]
    wanted = [None, "NOUN", None, "VERB", None]
    ids, chances = TagSet(labels).best(logits(labels, wanted), 5, 1.0)
    assert [labels[i] for i in ids] == ["NOUN", "NOUN", "NOUN", "VERB", "VERB"]
    assert (chances < 1).all() and chances[1] == chances[2]


@pytest.mark.parametrize(
    ("text", "cut", "end"),
    [
        ("Zoe\u0308 met", 3, 4),  # NFD
        ("नई दिल्ली में", 8, 9),  # a vowel sign of category Mc
        ("ปารีสๆ", 2, 2), ("กำ ", 1, 2),  # Thai
        ("🇩🇪 won", 1, 2),  # both letters of a flag
        ("❤\ufe0f you", 1, 2), ("👩\u200d👧 x", 1, 3),
        ("plain text", 5, 5), ("", 0, 0), ("a\u0301", 1, 2),
    ],
)  # fmt: skip
def test_an_end_takes_in_what_a_reader_sees_as_one_character(text: str, cut: int, end: int) -> None:
    assert grapheme_end(text, 0, cut) == end


@pytest.mark.parametrize(
    ("text", "cut", "start"),
    [
        ("met Zoe\u0308", 7, 6), ("हिन्दी", 1, 0), ("नहीं कि", 6, 5),  # as pieces of bytes or of SentencePiece may begin
        ("a 🇩🇪🇫🇷", 5, 4), ("a 🇩🇪🇫🇷", 4, 4), ("👩\u200d👧", 2, 0), ("가\u11a8", 1, 0),
        ("中文", 1, 1), ("ab", 1, 1), ("a", 1, 1),
        ("a" + "\u0301" * 100, 90, 60),
    ],
)  # fmt: skip
def test_a_start_takes_in_what_a_reader_sees_as_one_character(text: str, cut: int, start: int) -> None:
    assert grapheme_start(text, cut) == start


def test_positions_are_counted_in_one_pass() -> None:
    text = "a\u00e9😀b" * 1000
    positions = [0, 3, 4, 2000, 4000]
    assert in_offset_unit(text, positions, "utf8") == {i: len(text[:i].encode()) for i in positions}
    assert in_offset_unit(text, positions, "utf16") == {i: len(text[:i].encode("utf-16-le")) // 2 for i in positions}
    assert in_offset_unit(text, positions, "codepoint") == {i: i for i in positions}


def test_a_word_holds_whole_characters_so_that_no_two_entities_share_one(tiny_model: Path) -> None:
    config = {"id2label": {str(i): label for i, label in enumerate(["O", "B-LOC", "I-LOC"])}}
    task = Task(tokenizer_files.load(tiny_model, config), config, Options())
    words = ["in", "🇩🇪", "🇫🇷", "👍🏽", "👩\u200d💻", "❤\ufe0f\u200d🔥", "👍", "!", "中", "🇩"]
    text = "in 🇩🇪🇫🇷 👍🏽👩\u200d💻❤\ufe0f\u200d🔥👍 !中🇩"
    _, offsets = task.words(Record(0, {"text": text}))
    assert [text[start:end] for start, end in offsets] == words
    shown = task.decode(Record(0, {"text": text}), logits(task.labels, ["B-LOC"] * len(words)))["entities"]
    assert [entity["text"] for entity in shown] == words


def test_of_joined_emoji_without_end_a_part_is_taken_to_be_one() -> None:
    family = "\U0001f469\u200d" * 3
    assert grapheme_end(family, 0, 1) == len(family)
    assert [grapheme_end(family * 1000, start, start + 1) for start in (0, 1000)] == [31, 1031]


def test_tags_without_a_type_are_of_one() -> None:
    record = Record(0, {"tokens": list("abcde"), "tags": ["B", "I", "B", "O", "S"]})
    assert spans_of_tags(record, "tags") == [(0, 2, "ENTITY"), (2, 3, "ENTITY"), (4, 5, "ENTITY")]
    tags = TagSet(["O", "B", "I"])
    assert (tags.scheme, tags.types, tags.spans([1, 2, 1, 0])) == (
        "iob2",
        ["ENTITY"],
        [(0, 2, "ENTITY"), (2, 3, "ENTITY")],
    )
    assert TagSet(["O", "B", "I", "PER"]).types == ["B", "I", "PER"]  # names of types, since one is
