"""Named entities through every command: finetune, evaluate, export, predict, in CoNLL and JSONL."""

import json
from pathlib import Path

import pytest

from bertcli.cli.main import run
from tests.cli.conftest import Run

SENTENCES = [
    ("the film of good actor", "O O O B-PER I-PER"),
    ("bad plot was good", "B-LOC I-LOC O B-PER"),
    ("a great bad scene", "O O B-LOC I-LOC"),
    ("very dull", "O O"),
] * 8
TINY = ("--device", "cpu", "--threads", "1", "--precision", "fp32")


def conll(sentences: list[tuple[str, str]]) -> str:
    blocks = [zip(words.split(), tags.split(), strict=True) for words, tags in sentences]
    return "\n".join("".join(f"{word}\t{tag}\n" for word, tag in block) for block in blocks)


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ner")
    (path / "train.conll").write_text(conll(SENTENCES))
    train = str(path / "train.conll")
    options = ["--train", train, "--dev", train, "--epochs", "15", "--lr", "0.003", "--dropout", "0", *TINY]
    assert run(["finetune", "-t", "ner", "-m", str(tiny_model), "-o", str(path / "model"), *options]) == 0
    return path / "model"


@pytest.mark.parametrize("backend", ["onnx", "pytorch"])
def test_what_was_learned_is_found_and_scored(model: Path, backend: str, bertcli: Run) -> None:
    metrics = json.loads(bertcli("evaluate", model.parent / "train.conll", "-m", model, "--backend", backend).stdout)
    assert (metrics["f1"], metrics["support"], metrics["token_accuracy"]) == (1.0, 32, 1.0)
    stdin = b"the film of good actor\n\nbad plot was good\n"
    lines = [
        json.loads(line)
        for line in bertcli("predict", "-m", model, "--backend", backend, stdin=stdin).stdout.splitlines()
    ]
    assert [[(e["type"], e["text"], e["start"], e["end"]) for e in line["entities"]] for line in lines] == [
        [("PER", "good actor", 12, 22)], [], [("LOC", "bad plot", 0, 8), ("PER", "good", 13, 17)]
    ]  # fmt: skip


def test_conll_in_conll_out_is_the_same_file(model: Path, bertcli: Run) -> None:
    file = model.parent / "train.conll"
    assert bertcli("predict", "-m", model, file, "--format", "conll").stdout.decode() == file.read_text() + "\n"


def test_conll_of_plain_text_and_of_a_bad_record(model: Path, bertcli: Run) -> None:
    done = bertcli("predict", "-m", model, "-f", "conll", "-q", stdin=b"a great bad scene\n\xff\n", expect=3)
    first, second, _ = done.stdout.decode().split("\n\n")
    assert first == "a\tO\ngreat\tO\nbad\tB-LOC\nscene\tI-LOC"
    assert second.startswith("# ") and "invalid UTF-8" in second


def test_offsets_in_other_units(model: Path, bertcli: Run) -> None:
    text = "😀é the film of good actor 😀 bad plot was good"
    found = {}
    for unit in ("codepoint", "utf16", "utf8"):
        (line,) = bertcli("predict", "-m", model, "--offset-unit", unit, stdin=f"{text}\n".encode()).stdout.splitlines()
        found[unit] = [(e["start"], e["end"]) for e in json.loads(line)["entities"]]
    assert found["codepoint"]
    assert found["utf16"] == [
        tuple(len(text[:i].encode("utf-16-le")) // 2 for i in pair) for pair in found["codepoint"]
    ]
    assert found["utf8"] == [tuple(len(text[:i].encode()) for i in pair) for pair in found["codepoint"]]


def test_all_faults_of_the_data_are_listed_with_their_lines(tiny_model: Path, tmp_path: Path, bertcli: Run) -> None:
    (tmp_path / "a.conll").write_text("the\tO\nbad\n\ngood\tZ-PER\n\nbad\tB-LOC\n\na\tO\nb\tO\tO\n")
    done = bertcli("finetune", "-t", "ner", "--train", "a.conll", "-m", tiny_model, "-o", "out", *TINY, expect=2)
    said = done.stderr.decode()
    assert "a.conll:2: 1 columns where the sentence has 2" in said
    assert "a.conll:9: 3 columns where the sentence has 2" in said
    assert "a.conll:4: 'Z-PER' is no tag" in said and "the data has 3 faults" in said


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [("iob1", "I-LOC B-LOC O I-PER"), ("iob2", "B-LOC B-LOC O B-PER"), ("bioes", "S-LOC S-LOC O S-PER")],
)
def test_the_scheme_is_said_and_makes_no_difference(
    tiny_model: Path, tmp_path: Path, bertcli: Run, scheme: str, tags: str
) -> None:
    (tmp_path / "a.conll").write_text(conll([("bad plot was good", tags)] * 4))
    options = ("-m", tiny_model, "-o", "out", "--epochs", "1", *TINY)
    done = bertcli("finetune", "-t", "ner", "--train", "a.conll", "-v", *options)
    assert f"problem: token classification (tags in {scheme.upper()})" in done.stderr.decode()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"]["1"] == "B-LOC"
    for forced in ("auto", scheme):
        assert json.loads(bertcli("evaluate", "a.conll", "-m", "out", "--scheme", forced).stdout)["support"] == 12


def test_tags_that_are_none_and_types_only_dev_has(tiny_model: Path, tmp_path: Path, bertcli: Run) -> None:
    (tmp_path / "a.conll").write_text("good\tZ-PER\n\nbad\tB-LOC\n\na\tO\nfilm\tfoo\nthe\tbar\n")
    (tmp_path / "b.conll").write_text("good\tB-PER\n\nbad\tB-LOC\n")
    (tmp_path / "c.conll").write_text("bad\tB-LOC\n")
    common = ("-t", "ner", "-m", tiny_model, "-o", "out", *TINY)
    said = bertcli("finetune", *common, "--train", "a.conll", expect=2).stderr.decode()
    assert "a.conll:1: 'Z-PER' is no tag" in said and "a.conll:6: 'foo' is no tag" in said
    assert "the data has 3 faults:" in said and "a.conll:7: 'bar' is no tag" in said
    said = bertcli("finetune", *common, "--train", "b.conll", "--scheme", "io", expect=2).stderr.decode()
    assert "b.conll:1: the tag B-PER of token 1 is not io" in said and "b.conll:3: the tag B-LOC of token 1" in said
    said = bertcli("finetune", *common, "--train", "c.conll", "--dev", "b.conll", expect=2).stderr.decode()
    assert "the dev data has labels that the training data has not: PER" in said
