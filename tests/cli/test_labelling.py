"""The loop of labelling without a script: label in a tool, finetune, pre-annotate for the tool, correct, finetune."""

import json
import tarfile
from pathlib import Path

import pytest

from bertcli.cli.main import run
from tests.cli.conftest import Run

TINY = ("--device", "cpu", "--threads", "1", "--precision", "fp32", "--lr", "0.003", "--dropout", "0", "--no-export")
LABELLED = [
    {"text": "the film of good actor", "label": [[12, 22, "PER"]]},
    {"text": "bad plot was good", "label": [[0, 8, "LOC"], [13, 17, "PER"]]},
    {"text": "a great bad scene", "label": [[8, 17, "LOC"]]},
    {"text": "very dull", "label": []},
] * 8
NEW = b"bad plot was good\nvery dull\n"


def write(path: Path, items: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelling")
    train = write(folder / "doccano.jsonl", LABELLED)
    options = ["--train", str(train), "--dev", str(train), "--epochs", "15", *TINY]
    assert run(["finetune", "-t", "ner", "-m", str(tiny_model), "-o", str(folder / "model"), *options]) == 0
    return folder / "model"


def test_what_is_written_for_a_tool_trains_the_next_model(
    model: Path, tiny_model: Path, bertcli: Run, tmp_path: Path
) -> None:
    """Label Studio's predictions become annotations when an annotator takes them over."""
    for name, taken in (("doccano", None), ("prodigy", None), ("label-studio", '"annotations": [{')):
        output = bertcli("predict", "-m", model, "--format", name, stdin=NEW).stdout.decode()
        file = tmp_path / f"{name}.json"
        file.write_text(output.replace('"predictions": [{', taken) if taken else output)
        metrics = json.loads(bertcli("evaluate", "-m", model, file, "--input-format", name).stdout)
        assert (metrics["f1"], metrics["support"], metrics["records"]) == (1.0, 2, 2), name
    train = ["--train", tmp_path / "prodigy.json", "--train", tmp_path / "doccano.json", "--epochs", "1", *TINY]
    bertcli("finetune", "-t", "ner", "-m", tiny_model, "-o", tmp_path / "next", *train)


def test_brat_and_back(model: Path, bertcli: Run, tmp_path: Path) -> None:
    for i, text in enumerate(NEW.split(b"\n")[:2]):
        (tmp_path / f"{i}.txt").write_bytes(text)
    command = ["predict", "-m", model, "0.txt", "1.txt", "--input-format", "brat", "-o", "out.tar"]
    bertcli(*command)
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert tar.getnames() == ["0.txt", "0.ann", "1.txt", "1.ann"]
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
        tar.extractall(tmp_path / "brat")
    assert (tmp_path / "brat" / "0.ann").read_text() == "T1\tLOC 0 8\tbad plot\nT2\tPER 13 17\tgood\n"
    metrics = json.loads(bertcli("evaluate", "-m", model, "brat/0.ann", "brat/1.ann").stdout)
    assert (metrics["f1"], metrics["support"], metrics["records"]) == (1.0, 2, 2)


def test_exact_output_with_an_error_in_its_place(model: Path, bertcli: Run) -> None:
    stdin = b"a great bad scene\n\xff\n"
    error = (
        '{"type": "RecordError", "message": "invalid UTF-8 at byte 1 of the line; --encoding names another encoding"}'
    )
    done = bertcli("predict", "-m", model, "-q", "-f", "doccano", stdin=stdin, expect=3)
    assert done.stdout.decode() == (
        '{"text": "a great bad scene", "label": [[8, 17, "LOC"]]}\n{"index": 1, "line": 2, "error": ' + error + "}\n"
    )
    done = bertcli("predict", "-m", model, "-q", "-f", "label-studio", stdin=stdin, expect=3)
    first, second = json.loads(done.stdout)
    assert second == {"data": {"text": "", "index": 1, "line": 2, "error": json.loads(error)}}
    (region,) = first["predictions"][0]["result"]
    assert region["value"] == {"start": 8, "end": 17, "text": "bad scene", "labels": ["LOC"]}
    assert (region["from_name"], region["to_name"], region["type"], region["id"]) == ("label", "text", "labels", "1")
    assert first["predictions"][0]["score"] == region["score"]
    done = bertcli("predict", "-m", model, "-q", "-f", "prodigy", stdin=stdin, expect=3)
    (span,) = json.loads(done.stdout.splitlines()[0])["spans"]
    assert {name: span[name] for name in ("start", "end", "label", "text")} == {
        "start": 8, "end": 17, "label": "LOC", "text": "bad scene",
    }  # fmt: skip


def test_a_text_of_another_name_and_fields_with_the_names_of_results(model: Path, bertcli: Run, tmp_path: Path) -> None:
    item = {"body": "a great bad scene", "text": 1, "label": "a", "entities": [], "id": 7}
    write(tmp_path / "a.jsonl", [item])
    done = bertcli("predict", "-m", model, "a.jsonl", "--text-field", "body", "-f", "doccano")
    assert json.loads(done.stdout) == {
        "input_text": 1, "input_label": "a", "input_entities": [], "id": 7,
        "text": "a great bad scene", "label": [[8, 17, "LOC"]],
    }  # fmt: skip


def test_offsets_of_another_unit_are_refused(bertcli: Run) -> None:
    stdin = "😀 Tim Cook is in Berlin.\n".encode()
    done = bertcli("predict", "-t", "ner", "-f", "doccano", "--offset-unit", "utf16", stdin=stdin, expect=3)
    assert b"labelling tools count in code points: leave --offset-unit away" in done.stdout


def test_classes_for_tools(bertcli: Run) -> None:
    stdin = b"a gripping film\n"
    (task,) = json.loads(bertcli("predict", "-f", "label-studio", stdin=stdin).stdout)
    assert task["predictions"][0]["result"][0]["value"] == {"choices": ["positive"]}
    assert json.loads(bertcli("predict", "-f", "prodigy", stdin=stdin).stdout)["accept"] == ["positive"]
    assert json.loads(bertcli("predict", "-f", "doccano", stdin=stdin).stdout)["label"] == ["positive"]


@pytest.mark.parametrize(
    ("task", "name", "needed"),
    [
        ("classify", "brat", "entities"),
        ("classify", "conll", "tags and tokens"),
        ("classify", "npy", "embedding"),
        ("embed", "doccano", "entities or label or labels"),
        ("embed", "label-studio", "entities or label or labels"),
        ("embed", "prodigy", "entities or label or labels"),
    ],
)
def test_the_records_own_labels_are_not_written_as_results(
    bertcli: Run, tmp_path: Path, task: str, name: str, needed: str
) -> None:
    item = {"text": "Tim", "tokens": ["Tim"], "tags": ["a"], "entities": [], "label": "b", "embedding": [1.0]}
    write(tmp_path / "a.jsonl", [item])
    done = bertcli("predict", "-t", task, "a.jsonl", "-f", name, "-o", "out", expect=2)
    assert f"{name} holds results with {needed}, and this task's have none".encode() in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["label-studio", "brat"])
def test_resume_writes_the_same_bytes(model: Path, bertcli: Run, tmp_path: Path, name: str) -> None:
    whole = bertcli("predict", "-m", model, "-f", name, stdin=NEW * 20).stdout
    (tmp_path / "in.txt").write_bytes(NEW * 20)
    bertcli("predict", "-m", model, "-f", name, "in.txt", "-o", "out.bin")
    assert (tmp_path / "out.bin").read_bytes() == whole
    (tmp_path / "bad.txt").write_bytes(NEW * 10 + b"\xff\n" + NEW * 10)
    command = ["predict", "-m", model, "-f", name, "bad.txt", "-o", "bad.bin"]
    bertcli(*command, "--on-error", "fail", expect=1)
    assert not (tmp_path / "bad.bin").exists()


def test_answers_of_prodigy_teach_one_label(tiny_model: Path, bertcli: Run, tmp_path: Path) -> None:
    answers = [("good film", "accept"), ("bad film", "reject"), ("the film", "ignore")] * 4
    write(tmp_path / "a.jsonl", [{"text": text, "label": "GOOD", "answer": answer} for text, answer in answers])
    train = ["--train", "a.jsonl", "--dev", "a.jsonl", "--epochs", "20", "-o", "model", *TINY]
    done = bertcli("finetune", "-m", tiny_model, *train)
    assert (
        b"bertcli: 4 records without a label are left out; the first: a.jsonl:3: ignored by the annotator"
        in done.stderr
    )
    metrics = json.loads(bertcli("evaluate", "-m", "model", "a.jsonl").stdout)
    assert (metrics["records"], metrics["subset_accuracy"]) == (8, 1.0)


def test_a_list_of_one_is_a_class(tiny_model: Path, bertcli: Run, tmp_path: Path) -> None:
    """As doccano and Label Studio export one label a text."""
    write(tmp_path / "a.jsonl", [{"text": "good", "label": ["A"]}, {"text": "bad", "label": ["B"]}] * 4)
    train = ["--train", "a.jsonl", "--epochs", "1", *TINY]
    bertcli("finetune", "-m", tiny_model, "-o", "one", *train)
    assert json.loads((tmp_path / "one" / "config.json").read_text())["problem_type"] == "single_label_classification"
    assert "accuracy" in json.loads(bertcli("evaluate", "-m", "one", "a.jsonl").stdout)
    bertcli("finetune", "-m", tiny_model, "-o", "several", "--problem", "multi", *train)
    assert (
        json.loads((tmp_path / "several" / "config.json").read_text())["problem_type"] == "multi_label_classification"
    )


def test_check_names_what_no_tags_can_show(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ann and Bob Lee.")
    (tmp_path / "a.ann").write_text("T1\tPER 0 3;12 15\tAnn Lee\nT2\tPER 8 15\tBob Lee\nT3\tPER 8 11\tBob\n")
    facts = json.loads(bertcli("check", "-t", "ner", tmp_path, "--json").stdout)
    assert facts["records"] == {"train": 1}  # of the directory's two files
    findings = facts["findings"]
    places = {finding["code"]: [place["message"] for place in finding["places"]] for finding in findings}
    assert places["discontinuous-entity"] == ["PER 0-15 'Ann and Bob Lee'"]
    assert places["overlapping-entity"] == ["PER 8-11 'Bob'"]
