"""Texts that a model mostly cannot read say so, in every task; and the end of a run says how many, in which scripts."""

import json
import shutil
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers
from tokenizers import models, pre_tokenizers

from bertcli.cli.main import run
from bertcli.inference import measure
from bertcli.inference.stream import script_of, unknown_sentence
from bertcli.tokenizer import Tokenizer

CHINESE, THAI, ENGLISH = "这个酒店太差了", "โรงแรมนี้แย่มาก", "good film"


@pytest.mark.parametrize(
    ("texts", "script"),
    [
        ([CHINESE], "Chinese"), ([THAI], "Thai"), (["ひらがなと漢字"], "Japanese"), (["한국어"], "Korean"),
        (["😀 12"], "signs"), ([""], "signs"), (["a", "это язык"], "Cyrillic"), (["\ue000x"], "Latin"),
    ],
)  # fmt: skip
def test_the_script_of_a_text(texts: list[str], script: str) -> None:
    assert script_of(texts) == script


def test_the_most_frequent_scripts_are_asked_for() -> None:
    counts = {"Thai": 1, "Chinese": 30, "signs": 4, "Korean": 2}
    assert (
        unknown_sentence(counts, 1000) == "37 of 1,000 texts are mostly unknown to this model: Chinese? Signs? Korean?"
    )


@pytest.fixture(scope="module", params=["SequenceClassification", "TokenClassification", "QuestionAnswering"])
def model(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny encoder, which knows a few English words, with a head."""
    path = tmp_path_factory.mktemp("models") / "model"
    shutil.copytree(tiny_model, path)
    torch.manual_seed(0)
    config = transformers.BertConfig.from_pretrained(path, id2label={0: "O", 1: "B-PER"})
    getattr(transformers, f"BertFor{request.param}")(config).save_pretrained(path)
    return str(path)


def write(path: Path, *texts: str) -> str:
    """A file of records that each of the three tasks takes."""
    rows = [{"text": text, "question": "the", "context": text, "unknown": 7} for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_result_says_what_share_is_unknown(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "texts.jsonl", ENGLISH, CHINESE, THAI, "", f"{ENGLISH} {CHINESE[0]}")
    assert run(["predict", "-m", model, file]) == 0
    printed = capsys.readouterr()
    results = [json.loads(line) for line in printed.out.splitlines()]
    shares = [result.get("unknown") for result in results]
    # A question is a text of the record too, and known here.
    assert shares in ([None, 1.0, 1.0, None, None], [None, 0.88, None, None, None])
    assert {result["input_unknown"] for result in results} == {7}
    assert "of 5 texts are mostly unknown to this model: Chinese?" in printed.err


def test_nothing_is_said_where_all_is_known(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", "-m", model, write(tmp_path / "texts.jsonl", ENGLISH, "the bad film")]) == 0
    printed = capsys.readouterr()
    assert "unknown" not in printed.out.replace("input_unknown", "") and "unknown" not in printed.err


def test_a_table_has_a_column_for_it(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", "-m", model, write(tmp_path / "texts.jsonl", ENGLISH, CHINESE), "-f", "csv", "-q"]) == 0
    header, first, second = (line.split(",") for line in capsys.readouterr().out.splitlines())
    assert header[-4:] == ["windows", "truncated", "unknown", "error"] and "input_unknown" in header
    assert first[-2] == "" and float(second[-2]) > 0.5


def test_a_resumed_run_counts_what_came_before(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = write(tmp_path / "texts.jsonl", ENGLISH, CHINESE), str(tmp_path / "out.jsonl")
    for _ in range(2):
        assert run(["predict", "-m", model, file, "-o", out, "--resume"]) == 0
        assert "1 of 2 texts are mostly unknown to this model: Chinese?" in capsys.readouterr().err


def test_evaluate_and_info_speak_of_it(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text(f"text\tother\tlabel\n{ENGLISH}\t{ENGLISH}\t1.5\n{CHINESE}\t{CHINESE}\t0.5\n{THAI}\tbad\t1\n")
    fields = "--text-field", "text", "--pair-field", "other", "--label-field", "label"
    assert run(["evaluate", "-t", "embed", "-m", str(tiny_model), str(file), *fields]) == 0
    assert "1 of 3 texts are mostly unknown to this model: Chinese?" in capsys.readouterr().err
    assert run(["info", "-t", "embed", "-m", str(tiny_model)]) == 0
    scripts = json.loads(capsys.readouterr().out)["model"]["scripts"]
    assert scripts == 'Latin 100%; results say "unknown" for most others'


def test_a_byte_level_vocabulary_spells_what_it_lacks() -> None:
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE({piece: i for i, piece in enumerate([*pieces, "<unk>"])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert Tokenizer(backend, 64).unknown == 256
    assert measure._scripts(Tokenizer(backend, 64)).endswith("; other texts are spelt in bytes")
