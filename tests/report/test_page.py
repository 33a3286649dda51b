"""The page as text: what is on it, that it is escaped, its size, and which files it does not replace."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bertcli.errors import UsageError
from bertcli.evaluation import Comparison, Difference, Evaluation, Interval
from bertcli.report import MOST, ROOM, Report, chosen, of_training, render, require_replaceable
from tests.report.conftest import example


def test_texts_are_escaped_wherever_they_stand(classified: Evaluation) -> None:
    hostile = "</script><script>alert(1)</script>"
    labels = {**classified.metrics, "confusion": {"labels": [hostile, "pos"], "matrix": [[2, 1], [1, 2]]}}
    page = render(Report(hostile, replace(classified, metrics=labels), facts={hostile: hostile}))
    assert page.count("<script>alert(1)") == 0
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 5
    charts = re.findall(r'<script type="application/json" id="charts">(.*?)</script>', page)
    assert [chart["title"] for chart in json.loads(charts[0])] == ["Reliability", "Thresholds"]


def test_the_policy_allows_the_scripts_of_the_page_and_no_address(classified: Evaluation) -> None:
    page = render(Report("m", classified))
    hashed = r"('sha256-.{44}' ?)"
    assert re.search(rf"default-src 'none'; img-src data:; style-src {hashed}{{3}}; script-src {hashed}{{2}}\"", page)
    assert "unsafe" not in page.partition("</head>")[0] and not re.search(
        r"<[^>]* style=", page.partition("<script")[0]
    )
    assert not re.search(r"(?:src|href)=\"(?!#|data:,)", page)


def test_a_place_names_no_directory_of_the_machine(classified: Evaluation) -> None:
    page = render(Report("m", classified))
    assert "dev.jsonl:1<" in page and "data/dev.jsonl" not in page


def test_faults_are_counted_as_what_they_are_for_a_record_may_have_several(classified: Evaluation) -> None:
    faults = [f"a.conll:{line}: 'X' is no tag" for line in (1, 2)]
    assert "faults in the data <b>2</b>" in render(Report("m", replace(classified, faults=faults)))


def test_a_training_without_dev_data_has_its_curves_alone(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"event": "step", "step": 1, "loss": 0.5, "lr": 0.1}\n', encoding="utf-8")
    page = render(Report("m", log=log))
    assert "<h2" in page and 'id="examples"' not in page and 'id="metrics"' not in page


def test_curves_of_a_log_are_thinned_to_means(log: Path) -> None:
    loss, accuracy, rate = of_training(log)
    assert [item.title for item in (loss, accuracy, rate)] == ["Loss", "Dev accuracy", "Learning rate"]
    train, dev = (dict(zip(loss.xs, line.values, strict=True)) for line in loss.lines)
    assert len([value for value in train.values() if value is not None]) == 250
    assert train[4] == float(f"{(1 + 1 / 2 + 1 / 3 + 1 / 4) / 4:.4g}")
    assert {step: value for step, value in dev.items() if value is not None} == {
        step: float(f"{2 / step:.4g}") for step in range(100, 1001, 100)
    }
    assert accuracy.xs == list(range(100, 1001, 100)) and len(accuracy.lines) == 1


def test_of_more_examples_than_fit_the_mistakes_stay() -> None:
    many = [example(str(i), i + 1, gold="a", predicted="b", right=i % 4 != 0, sure=i / 3000) for i in range(3000)]
    kept = chosen(many)
    assert len(kept) == MOST and [item.record.line for item in kept] == sorted(item.record.line or 0 for item in kept)
    assert sum(item.right is False for item in kept) == 750


def test_of_long_texts_as_many_stay_as_there_is_room_for() -> None:
    many = [example("字" * 100_000, i + 1, gold="a", predicted="b", right=False, sure=i / 9) for i in range(9)]
    kept = chosen([*many, example("short", 10, gold="a", predicted="a", right=True)])
    assert [item.record.line for item in kept] == [6, 7, 8, 9] and ROOM // 300_000 == 4  # the surest
    assert "4 of 9: the mistakes, surest or largest first" in render(
        Report("m", Evaluation("t", "m", "f1", {}, 9, [], many))
    )


def test_only_a_page_is_replaced(classified: Evaluation, tmp_path: Path) -> None:
    require_replaceable(str(tmp_path / "report.html"))
    (tmp_path / "report.html").write_text(render(Report("m", classified)), encoding="utf-8")
    require_replaceable(str(tmp_path / "report.html"))
    (tmp_path / "precious.html").write_text("<!doctype html>mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is not replaced"):
        require_replaceable(str(tmp_path / "precious.html"))
    with pytest.raises(UsageError, match=r"--html .*report.html: the file is no page"):
        require_replaceable(str(tmp_path / "report.html"), "--html")


def test_a_comparison_without_right_and_wrong_counts_none(classified: Evaluation) -> None:
    comparison = Comparison("OLD", {"pearson": Difference(0.1, Interval(0.0, 0.2), 0.05)})
    page = render(Report("m", replace(classified, comparison=comparison)))
    assert "Against OLD" in page and "that were wrong" not in page
    counted = render(Report("m", replace(classified, comparison=replace(comparison, mcnemar_p=1.0))))
    assert "0 examples that were wrong are right, 0 that were right are wrong (McNemar's test: p = 1)." in counted


def test_a_thousand_questions_with_contexts_stay_under_two_megabytes() -> None:
    text = "word " * 160
    many = [example(text, i + 1, gold=["a"], predicted="b", right=False, sure=0.5) for i in range(1000)]
    evaluation = Evaluation("question-answering", "m", "f1", {"f1": 0.5}, 1000, [], many)
    assert len(render(Report("m", evaluation)).encode()) < 2_000_000
