"""bertcli info and bertcli bench: what they say, and their exit codes."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bertcli import __version__
from bertcli.backends.onnx import Backend
from bertcli.cli.main import run
from tests.cli.conftest import COMMAND, Run


def test_info_says_what_there_is_what_is_chosen_and_why(bertcli: Run) -> None:
    found = json.loads(bertcli("info", "--threads", "1").stdout)
    assert list(found) == ["versions", "devices", "choice", "model", "check"]
    assert found["versions"]["bertcli"] == __version__ and found["versions"]["onnxruntime"][0].isdigit()
    assert "cores of" in found["devices"]["cpu"]
    assert (found["choice"]["backend"], found["choice"]["precision"]) == ("onnx", "int8")
    assert "the model has only ONNX files" in found["choice"]["reason"]
    model = found["model"]
    assert (model["task"], model["labels"]) == ("text-classification", ["negative", "neutral", "positive"])
    assert (model["layers"], model["hidden size"], model["most tokens"]) == (12, 384, 128)
    sizes = {"onnx/model_quantized.onnx": "18.3 MB", "onnx/model_quantized_rest.onnx": "11.1 MB"}  # in two stages
    assert (model["files"], model["licence"]) == (sizes, "mit")
    assert found["check"] == {"batched": 0.0, "single": 0.0, "at most": 0.001, "passed": True}


def test_info_of_a_checkpoint_without_a_card(bertcli: Run, tiny_model: Path) -> None:
    found = json.loads(bertcli("info", "-m", tiny_model, "-t", "embed", "--device", "cpu").stdout)
    assert (found["choice"]["backend"], found["model"]["licence"]) == ("pytorch", "not stated")
    assert found["check"]["passed"] is True


def test_info_on_a_terminal_is_tables(bertcli: Run) -> None:
    shown = bertcli("info", "-t", "ner", "--format", "rich").stdout.decode()
    assert [line for line in shown.splitlines() if line in ("versions", "devices", "choice", "model", "check")] == [
        "versions", "devices", "choice", "model", "check",
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [0.5, float("nan")])
def test_a_device_that_computes_wrong_is_exit_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: float
) -> None:
    right = Backend.run

    def skewed(self: Backend, batch: Any) -> Any:
        outputs = right(self, batch)
        return outputs if len(batch["input_ids"]) == 1 else {name: value + wrong for name, value in outputs.items()}

    monkeypatch.setattr(Backend, "run", skewed)
    assert run(["info", "--format", "json"]) == 1
    captured = capsys.readouterr()
    assert "bertcli: cpu differs from the CPU by " in captured.err and "use --device cpu" in captured.err


def test_info_needs_a_model(bertcli: Run) -> None:
    assert b"is neither a directory nor a model on the Hub" in bertcli("info", "-m", "no/such", expect=2).stderr


def test_bench_has_a_row_for_each_length(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("good\nbad film\n" + "good film " * 15 + "\n" + "bad " * 900)
    rows = [json.loads(line) for line in bertcli("bench", "in.txt", "--backend", "onnx").stdout.splitlines()]
    lengths = [("to 16", 2), ("to 32", 1), ("more", 1)]
    expected = [(has_exit, *length) for has_exit in (True, False) for length in lengths]
    assert [(row["exit"], row["tokens"], row["texts"]) for row in rows] == expected
    for row in rows:
        assert (row["backend"], row["precision"], row["device"]) == ("onnx", "int8", "cpu")
        assert 0 < row["least"] <= row["texts_per_s"] <= row["most"] and row["tokens_per_s"] > row["texts_per_s"]
        assert 0 < row["first_result_s"] < 100 and 50 < row["peak_mb"] < 5000


def killed(*_: object) -> None:
    """What the system does to a process that has taken its memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_bench_says_that_its_process_was_killed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bertcli.inference import measure

    monkeypatch.setattr(measure, "_answer", killed)
    assert run(["bench", "--backend", "onnx"]) == 1
    why = "something killed its process, as a system that is out of memory does"
    assert capsys.readouterr().err == f"bertcli: onnx in int8: {why}; a smaller --batch-tokens needs less.\n"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGPIPE])
def test_bench_leaves_no_process_behind(tmp_path: Path, end: int) -> None:
    (tmp_path / "texts.txt").write_text("good\n", "utf-8")
    words = [*COMMAND, "bench", "--backend", "onnx", str(tmp_path / "texts.txt")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline()  # then the process of the second variant begins
        if end == signal.SIGINT:
            os.killpg(process.pid, end)
        else:
            process.stdout.close()
        errors = process.stderr.read()  # to the end of the last process that holds the pipe
        assert (process.wait(), errors) == (-end, b"")


@pytest.mark.parametrize("fields", [{}, {"text_field": "body"}])
@pytest.mark.parametrize("task", ["text-classification", "ner", "qa"])
def test_bench_makes_up_texts_for_any_task(monkeypatch: pytest.MonkeyPatch, task: str, fields: dict[str, str]) -> None:
    from bertcli.inference import Batching, measure
    from bertcli.inference.session import Request
    from bertcli.tasks.options import Options

    monkeypatch.setattr(measure, "TOKENS", 400)
    monkeypatch.setattr(measure, "RUNS", 1)
    workload = measure.Workload(Request(task=task, backend="onnx"), Options(**fields), Batching(), None)
    rows = measure.measure(workload, 0.0)
    # A question is more tokens for each text. Windows of a text of 400 words, of 128 or 512 tokens, have more than 512.
    question = {"to 64"} if task == "qa" else set()
    assert {row["tokens"] for row in rows} == {"to 16", "to 32", "to 128", "more"} | question


def test_bench_of_nothing_that_runs(bertcli: Run) -> None:
    done = bertcli("bench", "--precision", "fp32", expect=2)
    assert b"no backend and precision that were asked for can run this model" in done.stderr


def test_bench_of_no_records_makes_up_none(bertcli: Run) -> None:
    done = bertcli("bench", "-", "-v", "-q", expect=2)
    assert done.stderr == b"bertcli: nothing to measure: the input has no records; without FILES texts are made up.\n"
    assert bertcli("predict", "-v", "-q").stderr == b""
