"""Named entities: words and their pieces, windows, tags, and offsets that are exact whatever the text."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli import tokenizer, tokenizer_files
from bertcli.arrays import Features
from bertcli.data.records import Record
from bertcli.errors import RecordError
from bertcli.evaluation import digest
from bertcli.tasks.base import IGNORED
from bertcli.tasks.labels import relabelled
from bertcli.tasks.options import Options
from bertcli.tasks.texts import Mark
from bertcli.tasks.token_classification import UNSEEN, WORD, Gold, Task
from bertcli.tasks.token_classification.labels import spans_of_tags, types_in

LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
CONFIG = {"id2label": {str(i): label for i, label in enumerate(LABELS)}, "max_position_embeddings": 64}
HARD = [
    "👩‍👩‍👧‍👦 met 王小明 in 北京。", "e\u0301le\u0300ve Zoe\u0308", "a\tb\r\nc", "\u200b\ufeff", "", "  ", "🇩🇪🇫🇷",
    "ﬁn Ǆ İstanbul ß", "नमस्ते दुनिया", "a\u00ad-b", "x" * 300, "\x00 nul", "لا إله", "O'Neill's AT&T U.S.A. e-mail 3.14",
]  # fmt: skip
texts = st.one_of(st.text(max_size=80), st.sampled_from(HARD), st.lists(st.sampled_from(HARD)).map(" ".join))


@pytest.fixture(scope="module")
def tokens(tiny_model: Path) -> tokenizer.Tokenizer:
    return tokenizer_files.load(tiny_model, CONFIG)


def task(tokens: tokenizer.Tokenizer, **options: Any) -> Task:
    return Task(tokens, CONFIG, Options(**options))


def run(own: Task, record: Record, seed: int = 0) -> dict[str, Any]:
    """The result with logits that depend on nothing but the token, so that all windows say the same of a word."""
    (features,) = own.encode([record])
    assert isinstance(features, Features)
    table = np.random.default_rng(seed).normal(size=(100, len(LABELS))).astype(np.float32)
    return own.decode(record, own.combine(features, [{"logits": table[window.ids]} for window in features.windows]))


@given(text=texts, seed=st.integers(0, 9))
def test_every_entity_is_where_it_says_in_every_unit(tokens: tokenizer.Tokenizer, text: str, seed: int) -> None:
    record = Record(0, {"text": text})
    found = run(task(tokens), record, seed)["entities"]
    assert all(text[e["start"] : e["end"]] == e["text"] and e["text"] for e in found)
    assert all(0 <= e["score"] <= 1 for e in found)
    encodable = not any(0xD800 <= ord(c) <= 0xDFFF for c in text)
    for unit, encoding, size in (("utf16", "utf-16-le", 2), ("utf8", "utf-8", 1)):
        if encodable:
            raw = text.encode(encoding)
            others = run(task(tokens, offset_unit=unit), record, seed)["entities"]
            assert [raw[size * e["start"] : size * e["end"]].decode(encoding) for e in others] == [
                e["text"] for e in found
            ]


@given(words=st.lists(st.text(min_size=1, max_size=12), max_size=200))
def test_every_given_token_gets_a_tag_that_may_follow_the_one_before(
    tokens: tokenizer.Tokenizer, words: list[str]
) -> None:
    result = run(task(tokens), Record(0, {"tokens": words}), seed=len(words))
    assert len(result["tags"]) == len(words)
    assert result["text"] == " ".join(words)
    for before, tag in zip(["O", *result["tags"]], result["tags"], strict=False):
        assert tag[0] != "I" or before[2:] == tag[2:]


def test_a_token_of_300_characters_and_words_past_the_models_length(tokens: tokenizer.Tokenizer) -> None:
    words = ["good"] * 100 + ["x" * 300] + ["bad"] * 100
    own, record = task(tokens), Record(0, {"tokens": words})
    (features,) = own.encode([record])
    assert isinstance(features, Features) and len(features.windows) > 3
    begun = {word for window in features.windows for word in window.words or [] if word >= 0}
    assert begun == set(range(201))
    assert all(len(window.ids) <= 64 for window in features.windows)


def test_windows_say_of_a_long_text_what_one_window_would(tokens: tokenizer.Tokenizer, tiny_model: Path) -> None:
    wide = tokenizer_files.load(tiny_model, {"max_position_embeddings": 4096})
    record = Record(0, {"text": "good film the great plot of a lovely actor , " * 60})
    assert run(task(tokens), record, 3) == run(task(wide), record, 3)


def test_long_texts_may_be_cut_or_refused(tokens: tokenizer.Tokenizer) -> None:
    record = Record(0, {"tokens": ["good"] * 100})
    (cut,) = task(tokens, long="truncate").encode([record])
    assert isinstance(cut, Features) and cut.truncated and len(cut.windows) == 1
    (refused,) = task(tokens, long="error").encode([record])
    assert isinstance(refused, RecordError) and "64 tokens" in str(refused)


def test_a_word_without_pieces_is_outside(tokens: tokenizer.Tokenizer) -> None:
    assert run(task(tokens), Record(0, {"tokens": ["\u200b", "\ufeff"]}))["tags"] == ["O", "O"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("O'Neill's AT&T, U.S.A.!", ["O'Neill's", "AT&T", ",", "U.S.A", ".", "!"]),
        ("王小明 in 北京", ["王", "小", "明", "in", "北", "京"]),
        ("7.7 e-mail\tx\r\ny", ["7.7", "e-mail", "x", "y"]),
        ("(Rome) 😀Paris", ["(", "Rome", ")", "😀", "Paris"]),
        ("e\u0301le\u0300ve", ["e\u0301le\u0300ve"]),
        ("\ufeffRome\u200b \u200eBer\u00ad\u2060lin \u200b\x00", ["Rome", "Ber\u00ad\u2060lin"]),
        ("\u2764\ufe0fRome 北\U000e0100京\u200b。", ["\u2764", "Rome", "北", "京", "。"]),
    ],
)
def test_words_of_a_text(tokens: tokenizer.Tokenizer, text: str, words: list[str]) -> None:
    own, places = task(tokens).words(Record(0, {"text": text}))
    assert [own[start:end] for start, end in places] == words


@pytest.mark.parametrize(
    ("tags", "scheme", "expected"),
    [
        ("B-LOC I-LOC O", "auto", "B-LOC I-LOC O"),
        ("I-LOC I-LOC B-LOC", "iob1", "B-LOC I-LOC B-LOC"),
        ("B-LOC E-LOC S-PER", "bioes", "B-LOC I-LOC B-PER"),
        ("I-LOC I-LOC O", "io", "B-LOC I-LOC O"),
    ],
)
def test_tags_of_every_scheme_become_the_models(
    tokens: tokenizer.Tokenizer, tags: str, scheme: str, expected: str
) -> None:
    record = Record(0, {"tokens": ["a", "b", "c"], "tags": tags.split()})
    for given_scheme in ("auto", scheme):
        ids = task(tokens, scheme=given_scheme).label(record).tags
        assert " ".join(LABELS[i] for i in ids) == expected


def test_spans_of_a_text_become_tags(tokens: tokenizer.Tokenizer) -> None:
    fields = {"text": "good film by a", "entities": [{"start": 5, "end": 9, "type": "PER"}]}
    assert task(tokens).label(Record(0, fields)) == Gold([0, 3, 0, 0])
    assert task(tokens).label(Record(0, {**fields, "entities": [[0, 9, "LOC"]]})) == Gold([1, 2, 0, 0])
    stated = [{"start": 0, "end": 9, "type": "LOC", "text": text} for text in ("Good  Film", "good\\nfilm")]
    for entity in stated:  # case and white space are other in some tools
        assert task(tokens).label(Record(0, {**fields, "entities": [entity]})) == Gold([1, 2, 0, 0])


@pytest.mark.parametrize(
    ("text", "given", "tags", "lost"),
    [
        ("iPhone4 film", [[0, 6, "LOC"]], [IGNORED, 0], ("LOC",)),
        ("a b", [[0, 3, "LOC"], [2, 3, "PER"]], [1, 2], ("PER",)),
        ("a b c", [[2, 5, "PER"], [0, 3, "LOC"]], [1, 2, IGNORED], ("PER",)),
        ("a b", [[2, 3, "LOC"], [0, 3, "PER"], [0, 3, "LOC"]], [3, 4], ("LOC", "LOC")),
        ("a  b", [[1, 3, "LOC"]], [0, 0], ("LOC",)),
        ("a ", [[0, 2, "LOC"]], [IGNORED], ("LOC",)),
        ("a b", [{"start": 0, "end": 1, "type": "LOC", "text": "b"}, [2, 3, "PER"]], [IGNORED, 3], ("LOC",)),
    ],
)
def test_an_entity_that_no_words_make_up_is_counted_and_missed(
    tokens: tokenizer.Tokenizer, text: str, given: list[Any], tags: list[int], lost: tuple[str, ...]
) -> None:
    own = task(tokens)
    gold = own.label(Record(0, {"text": text, "entities": given}))
    assert gold.tags == tags and gold.lost == lost
    scores = own.metrics([gold], [np.full((len(tags), 5), np.nan, np.float32)])
    assert scores["support"] == len(given) and scores["misplaced_entities"] == len(lost)
    assert own.warnings([gold]) == [
        f"{len(lost)} entities begin or end inside a word, overlap another or have gaps; they teach nothing"
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": ["a"], "tags": ["B-ORG"]}, "unknown label 'B-ORG'; the model's labels are: O, B-LOC"),
        ({"tokens": ["a"], "tags": ["O", "O"]}, "2 tags for 1 tokens"),
        ({"tokens": ["a"], "tags": ["X-LOC"]}, "'X-LOC' is no tag"),
        ({"tokens": "a", "tags": ["O"]}, "field 'tokens' is not a list of texts"),
        ({"tokens": ["a"]}, "no field 'tags'"),
        ({"text": "ab", "entities": [[0, 3, "LOC"]]}, "the entity at 0 to 3 is not in the text of 2 characters"),
        ({"text": "ab", "entities": [[1, 1, "LOC"]]}, "the entity at 1 to 1 is not in the text"),
        ({"text": "a b", "entities": [[0, 1, "ORG"]]}, "unknown label 'B-ORG'"),
        ({"text": "a b", "entities": None}, "field 'entities' is not a list"),
        ({"text": "a", "entities": [{"start": 0}]}, "write start, end and type"),
        ({"text": "a", "entities": [["0", 1, "LOC"]]}, "start and end are integers"),
        ({"text": 3, "entities": []}, "field 'text' is int, not text"),
        ({"text": "a"}, "no 'entities', nor 'tokens' with 'tags' (the record has: text); --input-format conll"),
    ],
)
def test_what_cannot_be_learned_says_why(tokens: tokenizer.Tokenizer, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=r".*") as error:
        task(tokens).label(Record(0, fields))
    assert message in str(error.value)


def test_a_forced_scheme_refuses_another(tokens: tokenizer.Tokenizer) -> None:
    record = Record(0, {"tokens": ["a", "b"], "tags": ["I-LOC", "O"]})
    with pytest.raises(RecordError, match="the tag I-LOC of token 1 is not iob2, which would have B-LOC there"):
        task(tokens, scheme="iob2").label(record)


def test_the_metrics_count_every_gold_entity_and_list_the_wrong_sentences(tokens: tokenizer.Tokenizer) -> None:
    own = task(tokens)
    gold = [Gold([1, 2, 0]), Gold([3])]
    logits = [np.eye(5, dtype=np.float32)[[1, 2, 3]] * 9, np.full((1, 5), np.nan, np.float32)]
    scores = own.metrics(gold, logits)
    assert (scores["support"], scores["precision"], scores["recall"]) == (2, 0.5, 0.5)
    records = [Record(0, {"tokens": ["New", "York", "Ann"]}), Record(1, {"tokens": ["x"]})]
    wrong, missed = own.examples(records, gold, logits)
    assert (wrong.right, wrong.text, wrong.predicted) == (False, "New York Ann", ["B-LOC", "I-LOC", "B-PER"])
    assert wrong.gold_marks == (Mark(0, 8, "LOC"),)
    assert [(mark.start, mark.end, mark.type) for mark in wrong.predicted_marks] == [(0, 8, "LOC"), (9, 12, "PER")]
    assert (missed.right, missed.predicted, missed.predicted_marks) == (False, ["O"], ())
    assert own.examples(records[:1], [Gold([1, 2, 3])], logits[:1])[0].right is True
    weights = np.ones((1, 2))
    found = own.resampled(gold, own.columns(gold, logits))(weights)
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(
        {name: scores[name] for name in found}
    )
    decided = own.scored(gold, logits, [wrong, missed])
    assert (decided.items, decided.right.tolist(), decided.support) == ("entities", [True, False], 2)
    assert set(own.directions) <= set(scores)


@pytest.mark.parametrize(
    ("labels", "f1"),
    [
        (["O", "B-P", "I-P"], 1.0),
        (["O", "I-P", "E-P", "B-P", "S-P"], 1.0),
        (["O", "I-P"], 4 / 7),  # two neighbours are one to it: that is wrong, and both are missed
        (["P", "O"], 4 / 7),
        (["I-P", "O", "B-Q"], 4 / 7),
    ],
)
def test_gold_entities_are_the_datas_whatever_the_models_tags_can_spell(
    tokens: tokenizer.Tokenizer, labels: list[str], f1: float
) -> None:
    rows = [["B-P", "B-P", "I-P", "O"], ["B-P"], ["O"], ["B-P", "I-P"]]
    records = [Record(0, {"tokens": ["x"] * len(row), "tags": row}) for row in rows]
    own = Task(tokens, {"id2label": dict(enumerate(labels))}, Options())
    gold = [own.label(record) for record in records]
    spelt = [own.tag_set.ids(spans_of_tags(record, "tags"), len(record.fields["tags"])) for record in records]
    logits = [np.eye(len(labels), dtype=np.float32)[ids] * 9 for ids in spelt]
    scores = own.metrics(gold, logits)
    assert (scores["support"], scores["f1"]) == (4, pytest.approx(f1))
    found = own.resampled(gold, own.columns(gold, logits))(np.ones((1, len(gold))))
    assert float(found["f1"][0]) == pytest.approx(f1)


def test_models_of_several_schemes_are_compared_on_the_same_data(tokens: tokenizer.Tokenizer) -> None:
    record = Record(0, {"tokens": ["Tim", "Cook", "x", "Rome"], "tags": ["B-PER", "I-PER", "O", "B-LOC"]})
    shown = []
    bioes = ["O", *(f"{prefix}-{name}" for name in ("LOC", "PER") for prefix in "BIES")]
    for labels in (LABELS, ["O", "I-LOC", "I-PER"], bioes):
        own = Task(tokens, {"id2label": dict(enumerate(labels))}, Options())
        gold = own.label(record)
        shown += own.examples([record], [gold], [np.eye(len(labels), dtype=np.float32)[gold.tags] * 9])
    assert [(example.gold, example.right) for example in shown] == [(record.fields["tags"], True)] * 3
    assert len({digest([example]) for example in shown}) == 1


TEXT, WORDS = "Tim Cook", ["Tim", "Cook"]
OBJECTS = [{"text": "Tim", "start": 0, "end": 3, "id": 0}]


@pytest.mark.parametrize(
    ("fields", "is_named", "words"),
    [
        ({"text": TEXT, "tokens": OBJECTS}, False, WORDS),  # as Prodigy writes them
        ({"text": TEXT, "tokens": OBJECTS}, True, WORDS),
        ({"text": TEXT, "tokens": ["a"]}, False, ["a"]),
        ({"text": TEXT, "tokens": ["a"]}, True, WORDS),
        ({"text": TEXT, "tokens": ["a"], "tags": ["O"]}, True, ["a"]),  # only these have labels
        ({"text": TEXT, "tokens": ["a"], "tags": ["O"], "entities": []}, True, WORDS),
        ({"tokens": ["a"]}, True, ["a"]),
        ({"text": 7, "tokens": ["a"]}, True, ["a"]),
        ({"text": TEXT, "tokens": None, "tags": ["O"]}, False, WORDS),  # a table's column that other rows fill
    ],
)
def test_a_text_field_that_was_named_wins_over_tokens(
    tokens: tokenizer.Tokenizer, fields: dict[str, Any], is_named: bool, words: list[str]
) -> None:
    own = task(tokens, text_first=is_named)
    assert own.read(Record(fields=fields)) == words
    shown = run(own, Record(fields=fields))
    assert ("tags" in shown) is (words == ["a"])


def test_tags_that_are_numbers_say_where_their_names_are(tokens: tokenizer.Tokenizer) -> None:
    with pytest.raises(RecordError, match="not a list of tags; if they are numbers, Parquet files of `datasets` have"):
        task(tokens).label(Record(fields={"tokens": WORDS, "ner_tags": [1, 2], "tags": [1, 2]}))


def test_tokens_that_are_objects_need_a_text(tokens: tokenizer.Tokenizer) -> None:
    (refused,) = task(tokens).encode([Record(fields={"tokens": OBJECTS})])
    assert str(refused) == "field 'tokens' is not a list of texts; --text-field names a text to read instead."


@pytest.mark.parametrize(
    "fields", [{"tokens": WORDS, "tags": ["B-PER", "I-PER"]}, {"text": TEXT, "entities": [[0, 8, "PER"]]}]
)
@pytest.mark.parametrize("write", [json.dumps, repr])  # the latter as to_csv of pandas
def test_lists_in_a_cell_of_a_table_are_lists(
    tokens: tokenizer.Tokenizer, fields: dict[str, Any], write: Callable[[Any], str]
) -> None:
    cells = {name: value if name == "text" else write(value) for name, value in fields.items()}
    assert task(tokens).label(Record(fields=cells)) == task(tokens).label(Record(fields=fields)) == Gold([3, 4])
    (renamed,) = relabelled(Task, [Record(fields=cells)], Options(map_labels={"PER": "LOC"}), several=False)
    assert task(tokens).label(renamed) == Gold([1, 2])


def test_what_is_no_list_of_tokens_has_no_tags(tokens: tokenizer.Tokenizer) -> None:
    good = Record(fields={"tokens": ["a"], "tags": ["B-LOC"]})
    assert types_in([Record(fields={"tokens": 5, "tags": ["B-X"]}), good], Options()) == ["LOC"]
    row = Record(fields={"text": TEXT, "entities": [[0, 3, "PER"]], "tokens": None, "tags": None})
    assert task(tokens).label(row).tags == [3, 0]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tags": ["B-GPE", "I-GPE", "O", "B-X", "S-LOC"]}, {"tags": ["B-LOC", "I-LOC", "O", "O", "S-LOC"]}),
        ({"tags": ["I-GPE", "I-LOC"]}, {"tags": ["B-LOC", "B-LOC"]}),  # two entities stay two, also of one type
        ({"tags": ["I-LOC", "O"]}, {"tags": ["I-LOC", "O"]}),  # as they were written
        ({"tags": ["nonsense"]}, {"tags": ["nonsense"]}),  # which Task.label refuses
    ],
)
def test_tags_are_renamed_in_their_scheme(fields: dict[str, list[str]], expected: dict[str, list[str]]) -> None:
    words = {"tokens": ["w"] * len(fields["tags"])}
    options = Options(map_labels={"GPE": "LOC", "X": ""})
    (changed,) = relabelled(Task, [Record(fields=words | fields)], options, several=False)
    assert changed.fields == words | expected


def test_entities_of_a_text_are_renamed() -> None:
    entities = [{"start": 0, "end": 1, "label": "GPE", "id": 7}, [2, 3, "X"], [4, 5, "GPE"]]
    options = Options(map_labels={"GPE": "LOC", "X": ""})
    (changed,) = relabelled(Task, [Record(fields={"text": "a b c", "entities": entities})], options, several=False)
    assert changed.fields["entities"] == [
        {"start": 0, "end": 1, "label": "GPE", "id": 7, "type": "LOC"}, [4, 5, "LOC"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    "item", [{"start": 0, "end": 1, "type": "A", "fragments": 5}, [0, 1, " "], [0.0, 1.0, "A"], [0, 1]]
)
def test_what_is_no_entity_is_refused(tokens: tokenizer.Tokenizer, item: Any) -> None:
    with pytest.raises(RecordError, match="is no entity"):
        task(tokens).label(Record(fields={"text": "a", "entities": [item]}))
    with pytest.raises(RecordError, match="is no entity"):  # before anybody asks which types there are
        task(tokens).label_fields(Record(fields={"text": "a", "entities": [item]}))


def test_blanks_around_the_type_of_an_entity_are_none_of_it() -> None:
    assert types_in([Record(fields={"text": "a", "entities": [[0, 1, "A "]]})], Options()) == ["A"]


def test_white_space_and_what_nobody_sees_are_no_words() -> None:
    hidden = re.compile(rf"\s|[{UNSEEN}]")
    everything = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    alone = [letter for letter in everything if hidden.match(letter)]
    assert "\u3000" in alone and "\u2060" in alone
    assert not any(re.search(WORD, letter) for letter in alone)
