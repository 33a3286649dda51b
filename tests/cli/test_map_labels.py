"""--map-labels: labels and entity types renamed, or left out, in every command that reads labelled records."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

ROWS = "text\tlabel\na gripping film\tgood\na dull mess\tbad\nutterly boring\tmixed\n"
NAMES = "Tim B-person\nCook I-person\nlives O\nin O\nBerlin B-place\n\nhe O\nplays O\nTetris B-game\n"
MAP = "good=positive,bad=negative,mixed="
SENTENCES = "Tim Cook lives in Berlin"


@pytest.fixture
def dev(tmp_path: Path) -> str:
    (tmp_path / "dev.tsv").write_text(ROWS, encoding="utf-8")
    (tmp_path / "dev.conll").write_text(NAMES, encoding="utf-8")
    return "dev.tsv"


def test_records_with_a_label_left_out_are_not_scored(bertcli: Run, dev: str) -> None:
    done = bertcli("evaluate", dev, "--map-labels", MAP)
    assert (json.loads(done.stdout)["records"], json.loads(done.stdout)["accuracy"], done.stderr) == (2, 1.0, b"")
    many = f"{','.join(f'intent_{number}=' for number in range(77))},{MAP}"  # longer than the name of any file
    assert bertcli("evaluate", dev, "--map-labels", many).stdout == done.stdout
    done = bertcli("evaluate", dev, "--map-labels", "good=positive,mixed=", expect=3)
    assert b"--map-labels bad= leaves them out, bad=LABEL renames one" in done.stderr


@pytest.mark.parametrize(
    "text", ["good: positive\nbad: negative\nmixed:\n", '{"good": "positive", "bad": "negative", "mixed": ""}',
             "good=positive\nbad=negative\n\nmixed=\n", "\ufeffgood=positive\nbad=negative\nmixed=\n"],
    ids=["yaml", "json", "lines", "lines of Windows"],
)  # fmt: skip
def test_a_file_of_them(bertcli: Run, dev: str, tmp_path: Path, text: str) -> None:
    (tmp_path / "map").write_text(text, encoding="utf-8")
    assert (
        bertcli("evaluate", dev, "--map-labels", "map").stdout == bertcli("evaluate", dev, "--map-labels", MAP).stdout
    )


def test_a_file_of_pairs_that_yaml_cannot_read(bertcli: Run, dev: str, tmp_path: Path) -> None:
    (tmp_path / "map").write_text("@user=x\nx: y=z\n\n" + MAP.replace(",", "\n"), encoding="utf-8")
    assert (
        bertcli("evaluate", dev, "--map-labels", "map").stdout == bertcli("evaluate", dev, "--map-labels", MAP).stdout
    )
    (tmp_path / "map").write_text("good: [positive\n", encoding="utf-8")
    assert b"map: not YAML" in bertcli("evaluate", dev, "--map-labels", "map", expect=2).stderr
    (tmp_path / "map").write_text("good=positive\n好评=positive\n", encoding="gb18030")
    assert b"map: not UTF-8 at byte 15" in bertcli("evaluate", dev, "--map-labels", "map", expect=2).stderr


def test_a_sentence_with_a_type_left_out_is_scored_on_the_others(bertcli: Run, dev: str) -> None:
    names = ("evaluate", "dev.conll", "-t", "ner", "--map-labels")
    done = json.loads(bertcli(*names, "person=PER,place=LOC,game=").stdout)
    assert (done["records"], done["recall"]) == (2, 1)
    done = bertcli(*names, "person=PER,place=LOC", expect=3)
    assert json.loads(done.stdout)["records"] == 1 and b"1 of 2, with game (1); --map-labels game=" in done.stderr


def test_predictions_are_renamed_too(bertcli: Run, dev: str, tmp_path: Path) -> None:
    (tmp_path / "p.conll").write_text(NAMES.replace("place", "LOC").replace("B-game", "B-place"), encoding="utf-8")
    (tmp_path / "p.txt").write_text("positive\nbad\ngood\n", encoding="utf-8")
    names = ("evaluate", "dev.conll", "--predictions", "p.conll", "--map-labels", "place=LOC,game=")
    done = json.loads(bertcli(*names).stdout)
    assert done["per_class"]["LOC"] == {"precision": 0.5, "recall": 1, "f1": pytest.approx(2 / 3), "support": 1}
    done = json.loads(bertcli("evaluate", dev, "--predictions", "p.txt", "--map-labels", "good=positive,mixed=").stdout)
    assert (done["records"], done["accuracy"]) == (2, 1.0)
    # What is left out of the gold labels is no right answer, and no missing one.
    done = json.loads(bertcli("evaluate", dev, "--predictions", "p.txt", "--map-labels", "good=positive,bad=").stdout)
    assert (done["records"], done["accuracy"]) == (2, 0.5)


def test_check_sees_labels_as_they_are_renamed(bertcli: Run, dev: str) -> None:
    shown = json.loads(bertcli("check", dev, "--json", "--map-labels", MAP).stdout)
    assert (shown["records"], shown["labels"]) == ({"train": 2}, {"positive": {"train": 1}, "negative": {"train": 1}})


def test_finetune_learns_the_new_names_and_keeps_the_map(
    bertcli: Run, dev: str, tiny_model: Path, tmp_path: Path
) -> None:
    train = ("finetune", "--train", dev, "-m", tiny_model, "-o", "out", "--epochs", "1", "--no-export")
    done = bertcli(*train, "--dev", dev, "--map-labels", MAP, "-v")
    assert b"labels: negative, positive" in done.stderr
    assert "map-labels:\n    good: positive\n" in (tmp_path / "out" / "bertcli.yaml").read_text(encoding="utf-8")
    bertcli("finetune", "--config", "out/bertcli.yaml", "--train", dev, "-o", "again", "--no-export", "-m", tiny_model)
    assert json.loads((tmp_path / "again" / "config.json").read_text())["label2id"] == {"negative": 0, "positive": 1}
    (tmp_path / "train.tsv").write_text(ROWS.replace("mixed", "bad"), encoding="utf-8")
    done = bertcli(*train[:2], "train.tsv", *train[3:], "--overwrite", "--dev", dev, expect=2)
    assert b"Known are: bad, good; --map-labels mixed= leaves them out, mixed=LABEL renames one." in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--map-labels", "good"), b"'good' is neither OLD=NEW, nor `OLD=`, which leaves OLD out, nor a file."),
        (
            ("-t", "qa", "--map-labels", "a=b"),
            b"--map-labels renames classes and types of entities; question-answering",
        ),
    ],
)
def test_what_maps_nothing_says_why(bertcli: Run, dev: str, arguments: tuple[str, ...], message: bytes) -> None:
    assert message in bertcli("evaluate", dev, *arguments, expect=2).stderr
    assert message in bertcli("check", dev, *arguments, expect=2).stderr


@pytest.mark.parametrize("names", ["1=positive,0=negative", "1.0=positive,0.0=negative"])
def test_classes_that_are_floats_in_json_are_renamed(bertcli: Run, tmp_path: Path, names: str) -> None:
    rows = [{"text": "a gripping film", "label": 1.0}, {"text": "a dull mess", "label": 0.0}]  # as pandas writes them
    (tmp_path / "dev.jsonl").write_text("".join(map("{}\n".format, map(json.dumps, rows))))
    done = json.loads(bertcli("evaluate", "dev.jsonl", "--map-labels", names).stdout)
    assert (done["records"], done["accuracy"]) == (2, 1.0)


def test_classes_that_are_floats_in_json_are_whole_numbers(bertcli: Run, tmp_path: Path) -> None:
    rows = [{"text": "a gripping film", "label": 2.0}, {"text": "a dull mess", "label": 0.0}]
    (tmp_path / "dev.jsonl").write_text("".join(map("{}\n".format, map(json.dumps, rows))))
    done = json.loads(bertcli("evaluate", "dev.jsonl").stdout)
    assert (done["records"], done["accuracy"]) == (2, 1.0)
    found = json.loads(bertcli("check", "dev.jsonl", "--problem", "single", "-f", "json").stdout)
    assert found["labels"] == {"2": {"train": 1}, "0": {"train": 1}}


def test_numbers_that_dev_alone_has_are_said_to_be_classes(bertcli: Run, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("text\tlabel\na film\t100\na plot\t200\n")
    (tmp_path / "dev.tsv").write_text("text\tlabel\na film\t150\n")
    train = ("finetune", "--train", "train.tsv", "--dev", "dev.tsv", "-m", tiny_model, "-o", "out")
    assert b"Problem: whole numbers are classes; --problem regression" in bertcli(*train, expect=2).stderr
