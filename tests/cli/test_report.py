"""--report of evaluate, finetune and pretrain: which parts of a run the page has, and what is refused before it."""

import json
import re
from pathlib import Path

import pytest
import yaml

from bertcli.cli.main import run
from bertcli.report import BEGINNINGS

ROWS = [("good lovely film", "pos"), ("great acting", "pos"), ("bad awful plot", "neg"), ("dull poor scene", "neg")]


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in ROWS), encoding="utf-8")
    return str(path)


def titles(path: Path) -> list[str]:
    page = path.read_text(encoding="utf-8")
    assert page.startswith(BEGINNINGS["--report"])
    return re.findall(r"<h2[^>]*>(.*?)</h2>", page)


def test_a_training_reports_its_curves_and_its_dev_data(
    tiny_model: Path, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    report = out / "report.html"
    arguments = ["finetune", "-m", str(tiny_model), "--train", data, "--dev", data, "--epochs", "2", "--no-export"]
    assert run([*arguments, "--device", "cpu", "-o", str(out), "--report", str(report), "-v"]) == 0
    assert f"report: {report}" in capfd.readouterr().err
    assert titles(report) == [
        "Metrics", "Per class", "Confusion", "Lengths", "Loss", "Dev accuracy", "Learning rate", "Reliability",
        "Thresholds", "Examples",
    ]  # fmt: skip
    assert "report" not in yaml.safe_load((out / "bertcli.yaml").read_text(encoding="utf-8"))["finetune"]


def test_a_training_without_dev_data_reports_its_curves(tiny_model: Path, data: str, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    arguments = ["finetune", "-m", str(tiny_model), "--train", data, "--epochs", "1", "--no-export", "--device", "cpu"]
    assert run([*arguments, "-o", str(tmp_path / "model"), "--report", str(report)]) == 0
    assert titles(report) == ["Loss", "Learning rate"]


def test_pretraining_reports_its_curves_and_metrics(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("\n\n".join(["the film was good\nthe plot was dull"] * 60), encoding="utf-8")
    report = tmp_path / "report.html"
    arguments = ["pretrain", str(tmp_path / "corpus.txt"), "-m", str(tiny_model), "--lengths", "16", "--steps", "4"]
    arguments += ["--cache", str(tmp_path / "cache"), "--device", "cpu", "-o", str(tmp_path / "model")]
    assert run([*arguments, "--report", str(report)]) == 0
    assert titles(report) == ["Metrics", "Loss", "Learning rate"]


@pytest.mark.parametrize("command", ["evaluate", "finetune", "pretrain"])
def test_a_file_that_is_no_page_stops_the_run_before_it_begins(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("<html>", encoding="utf-8")
    options = {"evaluate": [], "finetune": ["--train", "none", "-m", "none"], "pretrain": ["none"]}[command]
    out = [] if command == "evaluate" else ["-o", str(tmp_path / "model")]
    assert run([command, *options, *out, "--report", str(mine)]) == 2
    assert capfd.readouterr().err == (
        f"bertcli: --report {mine}: the file is no page of bertcli's, and is not replaced; name another.\n"
    )
    assert mine.read_text(encoding="utf-8") == "<html>"


def test_a_place_that_cannot_be_written_stops_it_before_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for place, why in (("no/r.html", "No such file or directory"), ("file/r.html", "Not a directory")):
        assert run(["evaluate", "none", "--report", str(tmp_path / place)]) == 2
        assert capfd.readouterr().err == f"bertcli: cannot write to {tmp_path / place}: {why}\n"
    assert run(["evaluate", "none", "--report", str(tmp_path)]) == 2
    assert capfd.readouterr().err == f"bertcli: cannot write to {tmp_path}: it is a directory; name a file in it\n"
