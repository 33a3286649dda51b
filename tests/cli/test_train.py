"""bertcli finetune and export on a tiny model: what is written, what is said, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bertcli.cli.commands.finetune import is_unfinished
from bertcli.cli.main import run
from bertcli.training.loop import Eval
from tests.cli.conftest import Run

ROWS = [("good lovely film", "pos"), ("great acting", "pos"), ("bad awful plot", "neg"), ("dull poor scene", "neg")] * 8


@pytest.fixture
def data(tmp_path: Path) -> str:
    lines = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(tmp_path / "train.jsonl")


def finetune(model: Path, out: Path, *options: str) -> int:
    return run(["finetune", "-m", str(model), "-o", str(out), "--device", "cpu", "--threads", "1", *options])


def test_a_model_is_trained_exported_and_used(
    tiny_model: Path, data: str, tmp_path: Path, bertcli: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    options = ["--train", data, "--dev", data, "--epochs", "12", "--lr", "0.003", "--precision", "fp32", "-v"]
    assert finetune(tiny_model, out, *options) == 0
    said = capfd.readouterr()
    assert said.out == ""
    assert "labels: neg, pos (sorted, from the training data)" in said.err
    assert "model_quantized.onnx" in said.err
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files >= {
        "config.json", "model.safetensors", "tokenizer.json", "README.md", "bertcli.yaml", "metrics.json",
        "onnx/model.onnx", "onnx/model_quantized.onnx",
    }  # fmt: skip
    metrics = json.loads(bertcli("evaluate", data, "-m", out, "--fail-under", "accuracy=1").stdout)
    assert metrics["accuracy"] == 1
    texts = "\n".join(text for text, _ in ROWS).encode()
    lines = bertcli("predict", "-m", out, stdin=texts).stdout.splitlines()
    assert [json.loads(line)["label"] for line in lines] == [label for _, label in ROWS]


def test_data_may_be_named_in_any_bytes_and_a_model_in_utf_8(
    tiny_model: Path, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    latin1 = os.fsdecode(b"donn\xe9es")
    named, out = shutil.copy(data, tmp_path / f"{latin1}.jsonl"), tmp_path / "out"
    assert finetune(tiny_model, out, "--train", str(named), "--epochs", "1", "--no-export") == 0
    assert "train: donn\\udce9es.jsonl, " in (out / "README.md").read_text("utf-8")
    again = ["--config", str(out / "bertcli.yaml"), "-o", str(tmp_path / "again")]
    assert run(["finetune", *again]) == 0
    capfd.readouterr()
    assert finetune(tiny_model, tmp_path / latin1, "--train", data) == 2
    assert capfd.readouterr().err.endswith("es: the name of a model's directory must be UTF-8; rename it.\n")


def test_the_models_own_yaml_repeats_the_run_with_a_change(
    tiny_model: Path, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    options = ["--train", data, "--dev", data, "--labels", "pos,neg", "--class-weights", "pos=2", "--lr", "0.001"]
    assert finetune(tiny_model, first, *options, "--epochs", "1", "--no-export") == 0
    config = str(first / "bertcli.yaml")
    assert run(["finetune", "--config", config, "-o", str(second), "--epochs", "2"]) == 0
    kept = [yaml.safe_load((path / "bertcli.yaml").read_text(encoding="utf-8"))["finetune"] for path in (first, second)]
    assert kept[0] == {**kept[1], "epochs": 1}
    assert kept[0]["train"] == [data] and kept[0]["labels"] == ["pos", "neg"] and kept[0]["export"] is False
    assert run(["evaluate", "--config", config, "-m", str(first), data, "-q"]) == 0
    assert '"accuracy"' in capfd.readouterr().out


def test_stdin_is_read_once(tiny_model: Path, data: str, tmp_path: Path, bertcli: Run) -> None:
    command = ["finetune", "-m", tiny_model, "-o", "out", "--device", "cpu", "--threads", "1", "--epochs", "1"]
    rows = Path(data).read_bytes()
    said = bertcli(*command, "--train", "-", "--dev", data, stdin=rows).stderr.decode()
    assert "model_quantized.onnx" in said and (tmp_path / "out/onnx/model.onnx").is_file()
    again = [*command, "--train", data, "--dev", "-", "--exit-after", "1", "--overwrite"]
    assert bertcli(*again, stdin=rows, expect=2).stderr.decode() == (
        "bertcli: --report and --exit-after read --dev again, which stdin cannot be; name a file.\n"
    )


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stopped_run_is_resumed_to_the_same_weights(
    tiny_model: Path, data: str, tmp_path: Path, signum: int, code: int
) -> None:
    options = ["--train", data, "--dev", data, "--epochs", "40", "--eval-steps", "25", "--batch-tokens", "40"]
    options += ["--no-export"]
    assert finetune(tiny_model, tmp_path / "whole", *options) == 0
    command = [sys.executable, "-m", "bertcli", "finetune", "-m", str(tiny_model), "-o", str(tmp_path / "cut")]
    command += ["--device", "cpu", "--threads", "1", *options]
    ignored = signal.signal(signum, signal.SIG_DFL)  # nohup has it ignored, which children inherit
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        signal.signal(signum, ignored)
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"step ")
        process.send_signal(signum)
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == code
    assert "after step " in said and said.endswith("; --resume goes on from there\n")
    assert not (tmp_path / "cut" / "config.json").exists()
    assert finetune(tiny_model, tmp_path / "cut", *options, "--resume") == 0
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_resume_finishes_what_a_kill_left_and_only_that(
    tiny_model: Path, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, page = tmp_path / "model", tmp_path / "page.html"
    options = ["--train", data, "--dev", data, "--epochs", "1", "--report", str(page)]
    (out / "checkpoints" / "draft-last-1").mkdir(parents=True)  # killed before its first checkpoint
    (out / "log.jsonl").write_text('{"event": "step", "st', "utf-8")
    assert finetune(tiny_model, out, *options, "--resume") == 0
    files = [out / "model.safetensors", out / "onnx" / "model.onnx"]
    times = [file.stat().st_mtime_ns for file in files]
    files[1].unlink()  # killed between publishing and export
    page.unlink()
    assert finetune(tiny_model, out, *options, "--resume") == 0
    assert files[0].stat().st_mtime_ns == times[0] and files[1].exists() and page.exists()
    times = [file.stat().st_mtime_ns for file in files]
    assert finetune(tiny_model, out, *options, "--resume") == 0
    assert [file.stat().st_mtime_ns for file in files] == times
    capfd.readouterr()
    assert finetune(tiny_model, out, *options, "--resume", "--lr", "0.5") == 2
    assert "these differ:\n  lr: was 0.0001, is 0.5" in capfd.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").touch()
    assert finetune(tiny_model, tmp_path / "other", *options, "--resume") == 2
    assert "holds no run that --resume could go on with" in capfd.readouterr().err
    assert oct(files[0].stat().st_mode)[-3:] == oct((out / "config.json").stat().st_mode)[-3:]


def test_what_a_kill_before_the_first_checkpoint_left_does_not_stop_a_new_run(
    tiny_model: Path, data: str, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    (out / "checkpoints" / "draft-best-1").mkdir(parents=True)
    (out / "log.jsonl").touch()
    assert finetune(tiny_model, out, "--train", data, "--epochs", "1", "--no-export") == 0


def test_an_existing_model_is_not_overwritten_unasked(
    tiny_model: Path, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious").touch()
    assert finetune(tiny_model, tmp_path / "model", "--train", data) == 2
    assert "is not empty; --overwrite replaces its model" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("train", "dev", "message"),
    [
        ("", None, "the training data has no records"),
        ('{"text": "a", "label": "x"}', None, "has no label but 'x'; two classes are needed"),
        ('{"text": "a", "label": "x"}\n{"text": "b"}\n', None, "train.jsonl:2: no field 'label'"),
        ('{"text": "a", "label": "x"}\nnot json\n', None, "train.jsonl:2: not JSON"),
        (
            '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}',
            '{"text": "a", "label": "z"}',
            "has not: z. Known are: x, y; --map-labels z= leaves them out, z=LABEL renames one.",
        ),
    ],
    ids=["empty", "one class", "no label", "broken", "unknown in dev"],
)  # fmt: skip
def test_data_that_cannot_be_learned_from_exits_2(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], train: str, dev: str | None, message: str
) -> None:
    (tmp_path / "train.jsonl").write_text(train, encoding="utf-8")
    options = ["--train", str(tmp_path / "train.jsonl")]
    if dev:
        (tmp_path / "dev.jsonl").write_text(dev, encoding="utf-8")
        options += ["--dev", str(tmp_path / "dev.jsonl")]
    assert finetune(tiny_model, tmp_path / "model", *options) == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "model").exists()


def test_a_pickle_is_never_opened(
    tiny_model: Path, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "vocab.txt"):
        (folder / name).write_bytes((tiny_model / name).read_bytes())
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    assert finetune(folder, tmp_path / "model", "--train", data) == 2
    assert "the weights are a pickle" in capfd.readouterr().err
    assert not Path("owned").exists()


def test_export_without_texts_says_what_it_needs(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none.txt").touch()
    options = ["-t", "classify", "--calibrate", str(tmp_path / "none.txt")]
    assert run(["export", str(tiny_model), *options]) == 2
    assert "there is no text to calibrate on" in capfd.readouterr().err


def test_a_run_that_still_got_better_is_told_from_one_that_has_settled() -> None:
    def evaluations(*scores: float | None) -> list[Eval]:
        return [Eval(i, i, {"f1": score}, i == len(scores) - 1, "f1") for i, score in enumerate(scores)]

    assert is_unfinished(evaluations(0.07, 0.08)) and is_unfinished(evaluations(None, 0.5))
    assert not is_unfinished(evaluations(0.9, 0.91)) and not is_unfinished(evaluations(0.5))
    assert not is_unfinished([*evaluations(0.5, 0.9), Eval(2, 2, {"f1": 0.8}, False, "f1")])
