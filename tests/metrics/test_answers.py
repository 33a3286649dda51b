"""Answers against the SQuAD script that torchmetrics carries, and against CMRC 2018's rules, worked out by hand."""

import json
import lzma
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nltk.tokenize import word_tokenize
from torchmetrics.functional.text import squad

from bertcli.metrics import answers

WORDS = st.sampled_from(
    ["the", "A", "an", "Cat", "cat's", "dog", "u.s.", "3.14", "theory", "é", "-", "!", "the\u00a0end", "İ"]
)
TEXTS = st.lists(WORDS, max_size=5).map(" ".join)


@given(gold=TEXTS, predicted=TEXTS)
def test_a_pair_scores_as_the_official_script_has_it(gold: str, predicted: str) -> None:
    exact, f1 = answers.scorer("en", [], [])(gold, predicted)
    assume(answers.normalized(gold) or answers.normalized(predicted))  # F1 is 0 in the script, 1 in torchmetrics
    expected = squad(
        [{"prediction_text": predicted, "id": "1"}], [{"answers": {"answer_start": [0], "text": [gold]}, "id": "1"}]
    )
    assert 100 * exact == expected["exact_match"]
    assert 100 * f1 == pytest.approx(float(expected["f1"]), abs=1e-4)


@pytest.mark.parametrize(
    ("gold", "predicted", "first", "second"),
    [
        ("the", "A", (1, 0), (0, 0)),  # 1.1: equal, without a common word; 2.0: no gold answer
        ("the", "cat", (0, 0), (0, 0)),
        ("cat", "", (0, 0), (0, 0)),
        ("", ".", (1, 0), (1, 0)),
    ],
)
def test_what_has_no_word_counts_as_in_each_script(gold: str, predicted: str, first: Any, second: Any) -> None:
    assert answers.scorer("en", [], [["a"]])(gold, predicted) == first
    assert answers.scorer("en", [], [["a"], []])(gold, predicted) == second


QUESTIONS = st.lists(
    st.tuples(
        st.integers(-9, 9).map(float), st.sampled_from([(0.0, 0.0), (0.0, 0.5), (1.0, 1.0)]), st.booleans()
    ),
    min_size=1, max_size=30,
)  # fmt: skip


@given(QUESTIONS)
def test_the_threshold_is_the_best_there_is(questions: list[tuple[float, tuple[float, float], bool]]) -> None:
    scores = [score for score, _, _ in questions]
    known = [has for _, _, has in questions]
    values = [value if has else (value[0],) * 2 for _, value, has in questions]
    chosen = answers.threshold(scores, values, known)
    if all(known):
        assert chosen is None
        return

    def f1(threshold: float | None) -> Any:
        """Of the answers that reach it; where none does, "" is right for a question without an answer."""
        assert threshold is not None
        given = [value if score >= threshold else (float(not has),) * 2
                 for score, value, has in zip(scores, values, known, strict=True)]  # fmt: skip
        return answers.score(given, known)["f1"]

    assert f1(chosen) == pytest.approx(max(map(f1, [*scores, max(scores) + 1])))


def test_questions_without_a_span_need_no_threshold() -> None:
    """Minus infinity is no JSON, and would be stored in config.json."""
    assert answers.threshold([-np.inf, -np.inf], [(1.0, 1.0), (0.0, 0.0)], [False, True]) is None
    assert answers.threshold([-np.inf, 1.0], [(1.0, 1.0), (0.0, 0.0)], [False, False]) == 1.5


def test_answerable_and_unanswerable_are_told_apart() -> None:
    values = [(1.0, 1.0), (0.0, 0.5), (1.0, 1.0), (0.0, 0.0)]
    found = answers.score(values, [True, True, False, False])
    assert found == {
        "exact_match": 0.5,
        "f1": 0.625,
        "questions": {
            "answerable": {"exact_match": 0.5, "f1": 0.75, "count": 2},
            "unanswerable": {"exact_match": 0.5, "f1": 0.5, "count": 2},
        },
    }
    assert answers.score([(1.0, 1.0)], [True]) == {"exact_match": 1.0, "f1": 1.0}


@pytest.mark.parametrize(
    ("gold", "predicted", "exact", "f1"),
    [
        ("光荣和ω-force", "光荣和ω-force", 1, 1),
        ("光荣和ω-force", "光荣", 0, 2 * 1 * 0.5 / 1.5),  # 2 of 光 荣 和 ωforce
        ("《战国无双3》", "战国无双3。", 1, 1),
        ("大莲华", "莲大华", 0, 1 / 3),  # the longest run, not the bag
        ("1,000 hours", "1,000", 0, 2 * 1 * 0.5 / 1.5),
        ("是……", "是", 0, 2 * 0.5 / 1.5),  # the ellipsis is kept: its list has the pair, its loop single signs
        ("北京", "上海", 0, 0),
    ],
)
def test_chinese_answers_score_by_their_longest_common_run(gold: str, predicted: str, exact: int, f1: float) -> None:
    assert answers.scorer("zh", [], [])(gold, predicted) == (exact, pytest.approx(f1))


def test_the_language_is_that_of_the_texts() -> None:
    english, chinese = answers.scorer("en", [], []), answers.scorer("zh", [], [])
    assert answers.scorer("auto", ["战国无双3是由光荣开发的"], [["光荣"]]) is chinese
    assert answers.scorer("auto", ["Tokyo (東京) is the capital of Japan"], [["Tokyo"]]) is english
    assert answers.scorer("auto", [], []) is english


def test_of_several_answers_the_likest_counts_and_none_wants_none() -> None:
    english = answers.scorer("en", [], [])
    assert answers.best(english, ["a dog", "the cat"], "cat") == (1, 1)
    assert answers.best(english, [], "cat") == (0, 0)
    assert answers.best(english, [], "") == answers.best(english, [], ".") == (1, 1)
    english_2 = answers.scorer("en", [""], [[]])
    assert answers.best(english_2, ["The"], "") == (1, 1) and answers.best(english_2, ["The", "cat"], "") == (0, 0)
    chinese = answers.scorer("zh", [], [])
    assert answers.best(chinese, [], "") == (1, 1) and answers.best(chinese, [], "猫") == (0, 0)


DATA = Path(__file__).parents[3] / "shared" / "data" / "open"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")
Question = tuple[str, list[str], str]  # context, gold answers, prediction


def questions(file: str) -> Iterator[Question]:
    """Every fourth of real data, with predictions near the truth: moved, cut, in capitals, without a word or empty."""
    source = random.Random(4)
    for article in json.loads(lzma.decompress((DATA / file).read_bytes()))["data"]:
        for paragraph in article["paragraphs"]:
            context = paragraph["context"]
            for question in paragraph["qas"][::4]:
                gold = [answer["text"] for answer in question["answers"]]
                start = max(context.find(source.choice(gold)) if gold else source.randrange(len(context)), 0)
                first, last = max(start + source.randint(-9, 9), 0), start + source.randint(0, 30)
                predicted = source.choice(
                    [context[first:last], *gold, *(text.upper() for text in gold), ".", "The", ""]
                )
                yield context, gold, predicted


def official(own: Iterable[tuple[list[str], str]]) -> tuple[float, float]:
    """SQuAD 1.1's script over gold answers and predictions, of which one at least has a word."""
    pairs = [
        (
            {"prediction_text": predicted, "id": str(i)},
            {"answers": {"text": gold, "answer_start": [0] * len(gold)}, "id": str(i)},
        )
        for i, (gold, predicted) in enumerate(own)
    ]
    found = squad([one for one, _ in pairs], [other for _, other in pairs])
    return float(found["exact_match"]), float(found["f1"])


@needs_data
def test_squad_1_1_scores_as_its_script_has_them() -> None:
    own = [
        (context, gold, predicted)
        for context, gold, predicted in questions("squad/dev-v1.1.json.xz")
        if answers.normalized(predicted) or all(map(answers.normalized, gold))
    ]
    assert len(own) > 3_000
    score = answers.scorer("auto", [context for context, _, _ in own], [gold for _, gold, _ in own])
    values = [answers.best(score, gold, predicted) for _, gold, predicted in own]
    found = answers.score(values, [True] * len(own))
    wanted = official((gold, predicted) for _, gold, predicted in own)
    assert (100 * found["exact_match"], 100 * found["f1"]) == pytest.approx(wanted, abs=1e-3)
    assert 20 < wanted[0] < wanted[1] < 80


@needs_data
def test_squad_2_0_scores_as_its_script_has_them() -> None:
    """Its rules for a question with answers are 1.1's without those of no word; with none, a prediction of no word."""
    own = list(questions("squad/dev-v2.0.json.xz"))
    score = answers.scorer("auto", [context for context, _, _ in own], [gold for _, gold, _ in own])
    values = [answers.best(score, gold, predicted) for _, gold, predicted in own]
    found = answers.score(values, [bool(gold) for _, gold, _ in own])
    answerable = [
        ([text for text in gold if answers.normalized(text)], predicted) for _, gold, predicted in own if gold
    ]
    silent = [float(not answers.normalized(predicted)) for _, gold, predicted in own if not gold]
    kinds = found["questions"]
    assert kinds["unanswerable"]["count"] == len(silent) > 1_000 < len(answerable)
    wanted = official(answerable)
    has_answer = kinds["answerable"]
    assert (100 * has_answer["exact_match"], 100 * has_answer["f1"]) == pytest.approx(wanted, abs=1e-3)
    assert (
        kinds["unanswerable"]["exact_match"] == kinds["unanswerable"]["f1"] == pytest.approx(sum(silent) / len(silent))
    )
    for name, value in zip(("exact_match", "f1"), wanted, strict=True):
        assert found[name] == pytest.approx((value / 100 * len(answerable) + sum(silent)) / len(own), abs=1e-5)


def longest_run(one: Sequence[str], other: Sequence[str]) -> int:
    """By the table of all common runs."""
    best, row = 0, [0] * (len(other) + 1)
    for a in one:
        row = [0, *(row[k] + 1 if a == b else 0 for k, b in enumerate(other))]
        best = max(best, *row)
    return best


@needs_data
def test_cmrc_scores_as_by_its_rules() -> None:
    marks = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"  # noqa: RUF001

    def segments(text: str) -> list[str]:
        kept = "".join(c for c in text.lower().strip() if c not in marks)
        spaced = re.sub("([\u4e00-\u9fa5])", "\0\\1\0", kept)
        return [piece for part in spaced.split("\0") if part for piece in word_tokenize(part, preserve_line=True)]

    own = list(questions("cmrc2018/cmrc2018_trial.json.xz"))
    score = answers.scorer("auto", [context for context, _, _ in own], [gold for _, gold, _ in own])
    for _, gold, predicted in own:
        for text in gold:
            one, other = segments(text), segments(predicted)
            common = longest_run(one, other)
            f1 = 2 * common / (len(one) + len(other)) if common else 0
            assert score(text, predicted)[1] == pytest.approx(f1)
