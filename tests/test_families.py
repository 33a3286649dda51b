"""Tiny checkpoints of several families through every command: right, or refused in one sentence.

The whole matrix is tests/benchmarks/families.py; its table stands in tests/benchmarks/RESULTS.md.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from bertcli import tokenizer_files
from bertcli.backends import pytorch
from bertcli.cli.main import run
from bertcli.errors import ModelError
from bertcli.model import read
from bertcli.pretrained import require_encoder
from tests.benchmarks import families
from tests.benchmarks.families import COLUMNS, Matrix, make

ALL = dict.fromkeys(COLUMNS, "ok")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["mpnet", "fnet", "squeezebert", "gpt2"])
def test_a_family_is_right_or_refused(family: str, tmp_path: Path) -> None:
    refused = {
        "mpnet": {},
        "fnet": {
            "export": "cannot be written as ONNX", "equal": "ok (torch)", "int8": "-",
            "attention": "gives no attention",
        },
        "squeezebert": {"attention": "raw scores"},
        "gpt2": {**dict.fromkeys(COLUMNS, "-"), **dict.fromkeys(("finetune", "pretrain"), "trained to go on")},
    }[family]  # fmt: skip
    cells = Matrix(family, tmp_path).fill()
    for column, expected in {**ALL, **refused}.items():
        cell = cells.get(column, "-")
        if column in refused and expected not in ("-", "ok (torch)"):
            assert cell.startswith("exit 2: ") and expected in cell
        else:
            assert cell == expected, (column, cell)


@pytest.mark.parametrize(
    "family", ["mpnet", "luke", "ibert", "data2vec-text", "roberta-prelayernorm", "xlm-roberta-xl", "esm", "longformer"]
)
def test_the_longest_text_is_one_that_the_positions_hold(family: str, tmp_path: Path) -> None:
    path = make(family, tmp_path / family)
    length = tokenizer_files.positions(read(path).config)
    assert length == families.POSITIONS
    module = transformers.AutoModel.from_pretrained(path).eval()
    module(input_ids=torch.full((1, length), 5))
    if family != "longformer":  # which fills up to a whole window, with padding
        with pytest.raises((IndexError, RuntimeError)):
            module(input_ids=torch.full((1, length + 1), 5))


def test_positions_without_a_padding_id_are_those_of_the_familys_default() -> None:
    assert tokenizer_files.positions({"model_type": "roberta", "max_position_embeddings": 514}) == 512
    assert tokenizer_files.positions({"model_type": "bert", "max_position_embeddings": 512}) == 512
    assert tokenizer_files.positions({"model_type": "no_such", "max_position_embeddings": 7}) == 7
    assert tokenizer_files.positions({"model_type": "../bert"}) == 512


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "xlnet", "t5", "bart", "mt5", "pegasus"])
def test_what_generates_is_refused(family: str) -> None:
    with pytest.raises(ModelError, match=rf"of type {family}"):
        require_encoder(Path("m"), {"model_type": family})


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "xlm", "canine", None])
def test_what_fills_masks_is_not(family: str | None) -> None:
    require_encoder(Path("m"), {"model_type": family})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["squeezebert", "layoutlm"])
def test_an_encoder_that_calls_its_pooler_whatever_it_is_makes_vectors(
    family: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = make(family, tmp_path / "base")
    (tmp_path / "pairs.tsv").write_text("a\tb\tlabel\na good film\ta great film\t0.9\ngood\tbad\t0.1\n")
    words = "finetune -t embed -m DIR/base --train DIR/pairs.tsv --text-field a --pair-field b -o DIR/model --epochs 1"
    assert run(f"{words} --device cpu --precision fp32".replace("DIR", str(tmp_path)).split()) == 0
    assert (tmp_path / "model" / "onnx" / "model_quantized.onnx").is_file()
    capfdbinary.readouterr()
    (tmp_path / "texts.txt").write_text("a good film\n")
    assert run(f"predict -t embed -m {path} {tmp_path}/texts.txt --backend pytorch --device cpu".split()) == 0
    vector = json.loads(capfdbinary.readouterr().out)["embedding"]
    module, words = (
        transformers.AutoModel.from_pretrained(path).eval(),
        transformers.AutoTokenizer.from_pretrained(path),
    )
    ids = words("a good film", return_tensors="pt")["input_ids"]
    np.testing.assert_allclose(vector, module(input_ids=ids)[0][0].mean(0).detach(), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["bert", "albert", "big_bird", "squeezebert", "layoutlm"])
def test_an_encoder_alone_gives_nothing_of_a_pooler(family: str, tmp_path: Path) -> None:
    module = pytorch.load(read(make(family, tmp_path / "m")), "").eval()
    assert list(module(input_ids=torch.arange(5, 12)[None])) == ["last_hidden_state"]


def test_an_encoder_without_vectors_of_tokens_is_refused_as_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a DPRQuestionEncoder gives pooler_output, no vectors of tokens"):
        pytorch.load(read(make("dpr", tmp_path / "m", "SequenceClassification")), "")


def test_big_bird_reads_a_text_in_company_as_alone(tmp_path: Path) -> None:
    path = make("big_bird", tmp_path / "m")
    long, short = torch.arange(36)[None] % 30 + 5, torch.full((1, 6), 7)
    alone = transformers.AutoModel.from_pretrained(path).eval()(input_ids=long)[0]
    module = pytorch.load(read(path), "").eval()
    for ids in (short, long, short, long):
        hidden = module(input_ids=ids)[0]
    np.testing.assert_allclose(hidden.detach(), alone.detach(), atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_exported_is_trained_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("fnet", tmp_path / "base")
    (tmp_path / "train.tsv").write_text("text\tlabel\na good film\tgood\na bad film\tbad\n")
    words = "finetune -m DIR/base --train DIR/train.tsv -o DIR/model --epochs 1 --device cpu".replace(
        "DIR", str(tmp_path)
    )
    assert run(words.split()) == 0
    said = capsys.readouterr()
    assert "trained, but without ONNX files" in said.err and "internal error" not in said.err
    assert "graph(" not in said.out + said.err
    assert not (tmp_path / "model" / "onnx").exists() and (tmp_path / "model" / "model.safetensors").exists()
    assert run(["export", str(tmp_path / "model"), "--calibrate", str(tmp_path / "train.tsv")]) == 2
