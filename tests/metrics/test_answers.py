"""Answers against the SQuAD script that torchmetrics carries, and against CMRC 2018's rules, worked out by hand."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from torchmetrics.functional.text import squad

from bertcli.metrics import answers

WORDS = st.sampled_from(
    ["the", "A", "an", "Cat", "cat's", "dog", "u.s.", "3.14", "theory", "é", "-", "!", "the\u00a0end", "İ"]
)
TEXTS = st.lists(WORDS, max_size=5).map(" ".join)


@given(gold=TEXTS, predicted=TEXTS)
def test_a_pair_scores_as_the_official_script_has_it(gold: str, predicted: str) -> None:
    exact, f1 = answers.scorer("en", [], [])(gold, predicted)
    assume(answers.normalized(gold) and answers.normalized(predicted))  # else 2.0's rule: 1 if both are empty
    expected = squad(
        [{"prediction_text": predicted, "id": "1"}], [{"answers": {"answer_start": [0], "text": [gold]}, "id": "1"}]
    )
    assert 100 * exact == expected["exact_match"]
    assert 100 * f1 == pytest.approx(float(expected["f1"]), abs=1e-4)


@pytest.mark.parametrize(("gold", "predicted", "value"), [("the", "A", 1.0), ("the", "cat", 0.0), ("cat", "", 0.0)])
def test_what_is_empty_without_articles_is_right_if_both_are(gold: str, predicted: str, value: float) -> None:
    assert answers.scorer("en", [], [])(gold, predicted) == (value, value)


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
    values = [value if has else (0.0, 0.0) for _, value, has in questions]
    chosen = answers.threshold(scores, values, known)
    if all(known):
        assert chosen is None
        return
    own = answers.score(scores, values, known, chosen)["f1"]
    candidates = [*scores, max(scores) + 1]
    assert own == pytest.approx(max(answers.score(scores, values, known, t)["f1"] for t in candidates))


def test_answerable_and_unanswerable_are_told_apart() -> None:
    values = [(1.0, 1.0), (0.0, 0.5), (0.0, 0.0), (0.0, 0.0)]
    found = answers.score([3.0, 2.0, -1.0, 5.0], values, [True, True, False, False], 0.0)
    assert found == {
        "exact_match": 0.5,
        "f1": 0.625,
        "questions": {
            "answerable": {"exact_match": 0.5, "f1": 0.75, "count": 2},
            "unanswerable": {"exact_match": 0.5, "f1": 0.5, "count": 2},
        },
    }
    assert answers.score([3.0], [(1.0, 1.0)], [True], None) == {"exact_match": 1.0, "f1": 1.0}


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
    assert answers.best(english, [], "") == (1, 1)
