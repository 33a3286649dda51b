"""Questions: spans of the context only, exact whatever the text, on one scale over windows; gold answers."""

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
from bertcli.tasks.options import Options
from bertcli.tasks.question_answering import LONGEST, NO_ANSWER, Gold, Span, Task, distinct
from tests.tasks.test_token_classification import texts

CONFIG: dict[str, Any] = {"max_position_embeddings": 64}


@pytest.fixture(scope="module")
def tokens(tiny_model: Path) -> tokenizer.Tokenizer:
    return tokenizer_files.load(tiny_model, CONFIG)


def task(tokens: tokenizer.Tokenizer, **options: Any) -> Task:
    return Task(tokens, CONFIG, Options(**options))


def run(own: Task, record: Record, seed: int = 0, shift: bool = False) -> dict[str, Any]:
    """The result with logits of the token alone; shift: plus a number of the window's own."""
    (features,) = own.encode([record])
    assert isinstance(features, Features), features
    random = np.random.default_rng(seed)
    table = random.normal(size=(100, 2)).astype(np.float32)
    outputs = []
    for window in features.windows:
        logits = table[window.ids] + (np.float32(random.normal(scale=50)) if shift else 0)
        outputs.append({"start_logits": logits[:, 0], "end_logits": logits[:, 1]})
    return own.decode(record, own.combine(features, outputs))


def record(question: str, context: str, **fields: Any) -> Record:
    return Record(0, {"question": question, "context": context, **fields})


@given(question=texts.map(lambda text: text[:20]), context=texts, seed=st.integers(0, 9))
def test_an_answer_is_where_it_says_in_every_unit(
    tokens: tokenizer.Tokenizer, question: str, context: str, seed: int
) -> None:
    given = record(question, context)
    found = run(task(tokens, top_k=5), given, seed)
    for answer in [found, *found["answers"]]:
        assert 0 <= answer["score"] <= 1
        if answer["start"] is not None:
            assert answer["answer"] == context[answer["start"] : answer["end"]] != ""
        else:
            assert answer["answer"] == ""
    places = [(answer["start"], answer["end"]) for answer in found["answers"]]
    assert len(set(places)) == len(places)
    scores = [answer["score"] for answer in found["answers"]]
    assert scores == sorted(scores, reverse=True) and sum(scores) <= 1 + 1e-5
    if found["start"] is not None and not any(0xD800 <= ord(c) <= 0xDFFF for c in context):
        for unit, encoding, size in (("utf16", "utf-16-le", 2), ("utf8", "utf-8", 1)):
            other = run(task(tokens, offset_unit=unit), given, seed)
            raw = context.encode(encoding)
            assert raw[size * other["start"] : size * other["end"]].decode(encoding) == found["answer"]


def test_windows_with_other_constants_are_on_one_scale(tokens: tokenizer.Tokenizer) -> None:
    context = " ".join(["the film was good", "bad plot", "a great actor"] * 20)
    one = run(task(tokens, top_k=9), record("was it good", context))
    other = run(task(tokens, top_k=9), record("was it good", context), shift=True)
    assert [(a["start"], a["end"]) for a in one["answers"]] == [(a["start"], a["end"]) for a in other["answers"]]
    assert [a["score"] for a in one["answers"]] == pytest.approx([a["score"] for a in other["answers"]], abs=1e-4)


def test_every_token_of_the_context_is_in_a_window_with_the_whole_question(tokens: tokenizer.Tokenizer) -> None:
    context = " ".join(f"good{i % 10} film" for i in range(150))
    (features,) = task(tokens).encode([record("was the plot dull", context)])
    assert isinstance(features, Features) and len(features.windows) > 3
    shown = set()
    for window in features.windows:
        assert window.offsets is not None and len(window.ids) <= 64
        assert window.ids[1:5] == features.windows[0].ids[1:5]
        shown |= {i for start, end in window.offsets for i in range(start, end)}
    assert shown == {i for i, character in enumerate(context) if character != " "}


def test_the_best_span_is_found_as_by_trying_all(tokens: tokenizer.Tokenizer) -> None:
    context = " ".join(["film", "plot", "actor", "scene", "good"] * 9)
    own = task(tokens)
    (features,) = own.encode([record("a", context)])
    assert isinstance(features, Features)
    (window,) = features.windows
    random = np.random.default_rng(3)
    start, end = random.normal(size=(2, len(window.ids)))
    found = own.combine(features, [{"start_logits": start, "end_logits": end}])
    assert window.offsets is not None
    inside = np.flatnonzero(window.offsets[:, 0] >= 0).tolist()
    score, i, k = max(
        (start[i] + end[k] - start[0] - end[0], i, k) for i in inside for k in inside if i <= k < i + LONGEST
    )
    assert (found[0].start, found[0].end) == (window.offsets[i][0], window.offsets[k][1])
    assert found[0].score == pytest.approx(score)


@pytest.mark.parametrize("context", ["", "  \t", "\u200b"])
def test_a_context_without_words_has_no_answer(tokens: tokenizer.Tokenizer, context: str) -> None:
    found = run(task(tokens, top_k=3), record("good", context))
    assert found == {
        "answer": "", "start": None, "end": None, "score": 1.0,
        "answers": [{"answer": "", "start": None, "end": None, "score": 1.0}],
    }  # fmt: skip


def test_the_threshold_decides_whether_there_is_an_answer(tokens: tokenizer.Tokenizer) -> None:
    given = record("good", "the film was bad")
    assert run(task(tokens, null_threshold=-99.0), given)["answer"]
    none = run(task(tokens, null_threshold=99.0, top_k=2), given)
    assert none["answer"] == "" and none["start"] is None and none["answers"][1]["answer"]
    stored = Task(tokens, {**CONFIG, "null_threshold": 99.0}, Options())
    assert run(stored, given)["answer"] == ""


def test_a_refused_question_scores_as_its_answer_of_nothing(tokens: tokenizer.Tokenizer) -> None:
    """As in SQuAD 2.0's script a question whose answers have no word has none, so that nothing is right there."""
    own = task(tokens, null_threshold=99.0)
    records = [record("good", "The film", answers=answers) for answers in (["The"], ["film"], [])]
    gold, predictions = list(map(own.label, records)), [[Span(1.0, 4, 8)]] * 3
    examples = own.examples(records, gold, predictions)
    assert [(one.predicted, one.right) for one in examples] == [("", True), ("", False), ("", True)]
    metrics = own.metrics(gold, predictions)
    assert metrics["exact_match"] == metrics["f1"] == 2 / 3
    assert metrics["questions"]["answerable"] == {"exact_match": 0.5, "f1": 0.5, "count": 2}


def test_an_accent_is_not_parted_from_its_letter(tokens: tokenizer.Tokenizer) -> None:
    context = "film good\u0301 plot"
    found = run(task(tokens, top_k=20), record("a", context))["answers"]
    assert all(answer["end"] != 9 for answer in found)


def test_an_accent_with_a_piece_of_its_own_makes_no_second_answer(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "e", "##\u0301", "a"]))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    own = Task(tokenizer_files.load(tmp_path, CONFIG), CONFIG, Options(top_k=9))
    answers = run(own, record("a", "e\u0301 a"))["answers"]
    places = [(answer["start"], answer["end"]) for answer in answers]
    assert sorted(places) == [(0, 2), (0, 4), (3, 4)]


@pytest.mark.parametrize("null_threshold", [None, -99.0, 99.0])
def test_an_evaluation_has_the_scores_of_predict(tmp_path: Path, null_threshold: float | None) -> None:
    """Also where two spans are one answer, for they differ in pieces of its last character."""
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "e", "##\u0301", "a"]))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    own = Task(tokenizer_files.load(tmp_path, CONFIG), CONFIG, Options(null_threshold=null_threshold))
    asked, spans = record("a", "e\u0301 a", answers=["a"]), [Span(1.0, 0, 1), Span(0.5, 0, 2), Span(0.0, 3, 4)]
    (example,) = own.examples([asked], [own.label(asked)], [spans])
    predicted = own.decode(asked, spans)
    assert (example.predicted, example.score) == (predicted["answer"], predicted["score"])


def test_what_cannot_be_asked_is_an_error_record(tokens: tokenizer.Tokenizer) -> None:
    records = [
        record("good " * 60, "bad"), Record(0, {"context": "a"}), Record(0, {"question": "a"}),
        record("good", 3), Record(0, {"question": ["a"], "context": "b"}),  # type: ignore[arg-type]
    ]  # fmt: skip
    messages = [str(error) for error in task(tokens).encode(records) if isinstance(error, RecordError)]
    assert len(messages) == 5
    assert "the question has 60 tokens; 30 leave room" in messages[0]
    assert (
        "SQuAD's JSON and JSONL have one with each context, and the --question of predict" in messages[1]
        and "--text-field" in messages[2]
    )
    (cut,) = task(tokens, long="truncate").encode(records[:1])
    assert isinstance(cut, Features) and cut.truncated


CONTEXT = "the cat sat by the cat on the mat"


@pytest.mark.parametrize(
    ("answers", "target", "moved", "lost"),
    [
        ([{"text": "cat", "answer_start": 4}], (4, 7), 0, 0),
        ([{"text": "cat", "answer_start": 18}], (19, 22), 1, 0),
        ([{"text": "cat", "answer_start": 5}], (4, 7), 1, 0),
        ([{"text": "cat", "answer_start": 999}], (19, 22), 1, 0),
        ([{"text": "dog", "answer_start": 4}], None, 0, 1),
        ([{"text": "mat", "answer_start": 30}, {"text": "cat", "start": 4}, {"text": "cat", "start": 4}], (4, 7), 0, 0),
        ({"text": ["mat"], "answer_start": [30]}, (30, 33), 0, 0),
        (["mat"], (30, 33), 0, 0),
        ("mat", (30, 33), 0, 0),
        ([], NO_ANSWER, 0, 0),
        ('[{"text": "mat", "answer_start": 30}]', (30, 33), 0, 0),  # as --format csv writes lists
        ("", NO_ANSWER, 0, 0),  # as a cell of a table has it
        ([{"text": "", "answer_start": 0}, {"text": "mat", "answer_start": 30}], (30, 33), 0, 0),
    ],
)
def test_answers_are_found_where_they_are(
    tokens: tokenizer.Tokenizer, answers: Any, target: tuple[int, int] | None, moved: int, lost: int
) -> None:
    gold = task(tokens).label(record("q", CONTEXT, answers=answers))
    assert (gold.target, gold.moved, gold.lost) == (target, moved, lost)
    said = task(tokens).warnings([gold])
    assert len(said) == bool(moved) + bool(lost)


def test_context_and_answers_may_have_other_names(tokens: tokenizer.Tokenizer) -> None:
    """What is kept of a record for its label has them, too."""
    own = task(tokens, text_field="doc.text", label_field="doc.gold")
    given = Record(fields={"question": "q", "doc": {"text": CONTEXT, "gold": "mat"}, "answers": "cat"})
    assert own.label(given) == own.label(Record(fields=own.label_fields(given))) == Gold(CONTEXT, ("mat",), (30, 33))


@pytest.mark.parametrize(
    "answers",
    [
        [{"text": 3}],
        [{"answer_start": 3}],
        [7],
        [{"text": "a", "answer_start": "b"}],
        None,
        5,
        [None],
        {"answer_start": [0]},
        {"text": 5},
        [{"text": "cat", "answer_start": True}],
    ],
)
def test_what_is_no_answer_is_a_fault(tokens: tokenizer.Tokenizer, answers: Any) -> None:
    with pytest.raises(RecordError, match="is no answer; write its text and answer_start"):
        task(tokens).label(record("q", CONTEXT, answers=answers))


def test_columns_of_answers_have_one_length(tokens: tokenizer.Tokenizer) -> None:
    given = {"text": ["cat", "mat"], "answer_start": [4]}
    with pytest.raises(RecordError, match="as many answer_start as text are needed"):
        task(tokens).label(record("q", CONTEXT, answers=given))
    assert task(tokens).label(record("q", CONTEXT, answers={**given, "answer_start": []})).target == (4, 7)
    assert task(tokens).label(record("q", CONTEXT, answers={"text": "mat"})).target == (30, 33)


def test_an_empty_question_is_one_too(tokens: tokenizer.Tokenizer) -> None:
    found = run(task(tokens, question=""), Record(0, {"text": "good film"}))
    assert found["question"] == "" and found["answer"]


def test_an_answer_is_whole_characters_at_both_ends_and_of_equal_ones_the_best_is_kept() -> None:
    context = "वह दिल्ली में है"
    spans = [Span(3.0, 4, 8), Span(2.0, 3, 9), Span(1.0, 11, 12)]
    assert distinct(context, spans) == [Span(3.0, 3, 9), Span(1.0, 10, 13)]
