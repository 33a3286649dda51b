"""finetune --exit-after on a tiny model, and what predict, evaluate, calibrate, bench and info then do."""

import json
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from bertcli.cli.main import run
from bertcli.model import REST, read, update
from tests.cli.conftest import COMMAND, Run

FILLERS = "film plot actor scene the a is was very".split()


def rows(count: int, seed: int) -> list[dict[str, str]]:
    """Texts of 3 to 30 words; what decides is one of two words, in one of eight texts the other of them comes too."""
    chance = random.Random(seed)
    made = []
    for i in range(count):
        words = chance.choices(FILLERS, k=chance.randint(2, 28))
        decisive = ["good", "bad"][i % 2 :: -1] if i % 8 > 5 else [("good", "bad")[i % 2]]
        for word in decisive:
            words.insert(chance.randrange(len(words)), word)
        made.append({"text": " ".join(words), "label": ("pos", "neg")[i % 2]})
    return made


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with train, dev and texts, and a model whose threshold lets about half of the texts leave."""
    path = tmp_path_factory.mktemp("exits")
    for name, made in (("train.jsonl", rows(160, 0)), ("dev.jsonl", rows(80, 1)), ("in.jsonl", rows(300, 2))):
        (path / name).write_text("".join(json.dumps(row) + "\n" for row in made))
    arguments = ["--train", path / "train.jsonl", "--dev", path / "dev.jsonl", "-m", tiny_model, "-o", path / "m"]
    options = ["--exit-after", "1", "--epochs", "2", "--lr", "0.003", "--device", "cpu", "--threads", "1"]
    assert run(["finetune", *map(str, arguments), *options, "-q"]) == 0
    model = read(path / "m")
    stored = model.config["calibration"]["exit"]
    assert stored["after"] == 1 and stored["lost"] <= 0.001
    assert (path / "m" / REST["int8"]).is_file()
    shutil.copytree(path / "m", path / "half")
    return path


@pytest.fixture
def half(folder: Path, bertcli: Run, tmp_path: Path) -> Path:
    """The model with a threshold at which some of the texts leave."""
    shutil.copytree(folder / "half", tmp_path / "half")
    shutil.copy(folder / "in.jsonl", tmp_path / "in.jsonl")
    model = read(tmp_path / "half")
    for threshold in (4, 2, 1, 0.5, 0.25, 0.1, 0.05, 0.01):
        update(model, {"calibration": {"exit": {"threshold": threshold}}})
        layers = [row["layers"] for row in answers(bertcli, "predict", "in.jsonl", "-m", "half", "--all-scores")]
        if layers.count(1) > 60:
            break
    assert set(layers) == {1, 2}
    return tmp_path


def answers(bertcli: Run, *arguments: str, **how: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bertcli(*arguments, **how).stdout.splitlines()]


def test_a_record_is_the_same_alone_shuffled_and_in_shards(half: Path, bertcli: Run) -> None:
    command = ["predict", "in.jsonl", "-m", "half", "--all-scores"]
    whole = bertcli(*command).stdout
    assert bertcli(*command, "--batch-tokens", "1", "--threads", "1").stdout == whole
    shards = [bertcli(*command, "--shard", f"{i}/3").stdout for i in (1, 2, 3)]
    assert b"".join(shards) == whole
    lines = (half / "in.jsonl").read_bytes().splitlines(keepends=True)
    order = random.Random(0).sample(range(len(lines)), len(lines))
    shuffled = bertcli("predict", "-m", "half", "--all-scores", stdin=b"".join(lines[i] for i in order)).stdout
    answered = whole.splitlines()
    assert shuffled.splitlines() == [answered[i] for i in order]
    assert bertcli("predict", "-m", "half", "--all-scores", stdin=lines[7]).stdout.splitlines() == [answered[7]]


def test_a_run_that_is_killed_goes_on_with_the_same_exit_alone(half: Path, bertcli: Run) -> None:
    lines = (half / "in.jsonl").read_bytes().splitlines(keepends=True)
    command = ["predict", "-m", "half", "--all-scores"]
    whole = bertcli(*command, stdin=b"".join(lines)).stdout
    with subprocess.Popen(
        [*COMMAND, *command, "-o", "out.jsonl", "--max-wait-ms", "1"],
        stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=half,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(b"".join(lines[:100]))
        process.stdin.flush()
        side = half / "out.jsonl.resume"
        while not (side.is_file() and side.read_bytes().count(b"\n") > 1):
            time.sleep(0.01)
        process.kill()
    done = bertcli(*command, "-o", "out.jsonl", "--resume", "--no-exit", stdin=b"".join(lines), expect=2)
    assert b"--exit was True and is False" in done.stderr
    bertcli(*command, "-o", "out.jsonl", "--resume", stdin=b"".join(lines))
    assert (half / "out.jsonl").read_bytes() == whole


def test_no_exit_is_the_full_depth_and_layers_are_told_only_where_all_scores_are(half: Path, bertcli: Run) -> None:
    early = answers(bertcli, "predict", "in.jsonl", "-m", "half", "--all-scores")
    full = answers(bertcli, "predict", "in.jsonl", "-m", "half", "--all-scores", "--no-exit")
    assert all("layers" not in row for row in full)
    for one, other in zip(early, full, strict=True):
        layers = one.pop("layers")
        assert (one == other) == (layers == 2)
    assert all("layers" not in row for row in answers(bertcli, "predict", "in.jsonl", "-m", "half"))


def test_evaluate_says_what_share_left_early_and_what_it_cost(half: Path, bertcli: Run) -> None:
    found = answers(bertcli, "evaluate", "in.jsonl", "-m", "half")[0]
    full = answers(bertcli, "evaluate", "in.jsonl", "-m", "half", "--no-exit")[0]
    layers = [row["layers"] for row in answers(bertcli, "predict", "in.jsonl", "-m", "half", "--all-scores")]
    assert found["exit"]["share"] == round(layers.count(1) / 300, 4) and found["exit"]["after"] == 1
    assert found["exit"]["accuracy"] == found["accuracy"] and found["exit"]["at full depth"] == full["accuracy"]
    assert found["exit"]["lost"] == full["accuracy"] - found["accuracy"]
    assert "exit" not in full
    assert b"early exit" in bertcli("evaluate", "in.jsonl", "-m", "half", "--format", "rich").stdout


def test_calibrate_chooses_anew_for_the_loss_that_is_allowed(half: Path, bertcli: Run) -> None:
    strict = answers(bertcli, "calibrate", "in.jsonl", "-m", "half", "--exit-loss", "0")[0]
    assert strict["exit"]["lost"] <= 0
    free = answers(bertcli, "calibrate", "in.jsonl", "-m", "half", "--exit-loss", "100")[0]
    assert free["exit"]["share"] == 1.0 and read(half / "half").config["calibration"]["exit"] == free["exit"]
    layers = {row["layers"] for row in answers(bertcli, "predict", "in.jsonl", "-m", "half", "--all-scores")}
    assert layers == {1}


def test_info_says_who_may_leave_and_why_not(half: Path, bertcli: Run) -> None:
    def reason(*options: str) -> str:
        return str(answers(bertcli, "info", "-m", "half", *options)[0]["choice"]["reason"])

    assert "; texts may leave after layer 1 of 2, at log-odds of" in reason()
    assert reason("--no-exit").endswith("; all 2 layers (--no-exit)")
    assert reason("--backend", "pytorch", "--device", "cpu").endswith(
        "; all 2 layers (backend pytorch runs all of them)"
    )
    update(read(half / "half"), {"calibration": {}})
    assert "(bertcli calibrate chooses how sure a text must be to leave early)" in reason()
    update(read(half / "half"), {"calibration": {"exit": {"threshold": "all"}}})
    done = bertcli("info", "-m", "half", expect=2)
    assert b"config.json: the exit's threshold 'all' is not a number; calibrate again." in done.stderr


def test_bench_shows_both(half: Path, bertcli: Run) -> None:
    measured = answers(bertcli, "bench", "in.jsonl", "-m", "half", "--backend", "onnx", "--precision", "int8")
    assert {row["exit"] for row in measured} == {True, False}


def test_a_run_with_an_exit_and_without_dev_data_says_how_texts_come_to_leave(
    folder: Path, tiny_model: Path, tmp_path: Path, bertcli: Run
) -> None:
    arguments = ["--train", str(folder / "train.jsonl"), "-m", str(tiny_model), "-o", "out", "--epochs", "1"]
    done = bertcli("finetune", *arguments, "--exit-after", "1", "--threads", "1", "--device", "cpu")
    assert b"no text leaves early: `bertcli calibrate` chooses on labelled data how sure it must be" in done.stderr


def test_words_have_no_exit(folder: Path, tiny_model: Path, tmp_path: Path, bertcli: Run) -> None:
    (tmp_path / "t.jsonl").write_text('{"tokens": ["good", "film"], "tags": ["B-X", "O"]}\n' * 4)
    arguments = ["-t", "ner", "--train", "t.jsonl", "-m", str(tiny_model), "-o", "out", "--exit-after", "1"]
    done = bertcli("finetune", *arguments, expect=2)
    assert b"token-classification has no early exit: text classification has." in done.stderr


def test_a_model_with_an_exit_gives_embeddings_by_onnx_too(half: Path, bertcli: Run) -> None:
    command = ["predict", "-t", "embed", "-m", "half", "--format", "jsonl"]
    exact, ours = (
        answers(bertcli, *command, "--backend", backend, stdin=b"a good film\n")[0]["embedding"]
        for backend in ("pytorch", "onnx")
    )
    assert ours == pytest.approx(exact, abs=1e-5)
