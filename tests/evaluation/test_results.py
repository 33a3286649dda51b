"""What every task tells of its examples: weights of one give its metrics, and the whole is JSON."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bertcli.data.records import Record
from bertcli.evaluation import LengthBucket, by_length, collect, digest, scores
from bertcli.metrics import bootstrap
from bertcli.metrics.bootstrap import weighted_means as means
from bertcli.tasks import feature_extraction, fill_mask, question_answering, token_classification
from bertcli.tasks.options import Options
from bertcli.tasks.question_answering import Span
from bertcli.tasks.texts import Mark
from tests.evaluation.test_evaluate import SENTIMENT, STARS, TOPICS, Outcome, evaluate, outcomes, task_for

TAGS = {"id2label": {"0": "O", "1": "B-A", "2": "I-A"}}


def text_tasks():
    rows = {
        "labels": (SENTIMENT, (("negative", [1, 0]), ("positive", [2, 0]), ("positive", [0, 3]))),
        "sets": (TOPICS, ((["art"], [1, 1, -1]), ([], [-1, -1, 2]), (["war", "art"], [1, -1, 1]))),
        "numbers": (STARS, ((1.5, [2]), (3.0, [2.5]), (0.0, [1]))),
    }
    for name, (config, own) in rows.items():
        yield name, task_for(config), list(outcomes(*own))


def other_tasks():
    eye = np.eye(3, dtype=np.float32) * 5
    yield (
        "tags",
        token_classification.Task(None, TAGS, Options()),
        [  # type: ignore[arg-type]
            Outcome(Record(i, {"tokens": ["a", "b"], "tags": tags}, i + 1), eye[given])
            for i, (tags, given) in enumerate([(["B-A", "I-A"], [1, 2]), (["O", "B-A"], [1, 0]), (["O", "O"], [0, 0])])
        ],
    )
    asked = {"question": "who?", "context": "Ann met Bob."}
    yield (
        "answers",
        question_answering.Task(None, {"null_threshold": 0.0}, Options()),
        [  # type: ignore[arg-type]
            Outcome(Record(i, {**asked, "answers": gold}, i + 1), spans)
            for i, (gold, spans) in enumerate(
                [(["Ann"], [Span(2.0, 0, 3)]), (["Bob"], [Span(1.0, 4, 11)]), ([], [Span(-1.0, 0, 3)]), (["Ann"], [])]
            )
        ],
    )
    backend = SimpleNamespace(
        encode=lambda text, add_special_tokens: SimpleNamespace(
            ids=[4 if word == "[MASK]" else len(word) for word in text.split()]
        ),
        decode=lambda ids, skip_special_tokens: "x" * ids[0],
    )
    tokens = SimpleNamespace(mask=("[MASK]", 4), backend=backend, keeps_end=False)
    yield (
        "masks",
        fill_mask.Task(tokens, {}, Options()),
        [  # type: ignore[arg-type]
            Outcome(Record(i, {"text": "[MASK] " * len(gold), "label": gold}, i + 1), guesses)
            for i, (gold, guesses) in enumerate(
                [(["x"], [[(1, 0.9)]]), (["xx", "x"], [[(1, 0.6), (2, 0.3)], [(3, 0.5), (2, 0.4)]])]
            )
        ],
    )
    pairs = Options(text_field="a", pair_field="b")
    yield (
        "vectors",
        feature_extraction.Task(SimpleNamespace(max_length=9), {}, pairs),
        [  # type: ignore[arg-type]
            Outcome(Record(i, {"a": "x", "b": "y", "label": gold}, i + 1), np.array([[1, 0], other], np.float32))
            for i, (gold, other) in enumerate([(5, [1, 0.1]), (2, [1, 1]), (3, [0, 1])])
        ],
    )


CASES = {name: (task, rows) for name, task, rows in (*text_tasks(), *other_tasks())}


@pytest.mark.parametrize("name", CASES)
def test_weights_of_one_give_the_metrics_and_all_have_intervals(name):
    task, rows = CASES[name]
    found = collect(task, rows)
    metrics = task.metrics(found.gold, found.predictions)
    own = bootstrap.values(task.resampled(found.gold, task.columns(found.gold, found.predictions)), len(rows))
    assert set(task.directions) <= own.keys()
    assert own == pytest.approx({key: metrics[key] for key in own}, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_every_evaluation_is_json_with_its_old_keys_first(name):
    task, rows = CASES[name]
    document = evaluate(task, rows).as_json()
    assert json.loads(json.dumps(document, allow_nan=False)).keys() == document.keys()
    metrics = task.metrics(*(lambda found: (found.gold, found.predictions))(collect(task, rows)))
    assert list(document)[: len(metrics) + 1] == ["records", *metrics]
    assert {"lengths", "outcomes", "intervals"} <= document.keys()
    assert ("reliability" in document) == (name not in ("numbers", "vectors"))


@pytest.mark.parametrize("name", CASES)
def test_one_example_is_scored_without_intervals(name):
    task, rows = CASES[name]
    found = evaluate(task, rows[:1])
    assert (found.records, dict(found.intervals)) == (1, {})


def test_examples_of_answers_have_their_marks():
    task, rows = CASES["answers"]
    first, second, third, fourth = evaluate(task, rows).examples
    assert (first.right, first.pair, first.text) == (True, "who?", "Ann met Bob.")
    assert first.gold_marks == (Mark(0, 3, "answer"),)
    assert (first.predicted_marks[0].start, first.predicted_marks[0].end) == (0, 3)
    assert (second.predicted, second.right, second.more["f1"]) == ("met Bob", False, pytest.approx(2 / 3))
    assert (third.right, third.predicted, third.predicted_marks) == (True, "", ())
    assert (fourth.right, fourth.predicted) == (False, "")


def test_lengths_are_in_buckets_of_twice_the_length():
    found = by_length(means({"m": [1, 0, 1, 1]}), "m", np.array([3, 16, 17, 65]))
    assert found == (LengthBucket(1, 16, 2, 0.5), LengthBucket(17, 32, 1, 1.0), LengthBucket(65, 128, 1, 1.0))


def test_the_digest_is_of_texts_and_labels_not_of_answers():
    task, rows = CASES["labels"]
    other = [Outcome(row.record, -row.prediction) for row in rows]
    one, two, three = (evaluate(task, own).examples for own in (rows, other, rows[:2]))
    assert digest(one) == digest(two) != digest(three)


def test_scores_that_are_not_numbers_end_the_run():
    from bertcli.errors import BertcliError

    task, rows = CASES["labels"]
    with pytest.raises(BertcliError, match=r"not finite for 1 of 2 records"):
        scores(task, collect(task, [rows[0], Outcome(rows[1].record, np.array([np.nan, 1]))]))


def test_scoring_tunes_a_copy_and_leaves_the_task_as_it_was():
    _, plain, rows = next(own for own in other_tasks() if own[0] == "answers")
    task = type(plain)(None, {}, Options(null_threshold="auto"))  # type: ignore[arg-type]
    result = evaluate(task, rows)
    assert result.metrics["null_threshold"] == 0.0
    assert task.null_threshold is None and task.learned(result.metrics) == {"null_threshold": 0.0}
    found = collect(task, rows)
    assert "null_threshold" not in task.metrics(found.gold, found.predictions)
    assert plain.tuned(found.gold, found.predictions) is plain
