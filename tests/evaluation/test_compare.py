"""Two systems on the same examples: differences, what changed, and what cannot be compared."""

import json

import pytest

from bertcli.errors import UsageError
from bertcli.evaluation import collect, compare, read_outcomes, scores
from tests.evaluation.test_evaluate import SENTIMENT, STARS, TOPICS, outcomes, task_for

GOLD = ["negative", "positive", "positive", "negative"]


def evaluated(config, *logits, gold=GOLD):
    task = task_for(config)
    found = collect(task, outcomes(*zip(gold, logits, strict=True)))
    return task, found.gold, scores(task, found)


OLD = ([1, 0], [1, 0], [1, 0], [0, 1])  # right, wrong, wrong, wrong
NEW = ([0, 1], [0, 1], [0, 3], [0, 2])  # wrong, right, right, wrong


def test_what_is_fixed_and_broken():
    _, _, old = evaluated(SENTIMENT, *OLD)
    task, gold, new = evaluated(SENTIMENT, *NEW)
    found = compare(task, gold, new, old.outcomes, "OLD")
    assert [(own.example.record.location, own.before) for own in found.fixed] == [
        ("dev.jsonl:2", "negative"), ("dev.jsonl:3", "negative"),
    ]  # fmt: skip
    assert [own.example.record.location for own in found.broken] == ["dev.jsonl:1"]
    assert found.mcnemar_p == 1.0
    assert found.differences["accuracy"].value == pytest.approx(0.25)
    assert found.differences.keys() == new.intervals.keys()


def test_outcomes_go_through_json(tmp_path):
    _, _, old = evaluated(SENTIMENT, *OLD)
    task, gold, new = evaluated(SENTIMENT, *NEW)
    file = tmp_path / "old.json"
    file.write_text(json.dumps(old.as_json()))
    assert compare(task, gold, new, read_outcomes(file, "text-classification"), "OLD") == compare(
        task, gold, new, old.outcomes, "OLD"
    )


def test_a_model_with_its_labels_in_another_order_and_one_more():
    other = {"id2label": {"0": "positive", "1": "neutral", "2": "negative"}}
    _, _, old = evaluated(other, [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1])
    task, gold, new = evaluated(SENTIMENT, [1, 0], [0, 1], [0, 1], [1, 0])
    found = compare(task, gold, new, old.outcomes, "OLD")
    assert found.differences["accuracy"].value == pytest.approx(0.25)
    assert [(own.example.record.location, own.before) for own in found.fixed] == [("dev.jsonl:3", "neutral")]


def test_sets_of_a_model_with_its_labels_in_another_order():
    names = dict(reversed(TOPICS["id2label"].items()))
    other = TOPICS | {"id2label": {str(i): name for i, name in enumerate(names.values())}}
    gold = [[*names.values()], []]
    _, _, old = evaluated(other, *[[1] * len(names)] * 2, gold=gold)
    task, numbers, new = evaluated(TOPICS, *[[1] * len(names)] * 2, gold=gold)
    assert compare(task, numbers, new, old.outcomes, "OLD").differences["subset_accuracy"].value == 0


def test_sets_of_labels_are_compared_but_for_what_needs_all_scores():
    gold = [["art"], [], ["war"], ["art"]]
    _, _, old = evaluated(TOPICS, *[[-1, -1, -1]] * 4, gold=gold)
    task, numbers, new = evaluated(TOPICS, *[[1, -1, -1]] * 4, gold=gold)
    stated = old.as_json()["outcomes"]
    assert stated["columns"] == {"given": [[], [], [], []]}
    found = compare(task, numbers, new, old.outcomes, "OLD")
    assert found.differences["subset_accuracy"].value == 0.25
    assert "map" in new.intervals and "map" not in found.differences


def test_numbers_are_compared_by_their_errors():
    gold = [1.0, 2.0, 3.0, 4.0]
    _, _, old = evaluated(STARS, [2], [3], [4], [5], gold=gold)
    task, numbers, new = evaluated(STARS, [1.5], [2.5], [3.5], [4.5], gold=gold)
    comparison = compare(task, numbers, new, old.outcomes, "OLD")
    assert comparison.mcnemar_p is None  # a number is neither right nor wrong
    found = comparison.differences["mae"]
    assert (found.value, found.interval.low, found.interval.high) == pytest.approx((-0.5, -0.5, -0.5))


def test_other_data_are_refused():
    _, _, old = evaluated(SENTIMENT, *OLD, gold=[*GOLD[:3], "positive"])
    task, gold, new = evaluated(SENTIMENT, *NEW)
    with pytest.raises(UsageError, match=r"^--compare OLD: it was scored on other texts or labels"):
        compare(task, gold, new, old.outcomes, "OLD")


@pytest.mark.parametrize("text", ['{"accuracy": 0.9}', "[]", '{"outcomes": {"task": "x"}}'])
def test_an_earlier_file_without_outcomes_says_what_to_do(tmp_path, text):
    (tmp_path / "old.json").write_text(text)
    with pytest.raises(UsageError, match=r"old.json: it has no outcomes of single examples, .*`bertcli evaluate"):
        read_outcomes(tmp_path / "old.json", "text-classification")


def test_a_file_that_is_no_json(tmp_path):
    (tmp_path / "old.json").write_text("{")
    with pytest.raises(UsageError, match=r"old.json: cannot be read"):
        read_outcomes(tmp_path / "old.json", "text-classification")
