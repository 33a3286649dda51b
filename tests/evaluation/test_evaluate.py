"""Scoring, faults, mistakes and gates, on outcomes made by hand."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from bertcli.data.records import Record
from bertcli.errors import Exit, GateError, ModelError, UsageError
from bertcli.evaluation import check_gates, collect, listed, parse_gates, scores
from bertcli.metrics import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from bertcli.tasks.base import BaseTask
from bertcli.tasks.options import Options
from bertcli.tasks.text_classification import Task

SENTIMENT = {"id2label": {"0": "negative", "1": "positive"}}
TOPICS = {"id2label": {"0": "art", "1": "food", "2": "war"}, "problem_type": "multi_label_classification"}
STARS = {"id2label": {"0": "LABEL_0"}, "problem_type": "regression"}


@dataclass
class Outcome:
    record: Record
    prediction: Any = None
    error: str | None = None
    tokens: int = 5
    layers: int | None = None
    unknown: float = 0.0


def task_for(config, **options):
    return Task(None, config, Options(**options))


def test_a_regression_of_several_numbers_is_refused_for_only_the_first_would_be_given():
    assert task_for(STARS).is_regression
    with pytest.raises(ModelError, match="a regression of 3 numbers"):
        task_for(TOPICS | {"problem_type": "regression"})


def test_what_means_nothing_to_a_number_is_refused():
    for name, value in (("threshold", 0.5), ("top_k", 2), ("all_scores", True)):
        with pytest.raises(UsageError, match=f"^--{name.replace('_', '-')} means nothing to a model that predicts a"):
            task_for(STARS, **{name: value})


def test_a_label_with_spaces_around_it_is_found_by_its_name_not_by_an_id():
    task = task_for({"id2label": {"0": "no", "1": "maybe", "2": " 1", "3": " yes "}})
    assert [task.label(Record(fields={"label": name})) for name in (" 1", "1", 1, "yes", " yes ")] == [2, 2, 2, 3, 3]


def outcomes(*rows):
    """From (label, logits); a label of None is left out."""
    for i, (label, logits) in enumerate(rows):
        fields = {"text": f"t{i}"} | ({} if label is None else {"label": label})
        yield Outcome(Record(i, fields, i + 1, "dev.jsonl"), np.array(logits, dtype=np.float32))


def evaluate(task, outcomes):
    return scores(task, collect(task, outcomes))


def logit(p):
    return float(np.log(p / (1 - p)))


def test_metrics_are_those_of_the_task():
    result = evaluate(task_for(SENTIMENT), outcomes(("negative", [1, 0]), ("positive", [1, 0]), ("positive", [0, 1])))
    assert (result.records, result.faults, len(result.mistakes)) == (3, [], 1)
    assert result.metrics["accuracy"] == 2 / 3
    assert result.metrics["confusion"] == {"labels": ["negative", "positive"], "matrix": [[1, 0], [1, 1]]}


def test_bad_records_are_faults_with_their_place_and_not_scored():
    rows = list(outcomes(("negative", [1, 0]), (None, [1, 0]), ("neutral", [1, 0]), ("positive", [0, 1])))
    rows.append(Outcome(Record(4, {}, 9, "-", "not JSON."), error="not JSON."))
    result = evaluate(task_for(SENTIMENT), rows)
    assert (result.records, result.metrics["accuracy"]) == (2, 1.0)
    assert result.faults == [
        "dev.jsonl:2: no field 'label' (the record has: text); --label-field names another.",
        "dev.jsonl:3: unknown label 'neutral'; the model's labels are: negative, positive.",
        "stdin:9: not JSON.",
        "records left out for labels that the model lacks: 1 of 5, with neutral (1); "
        "--map-labels neutral= leaves them out, neutral=LABEL renames one.",
    ]


def test_many_unknown_labels_are_one_sentence_after_three():
    rows = outcomes(("negative", [1, 0]), *[("neutral", [1, 0])] * 3, *[("a mix", [1, 0])] * 2)
    *first, whole = evaluate(task_for(SENTIMENT), rows).faults
    assert [fault.partition(":")[2][:2] for fault in first] == ["2:", "3:", "4:"]
    assert whole == (
        "records left out for labels that the model lacks: 5 of 6, with neutral (3), a mix (2); "
        "--map-labels 'neutral=,a mix=' leaves them out, neutral=LABEL renames one."
    )


def test_no_records():
    with pytest.raises(UsageError, match=r"^nothing to evaluate: the input has no records\.$"):
        evaluate(task_for(SENTIMENT), [])


def test_no_good_record():
    with pytest.raises(
        UsageError, match=r"^nothing to evaluate: none of the 2 .* The first: dev.jsonl:1: unknown label"
    ):
        evaluate(task_for(SENTIMENT), outcomes(("x", [1, 0]), ("y", [1, 0])))


def test_mistakes_are_the_surest_first_and_ties_in_input_order():
    rows = outcomes(("positive", [1, 0]), ("positive", [3, 0]), ("negative", [1, 0]), ("negative", [0, 1]))
    result = evaluate(task_for(SENTIMENT), rows)
    wrong, right = {"gold": "positive", "predicted": "negative"}, {"gold": "negative", "predicted": "positive"}
    place = {"source": "dev.jsonl"}
    sure, unsure = {"score": 0.952574, "gold_score": 0.047426}, {"score": 0.731059, "gold_score": 0.268941}
    assert [listed(own) for own in result.mistakes] == [
        {"text": "t1", "label": "positive", **wrong, **sure, **place, "line": 2},
        {"text": "t0", "label": "positive", **wrong, **unsure, **place, "line": 1},
        {"text": "t3", "label": "negative", **right, **unsure, **place, "line": 4},
    ]


def test_equal_scores_are_judged_as_predict_decides_them():
    task = task_for(SENTIMENT)
    rows = list(outcomes(("positive", [1, 1]), ("negative", [1, 1])))
    result = evaluate(task, rows)
    assert [item.record.line for item in result.mistakes] == [1]
    assert result.mistakes[0].predicted == task.decode(rows[0].record, rows[0].prediction)["label"]


def test_mistakes_of_several_labels():
    rows = outcomes(
        (["art"], [logit(0.9), logit(0.6), logit(0.2)]),  # food wrongly given, by 0.1
        (["art", "war"], [logit(0.7), logit(0.9), logit(0.4)]),  # food wrongly given, by 0.4; war missed, by 0.1
        ([], [logit(0.1)] * 3),
    )
    result = evaluate(task_for(TOPICS), rows)
    assert [(m.record.line, m.gold, m.predicted, m.more["wrong"]) for m in result.mistakes] == [
        (2, ["art", "war"], ["art", "food"], {"food": 0.9, "war": 0.4}),
        (1, ["art"], ["art", "food"], {"food": 0.6}),
    ]
    assert result.metrics["subset_accuracy"] == 1 / 3


def test_mistakes_follow_the_threshold():
    rows = list(outcomes((["art"], [logit(0.9), logit(0.6), logit(0.2)])))
    assert not evaluate(task_for(TOPICS, threshold=0.7), rows).mistakes


def test_mistakes_of_regression_are_by_absolute_error():
    rows = outcomes((3, [2.5]), ("4", [4.0]), (1.0, [3.0]))
    result = evaluate(task_for(STARS), rows)
    shown = [(m.gold, m.predicted, m.more["error"]) for m in result.mistakes]
    assert shown == [(1.0, 3.0, 2.0), (3.0, 2.5, 0.5)]
    assert result.metrics["mae"] == pytest.approx(2.5 / 3)


class Untold(Task):
    """A task that says nothing of gates, examples and intervals."""

    name = "untold"
    unscored = tuple(SINGLE_LABEL)
    examples, columns, resampled, scored = BaseTask.examples, BaseTask.columns, BaseTask.resampled, BaseTask.scored


def test_a_task_that_says_nothing_of_examples_is_scored():
    result = evaluate(Untold(None, SENTIMENT, Options()), list(outcomes(("negative", [1, 0]), ("negative", [1, 0]))))
    assert (result.records, result.mistakes, result.intervals, result.reliability) == (2, [], {}, None)
    assert result.metrics["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("config", "family"),
    [
        (SENTIMENT, SINGLE_LABEL),
        (TOPICS, MULTI_LABEL),
        (STARS, REGRESSION),
    ],
)
def test_a_task_names_the_metrics_of_its_problem(config, family):
    assert task_for(config).directions == family


@pytest.mark.parametrize(
    ("text", "metrics"),
    [("accuracy=0.9", {"accuracy": 0.9}), (" mcc = -0.5", {"mcc": 0.0}), ("log_loss=2", {"log_loss": 2.0})],
)
def test_gates_that_hold(text, metrics):
    check_gates(parse_gates([text], SINGLE_LABEL), metrics)


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        ("pearson=0.9", 0.88416, "pearson 0.8842 is under 0.9."),
        ("pearson=0.9", 0.899996, "pearson 0.899996 is under 0.9."),
        ("pearson=0.88418", 0.88416, "pearson 0.88416 is under 0.88418."),
        ("pearson=0.9", 0.9 - 1e-16, "pearson 0.8999999999999999 is under 0.9."),
        ("pearson=0.9", None, "pearson is not defined on this data, so it does not meet 0.9."),
        ("rmse=0.5", 0.75, "rmse 0.7500 is over 0.5."),
    ],
)
def test_a_gate_that_fails_says_by_how_much(text, value, message):
    gates = parse_gates([text], REGRESSION)
    with pytest.raises(GateError) as caught:
        check_gates(gates, {gates[0].metric: value})
    assert str(caught.value) == message
    assert caught.value.exit_code == Exit.GATE


def test_every_failed_gate_has_its_sentence():
    gates = parse_gates(["accuracy=0.9", "mcc=0.1", "log_loss=0.3"], SINGLE_LABEL)
    with pytest.raises(GateError, match=r"^accuracy 0.8000 is under 0.9. log_loss 0.4000 is over 0.3.$"):
        check_gates(gates, {"accuracy": 0.8, "mcc": 0.6, "log_loss": 0.4})


SINGLE_LABEL_NAMES = "There are: accuracy, macro_f1, micro_f1, weighted_f1, mcc, log_loss."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accuracy", "--fail-under 'accuracy': write METRIC=NUMBER, as in accuracy=0.9."),
        ("accuracy=", "--fail-under 'accuracy=': '' is not a number."),
        ("accuracy=high", "--fail-under 'accuracy=high': 'high' is not a number."),
        ("accuracy=nan", "--fail-under 'accuracy=nan': 'nan' is not a number."),
        ("accuracy=90", "--fail-under 'accuracy=90': accuracy is never over 1; write 0.9 for 90 %."),
        ("log_loss=-1", "--fail-under 'log_loss=-1': log_loss is never under 0."),
        (
            "Acuracy=0.9",
            f"--fail-under: no metric is called 'Acuracy'. Did you mean 'accuracy'? {SINGLE_LABEL_NAMES}",
        ),
        (
            "macro-f1=0.9",
            f"--fail-under: no metric is called 'macro-f1'. Did you mean 'macro_f1'? {SINGLE_LABEL_NAMES}",
        ),
        ("per_class=0.9", f"--fail-under: no metric is called 'per_class'. {SINGLE_LABEL_NAMES}"),
        ("=0.9", f"--fail-under: no metric is called ''. {SINGLE_LABEL_NAMES}"),
    ],
)
def test_gates_that_cannot_be_used(text, message):
    with pytest.raises(UsageError) as caught:
        parse_gates([text], SINGLE_LABEL)
    assert str(caught.value) == message


def test_a_gate_on_a_task_without_metrics():
    with pytest.raises(UsageError, match="this task has no metric to hold to a bound, 'accuracy' or other"):
        parse_gates(["accuracy=0.9"], Untold(None, SENTIMENT, Options()).directions)
