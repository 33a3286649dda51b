"""bertcli evaluate with the embedded model: JSON in a pipe, tables on request, mistakes, gates and their exit codes."""

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

ROWS = "text\tlabel\na gripping film\tpositive\na dull mess\tnegative\nutterly boring\tpositive\n"


@pytest.fixture
def dev(tmp_path: Path) -> str:
    (tmp_path / "dev.tsv").write_text(ROWS, encoding="utf-8")
    return "dev.tsv"


def test_metrics_are_one_json_object_in_a_pipe(bertcli: Run, dev: str) -> None:
    metrics = json.loads(bertcli("evaluate", dev).stdout)
    assert metrics["records"] == 3
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["confusion"]["matrix"] == [[1, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert metrics["per_class"]["positive"]["support"] == 2


def test_tables_on_request(bertcli: Run, dev: str) -> None:
    shown = bertcli("evaluate", dev, "--format", "rich", COLUMNS="80", NO_COLOR="1").stdout.decode()
    assert "accuracy" in shown and "0.6667" in shown and "positive" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_label_may_be_given_by_its_id(bertcli: Run) -> None:
    stdin = b'{"text": "a gripping film", "label": 2}\n{"text": "a dull mess", "label": "0"}\n'
    assert json.loads(bertcli("evaluate", "--input-format", "jsonl", stdin=stdin).stdout)["accuracy"] == 1


def test_ids_that_may_be_those_of_other_classes_are_named(bertcli: Run) -> None:
    stdin = b"text,label\na gripping film,1\na dull mess,0\n"
    read = (
        "bertcli: labels are read as ids of the model's, 0 as negative, 1 as neutral, and 1 of its 3 are in no record; "
    )
    read += "where they mean others, --map-labels 0=LABEL,… says which\n"
    assert bertcli("evaluate", stdin=stdin).stderr.decode() == read
    done = bertcli("evaluate", "--map-labels", "0=negative,1=positive", stdin=stdin)
    assert (json.loads(done.stdout)["accuracy"], done.stderr) == (1, b"")
    assert not bertcli("evaluate", stdin=stdin + b"It is Monday.,2\n").stderr


def test_mistakes_are_written_surest_first(bertcli: Run, dev: str, tmp_path: Path) -> None:
    bertcli("evaluate", dev, "--errors", "wrong.jsonl")
    (mistake,) = [json.loads(line) for line in (tmp_path / "wrong.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (mistake["text"], mistake["gold"], mistake["predicted"]) == ("utterly boring", "positive", "negative")
    assert (mistake["source"], mistake["line"]) == ("dev.tsv", 4)


def test_a_mistake_keeps_all_fields_of_its_record_in_a_table_of_several_files(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "good", "label": "negative"}\n', encoding="utf-8")
    record = {"text": "bad", "label": "positive", "source": "imdb", "line": 7, "score": 5, "error": "none", "id": 1}
    (tmp_path / "b.jsonl").write_text(json.dumps(record), encoding="utf-8")
    bertcli("evaluate", "a.jsonl", "b.jsonl", "--errors", "wrong.csv")
    with (tmp_path / "wrong.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["text"], first["source"], first["line"], first["id"], first["error"]) == (
        "good",
        "a.jsonl",
        "1",
        "",
        "",
    )
    kept = {"input_source": "imdb", "input_line": "7", "input_score": "5", "input_error": "none", "id": "1"}
    assert second.items() >= {**kept, "text": "bad", "source": "b.jsonl", "line": "1", "error": ""}.items()


def test_a_file_of_mistakes_that_cannot_be_written_stops_it_before_the_run(
    bertcli: Run, dev: str, tmp_path: Path
) -> None:
    done = bertcli("evaluate", dev, "--errors", dev, expect=2)
    assert done.stderr == b"bertcli: --errors dev.tsv: it is the input, and is not replaced; name another.\n"
    assert (tmp_path / dev).read_text(encoding="utf-8") == ROWS
    done = bertcli("evaluate", "none.tsv", "--errors", "no/wrong.jsonl", expect=2)
    assert done.stderr == b"bertcli: cannot write to no/wrong.jsonl: No such file or directory\n"


def test_what_cannot_be_compared_is_refused_before_the_run(bertcli: Run, tmp_path: Path) -> None:
    outcomes = {"task": "token-classification", "data": "", "right": [], "columns": {}}
    (tmp_path / "ner.json").write_text(json.dumps({"outcomes": outcomes}), encoding="utf-8")
    done = bertcli("evaluate", "--compare", "ner.json", expect=2)
    assert done.stderr == (
        b"bertcli: --compare ner.json: it is of token-classification, this model of text-classification.\n"
    )
    assert b"'none' is neither a directory" in bertcli("evaluate", "--compare", "none", expect=2).stderr


@pytest.mark.parametrize(("gate", "code"), [("accuracy=0.5", 0), ("accuracy=0.9", 4), ("log_loss=0.0001", 4)])
def test_a_gate_decides_the_exit_code_and_the_metrics_are_printed_all_the_same(
    bertcli: Run, dev: str, gate: str, code: int
) -> None:
    done = bertcli("evaluate", dev, "--fail-under", gate, expect=code)
    assert json.loads(done.stdout)["records"] == 3
    assert bool(done.stderr) == bool(code)


@pytest.mark.parametrize(
    ("gate", "message"),
    [("acuracy=1", b"Did you mean 'accuracy'"), ("accuracy", b"METRIC=NUMBER"), ("accuracy=90", b"never over 1")],
)
def test_a_gate_that_makes_no_sense_is_a_usage_error(bertcli: Run, dev: str, gate: str, message: bytes) -> None:
    assert message in bertcli("evaluate", dev, "--fail-under", gate, expect=2).stderr


def test_records_that_cannot_be_scored_are_named_and_make_it_3(bertcli: Run) -> None:
    stdin = b'{"text": "good", "label": "positive"}\n{"text": "good", "label": "meh"}\n{"text": "good"}\n[]\n'
    done = bertcli("evaluate", "--input-format", "jsonl", stdin=stdin, expect=3)
    assert json.loads(done.stdout)["records"] == 1
    second, third, fourth, whole = done.stderr.decode().splitlines()
    assert second == "bertcli: stdin:2: unknown label 'meh'; the model's labels are: negative, neutral, positive."
    assert third.startswith("bertcli: stdin:3: no field 'label'")
    assert fourth.startswith("bertcli: stdin:4: ")
    assert "1 of 4, with meh (1); --map-labels meh= leaves them out" in whole


def test_nothing_to_score_is_a_usage_error(bertcli: Run) -> None:
    assert b"nothing to evaluate: the input has no records" in bertcli("evaluate", expect=2).stderr


def test_a_threshold_that_no_metric_heeds_is_refused(bertcli: Run, dev: str) -> None:
    refused = bertcli("evaluate", dev, "--threshold", "0.9", expect=2).stderr.decode()
    assert refused.startswith("bertcli: --threshold 0.9: one label a text is scored however sure it is; `curve` says")
