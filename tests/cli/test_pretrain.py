"""bertcli pretrain as a user runs it: from text to a model, stopped, killed, in two processes, on bad input."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bertcli.cli.main import run
from tests.cli.conftest import COMMAND, Run
from tests.pretraining.test_pretrain import SHAPE, document

SMALL = ["--vocab-size", "98", "--lengths", "16", "--batch-tokens", "128", "--lr", "5e-3", "--precision", "fp32"]
SMALL += ["--device", "cpu", "--threads", "1"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """160 documents in two files, and the shape of a model of two layers."""
    chance = random.Random(0)
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("\n\n".join(document(chance) for _ in range(80)))
    (tmp_path / "shape.json").write_text(json.dumps(SHAPE))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTCLI_PRETRAIN_CACHE", str(tmp_path / "cache"))


def arguments(corpus: Path, out: Path, *more: str) -> list[str]:
    shape = str(corpus.parent / "shape.json")
    return ["pretrain", str(corpus), "--model-config", shape, "-o", str(out), *SMALL, *more]


def events(out: Path) -> list[dict[str, Any]]:
    """What the log says, without what a clock decides."""
    clock = {"time": 0, "examples_per_s": 0, "tokens_per_s": 0, "seconds_left": 0}
    return [json.loads(line) | clock for line in (out / "log.jsonl").read_text().splitlines()]


def test_from_text_to_a_model_that_fills_masks(
    bertcli: Run, corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert run([*arguments(corpus, out, "--epochs", "8", "--objective", "mlm+nsp", "-v")]) == 0
    said = capfd.readouterr()
    assert said.out == ""
    assert "corpus: 160 documents, " in said.err and "dev: 3 of 160 documents, " in said.err
    done = bertcli("predict", "-m", out, stdin=b"the [MASK] likes milk.\n")
    (masks,) = json.loads(done.stdout)["masks"]
    assert masks[0]["token"] in {"cat", "dog", "cow", "bee"}


def test_the_models_own_yaml_repeats_the_run_with_a_change(corpus: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(arguments(corpus, first, "--steps", "3", "--cased", "--lengths", "16:0.5,24:0.5")) == 0
    assert run(["pretrain", "--config", str(first / "bertcli.yaml"), "-o", str(second)]) == 0
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    kept = [yaml.safe_load((path / "bertcli.yaml").read_text(encoding="utf-8")) for path in (first, second)]
    assert kept[0]["provenance"].pop("card") != kept[1]["provenance"].pop("card")  # it names its model
    assert kept[0] == kept[1] and kept[0]["pretrain"]["lengths"] == "16:0.5,24:0.5"


# Stopped.


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_or_killed_run_is_resumed_to_the_same_weights(
    corpus: Path, tmp_path: Path, signum: int, code: int
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options = ["--steps", "60", "--eval-steps", "2", "--dropout", "0.1"]
    assert run(arguments(corpus, whole, *options)) == 0
    command = [*COMMAND, *arguments(corpus, cut, *options)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "HF_HUB_OFFLINE": "1"}) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith(b"step 6 "):
            assert process.poll() is None
        process.send_signal(signum)
        process.communicate(timeout=60)
    assert process.returncode == code
    assert not (cut / "config.json").exists()
    assert run(arguments(corpus, cut, *options, "--resume")) == 0
    assert (whole / "model.safetensors").read_bytes() == (cut / "model.safetensors").read_bytes()
    assert events(whole) == events(cut)


@pytest.mark.parametrize(  # of any file: the corpus does not fit, or a checkpoint
    ("size", "message"), [(1 << 12, "File too large"), (1 << 17, "last-1: cannot be written (is the disk full?)")]
)
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(
    corpus: Path, tmp_path: Path, size: int, message: str
) -> None:
    command = arguments(corpus, tmp_path / "model", "--steps", "4")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = subprocess.run([*COMMAND, *command], capture_output=True, preexec_fn=limit, check=False)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr and message in done.stderr.decode().splitlines()[-1]
    resumed = ["--overwrite"] if (tmp_path / "model").exists() else []
    assert run([*command, *resumed]) == 0


# Several processes.


def torchrun(*command: str, port: int) -> "subprocess.CompletedProcess[bytes]":
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launcher, "-m", "bertcli", *command], capture_output=True, check=False, env=env, timeout=240
    )


@pytest.mark.parametrize("objective", ["mlm", "mlm+nsp"])
def test_two_processes_train_as_one(corpus: Path, tmp_path: Path, objective: str) -> None:
    options = ["--steps", "12", "--eval-steps", "4", "--objective", objective]
    assert run(arguments(corpus, tmp_path / "one", *options)) == 0
    done = torchrun(*arguments(corpus, tmp_path / "two", *options), port=29511 + len(objective))
    assert done.returncode == 0, done.stderr.decode()
    one, two = (events(tmp_path / name) for name in ("one", "two"))
    assert [event["step"] for event in one] == [event["step"] for event in two]
    for single, double in zip(one, two, strict=True):
        if single["event"] == "step":
            assert double["loss"] == pytest.approx(single["loss"], abs=1e-4)
            assert (double["examples"], double["tokens"]) == (single["examples"], single["tokens"])
        else:
            assert double["metrics"] == pytest.approx(single["metrics"], abs=1e-4)


def test_two_processes_finetune_as_one(tiny_model: Path, tmp_path: Path) -> None:
    rows = [("good lovely film", "pos"), ("great acting", "pos"), ("bad awful plot", "neg"), ("dull scene", "neg")] * 9
    data = tmp_path / "train.jsonl"
    data.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows))
    command = ["finetune", "--train", str(data), "--dev", str(data), "-m", str(tiny_model), "--no-export"]
    command += ["--device", "cpu", "--threads", "1", "--precision", "fp32", "--dropout", "0", "--batch-tokens", "60"]
    for number, options in enumerate([[], ["--teacher", str(tmp_path / "one-0")]]):
        one, two = (tmp_path / f"{name}-{number}" for name in ("one", "two"))
        assert run([*command, *options, "--cache", f"{one}-cache", "-o", str(one)]) == 0
        done = torchrun(*command, *options, "--cache", f"{two}-cache", "-o", str(two), port=29533 + number)
        assert done.returncode == 0, done.stderr.decode()
        for single, double in zip(events(one), events(two), strict=True):
            if single["event"] == "step":
                assert double["loss"] == pytest.approx(single["loss"], abs=1e-4)


# Bad input.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", b"there is no text to train a vocabulary on"),
        (b"\n \n\n", b"there is no text to train a vocabulary on"),
        (b"the cat likes milk.\n", b"pieces, not --vocab-size 98; ask for"),
        (b"\x89PNG\r\n\x00\x00\x00", b"there is no text to train a vocabulary on"),
    ],
)
def test_a_corpus_without_enough_text_is_refused(bertcli: Run, tmp_path: Path, content: bytes, message: bytes) -> None:
    (tmp_path / "c.txt").write_bytes(content)
    assert message in bertcli("pretrain", "c.txt", "-o", "model", *SMALL, expect=2).stderr
    assert not (tmp_path / "model").exists()


def test_text_without_tokens_or_of_one_line(bertcli: Run, tmp_path: Path, tiny_model: Path) -> None:
    options = ["-m", tiny_model, "-o", "model", "--steps", "1", *SMALL[2:]]
    (tmp_path / "c.txt").write_text("\u200b\n")
    assert b"the corpus has no text" in bertcli("pretrain", "c.txt", *options, expect=2).stderr
    (tmp_path / "c.txt").write_text("the film is good\n")
    bertcli("pretrain", "c.txt", *options)
    assert (
        b"one document"
        in bertcli("pretrain", "c.txt", *options, "--overwrite", "--objective", "mlm+nsp", expect=2).stderr
    )


def test_a_cache_that_cannot_be_written_has_its_option_named(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(corpus, tmp_path / "model", "--cache", str(corpus / "a.txt" / "cache"))) == 1
    said = capfd.readouterr().err
    assert said.startswith(f"bertcli: cannot write to {corpus / 'a.txt' / 'cache'}")
    assert said.endswith(": Not a directory; --cache names another folder\n")


def test_bytes_that_are_no_text_are_counted_or_refused(bertcli: Run, corpus: Path, tmp_path: Path) -> None:
    (corpus / "c.txt").write_bytes(b"the cat \xff\nthe dog barks.\n")
    (corpus / "d.bin").write_bytes(b"\x00\x01")
    command = arguments(corpus, tmp_path / "model", "--steps", "2")
    said = bertcli(*command).stderr.decode()
    assert "2 faults were left out of the corpus; the first: " in said and "c.txt:1: invalid UTF-8 at byte 9" in said
    refused = bertcli(*command, "--overwrite", "--on-error", "fail", expect=2).stderr.decode()
    assert "c.txt:1: invalid UTF-8 at byte 9" in refused
    (tmp_path / "numbers.jsonl").write_text('{"text": 1}\n{"text": 2}\n')
    command = ["pretrain", "numbers.jsonl", "-o", "other", *SMALL]
    said = bertcli(*command, expect=2).stderr.decode()
    assert "Faults left out: 2; the first: numbers.jsonl:1: field 'text' is no text; --text-field" in said
    assert "names another; --on-error skip leaves" in bertcli(*command, "--on-error", "fail", expect=2).stderr.decode()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lengths", "x"], "'x' is not LENGTH:SHARE,…"),
        (["--lengths", "16:0.5"], "--lengths: the shares must add up to 1"),
        (["--size", "tiny", "-m", "x"], "--model and --size: each says what the model is"),
        (["--words", "nowhere.txt", "--mask", "word"], "cannot read the word list nowhere.txt"),
    ],
)
def test_options_that_cannot_be_used(bertcli: Run, corpus: Path, options: list[str], message: str) -> None:
    assert message in bertcli("pretrain", corpus, "-o", "model", *options, expect=2).stderr.decode()
