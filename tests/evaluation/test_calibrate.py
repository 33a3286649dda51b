"""A fitted calibration: what it stores, that scores follow it and decisions stay, and what is refused."""

import numpy as np
import pytest

from bertcli.errors import ModelError, UsageError
from bertcli.evaluation import calibrate, collect, scores
from bertcli.metrics.calibration import Target
from bertcli.model import BUILTIN, read
from bertcli.tasks.question_answering import Task as Questions
from bertcli.tasks.token_classification import Task as Tokens
from bertcli.tasks.token_classification.labels import Gold
from tests.evaluation.test_evaluate import SENTIMENT, STARS, TOPICS, Options, outcomes, task_for

RNG = np.random.default_rng(2)


def overconfident(count=300):
    """Rows of a model that is right in 3 of 4 cases and always as sure as 0.98."""
    return [("negative" if i % 4 else "positive", [4.0, 0.0]) for i in range(count)]


def test_scores_come_to_mean_what_they_say():
    task = task_for(SENTIMENT)
    fitted = calibrate.fit(task, collect(task, outcomes(*overconfident())), None)
    assert fitted.stored == {"temperature": pytest.approx(4 / np.log(3), rel=1e-3), "records": 300}
    assert (fitted.before["ece"], fitted.after["ece"]) == pytest.approx((0.232, 0.0), abs=1e-3)
    assert fitted.before["nll"] > fitted.after["nll"] == pytest.approx(0.5623, abs=1e-4)
    assert fitted.before["accuracy"] == fitted.after["accuracy"] == 0.75


def test_predict_and_evaluate_use_it_and_evaluate_shows_it():
    task = task_for({**SENTIMENT, "calibration": {"temperature": 2.0, "records": 9}})
    rows = list(outcomes(("negative", [4, 0]), ("positive", [4, 0])))
    assert task.decode(rows[0].record, rows[0].prediction) == {"label": "negative", "score": 0.880797}
    found = scores(task, collect(task, rows)).as_json()
    assert found["calibration"] == {"temperature": 2.0, "records": 9}
    assert found["log_loss"] == pytest.approx(-np.log([0.880797, 0.119203]).mean(), abs=1e-5)


@pytest.mark.parametrize("temperature", [0, -1, "2", None, float("inf")])
def test_a_temperature_that_is_none_is_named(temperature):
    with pytest.raises(ModelError, match=r"temperature .* is not a positive number"):
        task_for({**SENTIMENT, "calibration": {"temperature": temperature}})


def topics():
    """art is given from 0.2 on, food from 0.7 on; war never occurs."""
    task = task_for(TOPICS)
    rows = []
    for p in np.linspace(0.02, 0.98, 49):
        gold = [name for name, cut in (("art", 0.2), ("food", 0.7)) if p > cut] if int(p * 100) % 7 else []
        rows.append((gold, [np.log(p / (1 - p))] * 2 + [-5.0]))
    return task, collect(task, outcomes(*rows))


def test_thresholds_of_best_f1():
    task, found = topics()
    fitted = calibrate.fit(task, found, None)
    thresholds = fitted.stored["thresholds"]
    assert thresholds["art"] < 0.5 < thresholds["food"] and thresholds["war"] == 0.5
    assert (fitted.kept, fitted.stored["target"]) == (["war"], "best F1")
    assert fitted.after["macro_f1"] > fitted.before["macro_f1"]


def test_thresholds_of_a_target():
    task, found = topics()
    fitted = calibrate.fit(task, found, Target("recall", 1.0))
    after = type(task)(None, {**TOPICS, "calibration": fitted.stored}, Options())
    rows = after.metrics(found.gold, found.predictions)
    assert rows["per_class"]["art"]["recall"] == rows["per_class"]["food"]["recall"] == 1.0
    assert rows["thresholds"] == fitted.stored["thresholds"] and "threshold" not in rows


def test_an_asked_threshold_goes_before_the_stored_ones():
    stored = {"temperature": 1.0, "thresholds": {"art": 0.9}}
    row = np.array([1.0, 1.0, -1.0])  # 0.73, 0.73, 0.27
    assert task_for({**TOPICS, "calibration": stored}).decode(None, row)["labels"] == ["food"]
    assert task_for({**TOPICS, "calibration": stored}, threshold=0.5).decode(None, row)["labels"] == ["art", "food"]


def test_tags_keep_their_decisions():
    config = {"id2label": {"0": "O", "1": "B-A", "2": "I-A"}}
    logits = RNG.normal(0, 3, (200, 5, 3)).astype(np.float32)
    logits[0, 2] = np.nan  # a word without pieces
    plain = Tokens(None, config, Options())  # type: ignore[arg-type]
    gold = [Gold([int(i) for i in RNG.integers(0, 3, 5)]) for _ in logits]
    for own, row in zip(gold[::2], logits[::2], strict=True):
        own.tags[:] = [0 if np.isnan(word).any() else int(word.argmax()) for word in row]
    targets = plain.classified(gold, logits)[1]
    assert len(targets) == 999
    calibrated = Tokens(None, {**config, "calibration": {"temperature": 3.0}}, Options())  # type: ignore[arg-type]
    for row in logits:
        before, after = plain.tag(row, 5), calibrated.tag(row, 5)
        assert before[0] == after[0]
        assert after[1].sum() < before[1].sum()


def test_what_cannot_be_calibrated_is_known_without_predictions():
    with pytest.raises(UsageError, match=r"^this model predicts a number, which has no probabilities"):
        calibrate.require_calibratable(task_for(STARS), None)
    with pytest.raises(UsageError, match=r"^question-answering has no probabilities of classes to calibrate"):
        calibrate.require_calibratable(Questions(None, {}, Options()), None)  # type: ignore[arg-type]
    for task in (task_for(SENTIMENT), Tokens(None, {"id2label": {"0": "O"}}, Options())):  # type: ignore[arg-type]
        calibrate.require_calibratable(task, None)
        with pytest.raises(UsageError, match=r"^--target chooses thresholds"):
            calibrate.require_calibratable(task, Target("recall", 0.9))
    calibrate.require_calibratable(task_for(TOPICS), Target("recall", 0.9))


def test_data_that_no_temperature_fits():
    task = task_for(SENTIMENT)
    with pytest.raises(UsageError, match=r"^no temperature is best on these 1 decisions"):
        calibrate.fit(task, collect(task, outcomes(("negative", [4, 0]))), None)


def test_the_embedded_model_and_a_directory_that_is_there_are_not_written_to(tmp_path):
    embedded = read(BUILTIN / "text-classification")
    for named in (None, str(embedded.path)):
        with pytest.raises(UsageError, match=r"stays as it is; -o DIR writes a calibrated copy"):
            calibrate.require_writable(embedded, named, None)
    (tmp_path / "x").touch()
    with pytest.raises(UsageError, match=r"it is there already"):
        calibrate.require_writable(embedded, None, tmp_path)


def test_a_copy_has_all_files_and_the_calibration(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text('{"id2label": {"0": "a"}}')
    (tmp_path / "m" / "weights").write_text("w")
    model = read(tmp_path / "m")
    assert calibrate.store(model, {"temperature": 2.0}, tmp_path / "n") == tmp_path / "n"
    assert (tmp_path / "n" / "weights").read_text() == "w"
    assert "calibration" not in read(tmp_path / "m").config
    assert read(tmp_path / "n").config == model.config | {"calibration": {"temperature": 2.0}}
