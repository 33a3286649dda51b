"""Questions through every command: finetune, evaluate, export, predict, from SQuAD's JSON and JSONL."""

import json
from pathlib import Path
from typing import Any

import pytest

from bertcli.cli.main import run
from tests.cli.conftest import Run

TINY = ("--device", "cpu", "--threads", "1", "--precision", "fp32")
CONTEXTS = ["the film was good and the plot bad", "very dull plot of a great actor", "a lovely scene not a poor film"]
QUESTIONS = [
    ("good", "film"),
    ("bad", "plot"),
    ("dull", "plot"),
    ("great", "actor"),
    ("lovely", "scene"),
    ("poor", "film"),
]


def squad(impossible: bool) -> dict[str, Any]:
    paragraphs = []
    for k, context in enumerate(CONTEXTS):
        own = QUESTIONS[2 * k : 2 * k + 2]
        qas = [
            {
                "id": f"{k}-{i}",
                "question": f"what is {word}",
                "answers": [{"text": noun, "answer_start": context.index(noun)}],
            }
            for i, (word, noun) in enumerate(own)
        ]
        if impossible:
            qas.append({"id": f"{k}-no", "question": "what was of it", "answers": [], "is_impossible": True})
        paragraphs.append({"context": context, "qas": qas})
    return {"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}


def train(tiny_model: Path, path: Path, impossible: bool) -> Path:
    file = path / "train.json"
    file.write_text(json.dumps(squad(impossible), indent=1))
    options = ["--train", str(file), "--dev", str(file), "--epochs", "60", "--lr", "0.003", "--dropout", "0", *TINY]
    assert run(["finetune", "-t", "qa", "-m", str(tiny_model), "-o", str(path / "model"), *options]) == 0
    return path / "model"


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny_model, tmp_path_factory.mktemp("qa"), False)


@pytest.fixture(scope="module")
def doubtful(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny_model, tmp_path_factory.mktemp("qa2"), True)


@pytest.mark.parametrize("backend", ["onnx", "pytorch"])
def test_what_was_learned_is_answered_and_scored(model: Path, backend: str, bertcli: Run) -> None:
    options = ("-m", model, "--backend", backend)
    metrics = json.loads(bertcli("evaluate", model.parent / "train.json", *options).stdout)
    assert (metrics["records"], metrics["exact_match"], metrics["f1"]) == (6, 1.0, 1.0)
    assert metrics["intervals"] == {"f1": [1.0, 1.0], "exact_match": [1.0, 1.0]}
    given = {"question": "what is great", "context": CONTEXTS[1], "id": 7}
    done = bertcli("predict", *options, "--input-format", "jsonl", stdin=json.dumps(given).encode())
    line = json.loads(done.stdout)
    assert (line["answer"], line["start"], line["end"], line["id"]) == ("actor", 26, 31, 7)


def test_one_question_of_every_line_and_of_a_whole_file(model: Path, bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{CONTEXTS[0]}\n{CONTEXTS[0]}\n")
    lines = bertcli("predict", "-m", model, "--question", "what is good", "a.txt").stdout.splitlines()
    assert [json.loads(line)["answer"] for line in lines] == ["film", "film"]
    whole = bertcli("predict", "-m", model, "--question", "what is good", "--input-format", "document", "a.txt").stdout
    answer = json.loads(whole)
    assert answer["question"] == "what is good" and answer["text"].count("\n") == 2
    assert answer["text"][answer["start"] : answer["end"]] == answer["answer"] != ""


def test_no_answer_is_learned_with_its_threshold(doubtful: Path, bertcli: Run) -> None:
    config = json.loads((doubtful / "config.json").read_text())
    metrics = json.loads(bertcli("evaluate", doubtful.parent / "train.json", "-m", doubtful).stdout)
    assert metrics["null_threshold"] == config["null_threshold"]
    assert metrics["f1"] == 1.0 and metrics["questions"]["unanswerable"] == {"exact_match": 1.0, "f1": 1.0, "count": 3}
    given = {"question": "what was of it", "context": CONTEXTS[1]}
    stdin = json.dumps(given).encode()
    line = json.loads(bertcli("predict", "-m", doubtful, "--input-format", "jsonl", stdin=stdin).stdout)
    assert (line["answer"], line["start"]) == ("", None)
    forced = bertcli(
        "predict", "-m", doubtful, "--input-format", "jsonl", "--null-threshold", "-99", "--top-k", "3", stdin=stdin
    )
    assert json.loads(forced.stdout)["answer"] and len(json.loads(forced.stdout)["answers"]) == 3


def test_a_threshold_is_tuned_and_kept_by_the_model(doubtful: Path, bertcli: Run) -> None:
    file = doubtful / "config.json"
    before = file.read_text()
    file.write_text(json.dumps({**json.loads(before), "null_threshold": 99.0}))
    train = doubtful.parent / "train.json"
    assert json.loads(bertcli("evaluate", train, "-m", doubtful).stdout)["f1"] == pytest.approx(1 / 3)
    done = bertcli("evaluate", train, "-m", doubtful, "--null-threshold", "auto", "-v")
    assert json.loads(done.stdout)["f1"] == 1.0
    assert b"stored in" in done.stderr
    assert json.loads(bertcli("evaluate", train, "-m", doubtful).stdout)["f1"] == 1.0


def test_misplaced_answers_are_counted(tiny_model: Path, bertcli: Run, tmp_path: Path) -> None:
    document = squad(False)
    qas = document["data"][0]["paragraphs"][0]["qas"]
    qas[0]["answers"][0]["answer_start"] += 2
    qas[1]["answers"][0]["text"] = "actress"
    (tmp_path / "t.json").write_text(json.dumps(document))
    done = bertcli("finetune", "-t", "qa", "--train", "t.json", "-m", tiny_model, "-o", "m", "--epochs", "1", *TINY)
    assert b"train data: 1 answers are not at their stated offset; the nearest" in done.stderr
    assert b"1 answers do not occur in their context; 1 questions have no other" in done.stderr
    metrics = json.loads(bertcli("evaluate", "t.json", "-m", "m").stdout)
    assert metrics["misplaced_answers"] == 2 and metrics["records"] == 6


def test_mistakes_are_listed(model: Path, bertcli: Run, tmp_path: Path) -> None:
    rows = [{"question": "what is great", "context": CONTEXTS[1], "answers": [word]} for word in ("actor", "plot")]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    bertcli("evaluate", "a.jsonl", "-m", model, "--errors", "wrong.jsonl")
    (wrong,) = map(json.loads, (tmp_path / "wrong.jsonl").read_text().splitlines())
    assert (wrong["gold"], wrong["predicted"], wrong["line"]) == (["plot"], "actor", 2)


def test_without_t_it_is_named(bertcli: Run) -> None:
    done = bertcli("predict", "-q", stdin=b'{"question": "who?", "context": "Tim did."}', expect=3)
    assert b"--text-field names another. -t qa answers its question." in done.stdout


def test_a_csv_with_question_and_context(model: Path, bertcli: Run) -> None:
    stdin = f"question,context\nwhat is great,{CONTEXTS[1]}\n".encode()
    done = bertcli("predict", "-m", model, "--input-format", "csv", "--format", "tsv", stdin=stdin)
    header, row = done.stdout.decode().splitlines()
    assert header.split("\t")[:3] == ["question", "context", "answer"]
    assert row.split("\t")[2:5] == ["actor", "26", "31"]


@pytest.mark.parametrize(
    "text", ['{"version": "x", "data": [{"paragraphs": [{"context": "a"}]}]}', '{"data": [{"paragraphs": [}']
)
def test_a_broken_squad_file_is_a_usage_error(model: Path, bertcli: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert b"a.json: not SQuAD's JSON" in bertcli("predict", "-m", model, "a.json", expect=2).stderr
