"""--backend onnx on a checkpoint without ONNX files: written once into a cache, and used from then on without torch."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bertcli.cli.main import run
from bertcli.errors import BertcliError, Interrupted, ModelError
from bertcli.export import export as exporting
from bertcli.inference import cache
from bertcli.model import read, update
from tests.cli.conftest import COMMAND, Run
from tests.test_light import HIDDEN, ROOT

WORDS = "good fine great lovely bad awful poor dull film plot actor scene".split()
TEXTS = [f"{first} {second} the {third}" for first in WORDS[:8] for second in WORDS[2:] for third in WORDS[8:]][:80]
HEAD = "SequenceClassification"


@pytest.fixture(scope="module")
def pristine(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    path = tmp_path_factory.mktemp("checkpoint") / "model"
    shutil.copytree(tiny_model, path)
    torch.manual_seed(1)
    config = BertConfig.from_pretrained(tiny_model, num_labels=2, id2label={0: "no", 1: "yes"})
    BertForSequenceClassification(config).save_pretrained(path)
    return path


@pytest.fixture
def checkpoint(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A classifier with its weights alone, and a cache that is not there yet."""
    monkeypatch.setenv("BERTCLI_CACHE", str(tmp_path / "cache"))
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDDEN)
    return Path(shutil.copytree(pristine, tmp_path / "model"))


def predict(checkpoint: Path, *options: str, file: str = "texts.txt", expect: int = 0) -> bytes:
    """What `bertcli predict` writes for the file beside the checkpoint."""
    output = checkpoint.parent / "out.jsonl"
    arguments = [str(checkpoint.parent / file), "-m", str(checkpoint), "-o", str(output), "--force", *options]
    assert run(["predict", *arguments]) == expect
    return output.read_bytes() if expect == 0 else b""


def scores(results: bytes) -> list[float]:
    return [json.loads(line)["score"] for line in results.splitlines()]


def test_the_second_run_is_the_same_to_the_byte_and_needs_no_torch(checkpoint: Path, bertcli: Run) -> None:
    exact = predict(checkpoint)  # by torch, which makes no cache
    assert not cache.root().exists()
    first = predict(checkpoint, "--backend", "onnx")
    assert scores(first) == pytest.approx(scores(exact), abs=2e-6)
    light = {"PYTHONPATH": f"{checkpoint.parent / 'hidden'}{os.pathsep}{ROOT}"}
    for options in (["--backend", "onnx"], []):
        second = bertcli("predict", "-v", "-m", checkpoint, *options, "texts.txt", **light)
        assert second.stdout == first
        (row,) = cache.entries()
        assert f"onnx fp32 on cpu, {len(os.sched_getaffinity(0))} threads" in second.stderr.decode()
        assert second.stderr.decode().endswith(f"; its ONNX file is in {row['folder']}\n")


def test_a_hint_says_that_it_would_pay(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict(checkpoint, "-v", "--device", "cpu")
    assert "no ONNX files of this task: --backend onnx writes one into a cache, once," in capsys.readouterr().err


def test_the_records_that_calibrate_int8_are_predicted_too(checkpoint: Path, bertcli: Run) -> None:
    stdin = "\n".join([*TEXTS, "", *TEXTS[:3]]).encode()
    options = ["predict", "-m", checkpoint, "--backend", "onnx", "--precision", "int8"]
    first = bertcli(*options, stdin=stdin)
    assert [json.loads(line)["text"] for line in first.stdout.splitlines()] == stdin.decode().split("\n")
    (row,) = cache.entries()
    assert (row["model"], row["precision"], row["texts"]) == (str(checkpoint), "int8", 81)  # different ones
    assert not Path(row["folder"], "onnx", "model.onnx").exists()
    light = {"PYTHONPATH": f"{checkpoint.parent / 'hidden'}{os.pathsep}{ROOT}"}
    assert bertcli(*options, stdin=stdin, **light).stdout == first.stdout
    alone = bertcli(*options, stdin=TEXTS[7].encode(), **light)  # Not too few: it is there already.
    assert alone.stdout == first.stdout.splitlines(keepends=True)[7]
    assert (
        b"onnx fp32" not in bertcli("predict", "-v", "-m", checkpoint, stdin=b"good").stderr
    )  # int8 was not asked for


def test_too_few_texts_measure_no_scales(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkpoint.parent / "few.txt").write_text("good film\n" * 600)
    options = ["--backend", "onnx", "--precision", "int8"]
    predict(checkpoint, *options, file="few.txt", expect=2)
    assert capsys.readouterr().err == (
        "bertcli: the scales of int8 are measured on the first 512 texts, and 1 are too few: 64 are the least. "
        "--calibrate FILE names texts like those to come.\n"
    )
    assert cache.entries() == []
    texts = str(checkpoint.parent / "texts.txt")
    assert predict(checkpoint, *options, "--calibrate", texts, file="few.txt").count(b"\n") == 600
    predict(checkpoint, *options)  # other texts, other scales, another file
    assert [row["texts"] for row in cache.entries()] == [80, 80]
    predict(checkpoint, *options, "--calibrate", texts, file="few.txt")
    assert len(cache.entries()) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "onnx", "--precision", "int8", "--calibrate", "/dev/stdin"], "--calibrate /dev/stdin: no file"),
        (["--backend", "onnx", "--calibrate", "texts.txt"], "so it needs --precision int8"),
        (["--backend", "onnx", "--precision", "bf16"], "for bf16 use --backend pytorch"),
        (["--precision", "int8"], "for int8 use --backend onnx"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    predict(checkpoint, *options, expect=2)
    assert message in capsys.readouterr().err and not cache.root().exists()


def test_all_that_decides_a_file_is_in_its_name(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def name(head: str = HEAD, precision: str = "fp32", *texts: str) -> str:
        return cache.folder_of(read(checkpoint), head, precision, texts).name

    texts = str(checkpoint.parent / "texts.txt")
    names = {name(), name("MaskedLM"), name(precision="int8"), name(HEAD, "int8", texts)}
    assert len(names) == 4 and name(HEAD, "fp32", texts) in names
    update(read(checkpoint), {"calibration": {"temperature": 2.0}, "null_threshold": 0.5})
    assert name() in names  # what bertcli learns afterwards changes no graph
    with monkeypatch.context() as patch:
        patch.setattr(cache, "__version__", "another")
        assert name() not in names
    update(read(checkpoint), {"hidden_act": "relu"})
    names.add(name())
    (checkpoint / "vocab.txt").write_text((checkpoint / "vocab.txt").read_text() + "more\n")
    names.add(name())
    weights = bytearray((checkpoint / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (checkpoint / "model.safetensors").write_bytes(weights)
    names.add(name())
    assert len(names) == 7


def test_hashes_are_remembered_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    monkeypatch.setenv("BERTCLI_CACHE", str(tmp_path / "cache"))
    cache.root().mkdir()
    digest = cache._sha256(file)
    assert not (cache.root() / "hashes").exists()  # written just now, it may change within the clock's tick
    monkeypatch.setattr(cache, "STEADY", -1)
    assert cache._sha256(file) == digest
    (memo,) = (cache.root() / "hashes").iterdir()
    memo.write_text("f" * 64)
    assert cache._sha256(file) == "f" * 64  # without a look into the file
    memo.write_text("cut off")
    assert cache._sha256(file) == digest == memo.read_text()
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_bytes(b"abd")
    os.utime(file, ns=times)
    assert cache._sha256(file) != digest


def test_two_processes_at_once_write_one_file(checkpoint: Path) -> None:
    command = [*COMMAND, "predict", "-m", str(checkpoint), "--backend", "onnx", "texts.txt"]
    both = [subprocess.Popen(command, cwd=checkpoint.parent, stdout=subprocess.PIPE) for _ in range(2)]
    first, second = (process.communicate()[0] for process in both)
    assert first == second and first.count(b"\n") == 80 and [process.returncode for process in both] == [0, 0]
    assert len(cache.entries()) == 1 and len(list((cache.root() / "onnx").iterdir())) == 1


@pytest.mark.parametrize("fault", [ModelError("differs"), Interrupted(signal.SIGINT)])
def test_a_file_is_there_when_it_is_whole(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, fault: BertcliError
) -> None:
    def fail(*_: Any) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "_compare", fail)
        predict(checkpoint, "--backend", "onnx", expect=fault.exit_code)
    assert cache.entries() == []
    predict(checkpoint, "--backend", "onnx")
    assert [entry.name for entry in (cache.root() / "onnx").iterdir()] == [Path(cache.entries()[0]["folder"]).name]


def test_a_damaged_file_is_said_to_be_of_the_cache(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict(checkpoint, "--backend", "onnx")
    (row,) = cache.entries()
    os.truncate(Path(row["folder"], "onnx", "model.onnx"), 1000)
    predict(checkpoint, expect=2)
    message = capsys.readouterr().err
    assert message.startswith(f"bertcli: {row['folder']}/onnx/model.onnx: ONNX Runtime cannot open it (")
    assert message.endswith(f" To write it anew: bertcli cache --clear {checkpoint}\n")


def test_a_cache_that_cannot_be_written_is_named(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BERTCLI_CACHE", str(checkpoint / "config.json" / "cache"))
    predict(checkpoint, "--backend", "onnx", expect=1)
    message = "Not a directory; BERTCLI_CACHE names another folder"
    assert capsys.readouterr().err == f"bertcli: cannot write to {checkpoint}/config.json/cache: {message}\n"


@pytest.mark.parametrize(("xdg", "folder"), [("/x", "/x/bertcli"), (None, "/home/me/.cache/bertcli")])
def test_the_cache_is_where_caches_are(monkeypatch: pytest.MonkeyPatch, xdg: str | None, folder: str) -> None:
    monkeypatch.delenv("BERTCLI_CACHE")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if xdg:
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert cache.root() == Path(folder)


def test_a_user_without_a_home_has_no_cache(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("BERTCLI_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)
    assert predict(checkpoint)
    assert run(["cache"]) == 0
    predict(checkpoint, "--backend", "onnx", expect=1)


def test_a_model_of_which_nothing_is_cached_is_named(bertcli: Run, tmp_path: Path) -> None:
    done = bertcli("cache", "clear", BERTCLI_CACHE=str(tmp_path / "empty"))
    assert done.stdout == b""
    assert done.stderr == f"bertcli: nothing of a model 'clear' is in {tmp_path / 'empty'}.\n".encode()


def test_files_are_listed_and_cleared(
    checkpoint: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed(*arguments: str) -> list[dict[str, Any]]:
        assert run(["cache", "--format", "json", *arguments]) == 0
        return [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    assert listed() == listed("--clear") == []
    predict(checkpoint, "--backend", "onnx")
    predict(checkpoint, "--backend", "onnx", "-t", "embed", "--format", "jsonl")
    monkeypatch.chdir(checkpoint.parent)
    rows = listed("model")
    assert [(row["task"], row["precision"], row["texts"]) for row in rows] == [
        ("feature-extraction", "fp32", None), ("text-classification", "fp32", None),
    ]  # fmt: skip
    assert {row["model"] for row in rows} == {str(checkpoint)} and all(row["megabytes"] > 0 for row in rows)
    assert listed("other", "--clear") == [] and listed() == rows
    monkeypatch.setenv("COLUMNS", "500")
    assert run(["cache", "--format", "rich"]) == 0
    assert f"What is in {cache.root()}\n\n{checkpoint}\n" in capfd.readouterr().out
    assert listed("model", "--clear") == rows and listed() == []
    assert list((cache.root() / "onnx").iterdir()) == []


def test_what_pretrain_keeps_is_listed_and_cleared_too(bertcli: Run, tmp_path: Path) -> None:
    place = {"BERTCLI_CACHE": str(tmp_path / "cache")}
    (tmp_path / "texts.txt").write_text("a gripping film and a good plot\n\n" * 60)
    (tmp_path / "cache" / "mine").mkdir(parents=True)
    bertcli("pretrain", "texts.txt", "--size", "tiny", "--vocab-size", "40", "--steps", "1", "-o", "out", **place)
    listed = [json.loads(line) for line in bertcli("cache", "--format", "json", **place).stdout.splitlines()]
    assert {(row["kind"], row["model"]) for row in listed} == {("corpus", None), ("vocabulary", None)}
    assert b"of no model" in bertcli("cache", "--format", "rich", **place).stdout
    bertcli("cache", "--clear", "out", **place)  # which are the model's alone
    assert all(Path(row["folder"]).is_dir() for row in listed)
    bertcli("cache", "--clear", **place)
    assert {file.name for file in (tmp_path / "cache").iterdir()} == {"mine", "lock"}


def test_other_commands_use_it_and_say_so(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    labels = [json.loads(line)["label"] for line in predict(checkpoint).splitlines()]
    labels[::3] = [{"no": "yes", "yes": "no"}[label] for label in labels[::3]]  # it is to be right, but not always
    pairs = zip(TEXTS, labels, strict=True)
    Path("dev.jsonl").write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in pairs))
    assert run(["info", "-m", "model", "--backend", "onnx"]) == 2
    assert "`bertcli predict --backend onnx` into a cache" in capfd.readouterr().err
    options = ["-m", "model", "--backend", "onnx", "--precision", "int8", "--format", "json"]
    assert run(["evaluate", "dev.jsonl", "--compare", "model", *options]) == 0
    comparison = json.loads(capfd.readouterr().out)["comparison"]
    assert (comparison["fixed"], comparison["broken"]) == ([], [])
    monkeypatch.setattr(exporting, "write", None)  # what is there is not written again
    assert run(["calibrate", "dev.jsonl", *options]) == 0
    assert run(["evaluate", "dev.jsonl", *options]) == 0  # calibrated or not, it is the same file
    capfd.readouterr()
    assert run(["info", *options]) == 0
    shown = json.loads(capfd.readouterr().out)
    (row,) = cache.entries()
    assert (shown["choice"]["precision"], shown["model"]["ONNX file in the cache"]) == ("int8", row["folder"])
    assert run(["bench", "dev.jsonl", *options]) == 0
    assert json.loads(capfd.readouterr().out)["precision"] == "int8"


def test_a_tokenizer_that_only_transformers_reads_is_kept_too(checkpoint: Path, bertcli: Run) -> None:
    (checkpoint / "tokenizer.json").unlink(missing_ok=True)
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({**settings, "tokenizer_class": "ElectraTokenizer"}))
    first = predict(checkpoint, "--backend", "onnx")
    light = {"PYTHONPATH": f"{checkpoint.parent / 'hidden'}{os.pathsep}{ROOT}"}
    assert bertcli("predict", "-m", checkpoint, "texts.txt", **light).stdout == first


def test_what_cannot_be_removed_is_said(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict(checkpoint, "--backend", "onnx")

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert run(["cache", "--clear"]) == 1 and len(cache.entries()) == 1
