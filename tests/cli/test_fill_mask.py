"""Masks filled: the same tokens and scores as the model itself gives, through every command."""

import json
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mask") / "m"
    shutil.copytree(tiny_model, path)
    torch.manual_seed(1)
    module = transformers.AutoModelForMaskedLM.from_config(transformers.AutoConfig.from_pretrained(tiny_model))
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    module.save_pretrained(path)
    return path


def expected(path: Path, text: str, count: int) -> list[list[tuple[str, float]]]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    module = transformers.AutoModelForMaskedLM.from_pretrained(path).eval()
    batch = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        scores = module(**batch).logits.softmax(-1)[batch["input_ids"] == tokenizer.mask_token_id].topk(count)
    return [
        [(tokenizer.decode([i]), score) for i, score in zip(ids, values, strict=True)]
        for ids, values in zip(scores.indices.tolist(), scores.values.tolist(), strict=True)
    ]


def guesses(line: bytes) -> Any:
    return [[(guess["token"], guess["score"]) for guess in mask] for mask in json.loads(line)["masks"]]


@pytest.mark.parametrize("text", ["a [MASK] film", "[MASK]", "the [MASK] was [MASK]ly bad [MASK]", "good[MASK]"])
def test_tokens_and_scores_are_the_models(model: Path, bertcli: Run, text: str) -> None:
    found = guesses(bertcli("predict", "-m", model, "--top-k", "3", stdin=text.encode()).stdout)
    wanted = expected(model, text, 3)
    assert [[token for token, _ in mask] for mask in found] == [[token for token, _ in mask] for mask in wanted]
    for one, other in zip(chain.from_iterable(found), chain.from_iterable(wanted), strict=True):
        assert one[1] == pytest.approx(other[1], abs=2e-6)


def test_the_filled_text_and_what_has_no_mask(model: Path, bertcli: Run) -> None:
    stdin = b"a ??? film\nno mask\n"
    first, second = map(
        json.loads, bertcli("predict", "-m", model, "--mask", "???", stdin=stdin, expect=3).stdout.splitlines()
    )
    token = first["masks"][0][0]["token"]
    assert len(first["masks"][0]) == 5
    assert first["text"] == "a ??? film"
    assert first["filled"] == (f"a{token[2:]} film" if token.startswith("##") else f"a {token} film")
    assert "no [MASK] in the text" in second["error"]["message"]


def test_masks_of_a_long_text_are_all_filled(model: Path, bertcli: Run) -> None:
    text = "good film [MASK] the plot " * 40
    line = json.loads(bertcli("predict", "-m", model, stdin=text.encode()).stdout)
    assert len(line["masks"]) == 40 and line["windows"] > 1 and "[MASK]" not in line["filled"]
    cut = json.loads(bertcli("predict", "-m", model, "--long", "truncate", stdin=text.encode()).stdout)
    assert cut["truncated"] and 0 < len(cut["masks"]) < 40
    assert cut["filled"].count("[MASK]") == 40 - len(cut["masks"])


def test_evaluate_ranks_the_right_tokens(model: Path, bertcli: Run, tmp_path: Path) -> None:
    texts = ["a [MASK] film", "the [MASK] was very [MASK]"]
    wanted = [expected(model, text, 12) for text in texts]
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"text": texts[0], "label": wanted[0][0][0][0]}) + "\n"
        + json.dumps({"text": texts[1], "label": [wanted[1][0][1][0], wanted[1][1][11][0]]}) + "\n"
        + json.dumps({"text": texts[0], "label": "good film"}) + "\n"
        + json.dumps({"text": texts[1], "label": "good"}) + "\n"
    )  # fmt: skip
    options = ("-m", model, "a.jsonl", "--errors", "wrong.jsonl")
    done = bertcli("evaluate", *options, expect=3)
    assert b"'good film' is 2 tokens, not one" in done.stderr
    assert b"1 answers for 2 masks" in done.stderr
    metrics = json.loads(done.stdout)
    assert metrics["accuracy"] == pytest.approx(1 / 3)
    assert metrics["accuracy_at_5"] == metrics["accuracy_at_10"] == pytest.approx(2 / 3)
    assert metrics["mrr"] == pytest.approx(0.5)
    (wrong,) = (tmp_path / "wrong.jsonl").read_text().splitlines()
    assert json.loads(wrong)["predicted"] == [mask[0][0] for mask in wanted[1]]


def test_exported_it_says_the_same(model: Path, bertcli: Run, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "m")
    stdin = b"a [MASK] film\nthe plot was [MASK] and [MASK]\n" * 20
    (tmp_path / "a.txt").write_bytes(stdin)
    assert b"model_quantized.onnx" in bertcli("export", "m", "--calibrate", "a.txt").stderr
    one = bertcli("predict", "-m", "m", "--backend", "pytorch", stdin=stdin).stdout
    other = bertcli("predict", "-m", "m", "--backend", "onnx", "--precision", "fp32", stdin=stdin).stdout
    assert [json.loads(line)["filled"] for line in one.splitlines()] == [
        json.loads(line)["filled"] for line in other.splitlines()
    ]
    assert bertcli("predict", "-m", "m", stdin=stdin).returncode == 0


def test_it_learns_which_tokens_are_missing(tiny_model: Path, bertcli: Run, tmp_path: Path) -> None:
    rows = [
        ("the film was [MASK]", "good"),
        ("a [MASK] plot", "bad"),
        ("[MASK] actor of [MASK]", ["great", "film"]),
    ] * 4
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows))
    options = ("--train", "t.jsonl", "--dev", "t.jsonl", "--epochs", "60", "--lr", "0.003", "--dropout", "0")
    tiny = ("--device", "cpu", "--threads", "1", "--precision", "fp32")
    bertcli("finetune", "-t", "mask", "-m", tiny_model, "-o", "m", *options, *tiny)
    metrics = json.loads(bertcli("evaluate", "t.jsonl", "-m", "m").stdout)
    assert metrics["accuracy"] == 1.0
    line = bertcli("predict", "-m", "m", stdin=b"a [MASK] plot\n").stdout
    assert json.loads(line)["filled"] == "a bad plot"
