"""A disk that is full, as a limit on the size of files stands for it: nothing half is left, and the file is named."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bertcli import tokenizer_files
from bertcli.cli.main import run

ROWS = [("good lovely film", "positive"), ("bad awful plot", "negative"), ("good fine", "negative")] * 20


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """Within it no file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def data(tmp_path: Path) -> str:
    file = tmp_path / "data.jsonl"
    file.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in ROWS), "utf-8")
    return str(file)


def rests(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} - {"data.jsonl"}


def finetune(model: Path, out: Path, data: str, *options: str) -> int:
    return run(
        ["finetune", "-m", str(model), "-o", str(out), "--train", data, "--epochs", "1", "--device", "cpu", *options]
    )


def test_calibrate_leaves_no_half_copy(data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "copy"
    with full_after(1_000_000):
        assert run(["calibrate", data, "-o", str(out)]) == 1
    assert capfd.readouterr().err == f"bertcli: cannot write to {out}: File too large\n"
    assert not rests(tmp_path)
    assert run(["calibrate", data, "-o", str(out), "-q"]) == 0
    assert (out / "config.json").is_file() and not (out / "config.tmp").exists()


def test_explain_leaves_no_half_page(data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    with full_after(5_000):
        assert run(["explain", "good", "--html", str(page), "-f", "rich"]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == f"bertcli: cannot write to {page}: File too large"
    assert not rests(tmp_path)


@pytest.mark.parametrize("limit", [400, 3_000])  # the side file itself; the results, before the first mark
def test_predict_names_the_file_and_leaves_none(
    data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], limit: int
) -> None:
    out = tmp_path / "out.jsonl"
    with full_after(limit):
        assert run(["predict", data, "-o", str(out)]) == 1
    assert f"bertcli: cannot write to {out}" in (said := capfd.readouterr().err) and "File too large" in said
    assert not rests(tmp_path)


def test_export_leaves_both_files_or_none(
    tiny_model: Path, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert finetune(tiny_model, out, data, "--no-export") == 0
    before = rests(out)
    capfd.readouterr()
    for limit in (20_000, 110_000):
        with full_after(limit):
            assert run(["export", str(out), "--calibrate", data]) == 1
        assert f"bertcli: cannot write to {out / 'onnx'}" in capfd.readouterr().err
        assert rests(out) - {"onnx"} == before


def test_finetune_leaves_no_draft_and_goes_on(
    tiny_model: Path, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    with full_after(50_000):
        assert finetune(tiny_model, out, data, "--no-export") == 1
    said = capfd.readouterr().err
    assert str(out) in said and "make room and go on with --resume" in said
    assert not [name for name in rests(out) if "draft" in name or name.endswith(("safetensors", "pt"))]

    def fails(*arguments: object) -> None:
        raise Exception("No space left on device (os error 28)")  # as tokenizers does

    with monkeypatch.context() as patch:
        patch.setattr(tokenizer_files, "save", fails)
        assert finetune(tiny_model, out, data, "--no-export", "--resume") == 1
    assert (
        capfd.readouterr().err.splitlines()[-1]
        == f"bertcli: cannot write to {out}: No space left on device; make room and go on with --resume"
    )
    assert not (out / "config.json").exists()
    with full_after(100):
        assert finetune(tiny_model, out, data, "--no-export", "--resume", "-q") == 1
    assert finetune(tiny_model, out, data, "--no-export", "--resume") == 0
    assert (out / "config.json").is_file() and not (out / "checkpoints").exists()


def test_tokenizer_train_names_its_directory(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "corpus.txt").write_text("a good film and a bad one\n" * 9)
    words = ["tokenizer", "train", str(tmp_path / "corpus.txt"), "--vocab-size", "39", "-o", str(tmp_path / "words")]
    with full_after(1_000):
        assert run(words) == 1
    assert capfd.readouterr().err.splitlines()[-1] == f"bertcli: cannot write to {tmp_path / 'words'}: File too large"
    assert not rests(tmp_path / "words")
    assert run(words) == 0
