"""A student that starts from some layers of its base."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AlbertConfig, AutoModel, BertConfig, DistilBertConfig, ModernBertConfig

from bertcli import pretrained
from bertcli.errors import ModelError, UsageError
from bertcli.model import read
from bertcli.training.base_model import open_base

SIZES = {"vocab_size": 31, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
FAMILIES = {
    "bert": BertConfig(**SIZES, num_hidden_layers=12, max_position_embeddings=16),
    "distilbert": DistilBertConfig(vocab_size=31, dim=16, n_heads=2, hidden_dim=32, n_layers=12),
    "modernbert": ModernBertConfig(
        **SIZES, num_hidden_layers=12, pad_token_id=0, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2
    ),
}


def saved(config: Any, path: Path) -> Path:
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(path)
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_six_layers_of_twelve_are_those_that_distilbert_took(family: str, tmp_path: Path) -> None:
    base = saved(FAMILIES[family], tmp_path / "base")
    whole, _ = open_base(read(base), "", {}, 0.0)
    student, _ = open_base(read(base), "", {}, 0.0, layers=6)
    stacks = [
        next(part for part in model.modules() if isinstance(part, torch.nn.ModuleList)) for model in (whole, student)
    ]
    assert [len(stack) for stack in stacks] == [12, 6]
    for new, old in enumerate([0, 2, 4, 7, 9, 11]):
        for name, weight in stacks[1][new].state_dict().items():
            assert torch.equal(weight, stacks[0][old].state_dict()[name])
    student.save_pretrained(tmp_path / "student")
    reopened, _ = pretrained.open_module(tmp_path / "student", "")
    ids = torch.tensor([[1, 7, 9, 4, 2]])
    assert torch.allclose(student.eval()(ids)[0], reopened.eval()(ids)[0], atol=1e-6)


def test_layers_that_are_not_there_or_one_for_all(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--layers 3: the base model has 2"):
        open_base(read(tiny_model), "", {}, 0.0, layers=3)
    shared = saved(AlbertConfig(**SIZES, embedding_size=8, num_hidden_layers=4), tmp_path / "albert")
    with pytest.raises(ModelError, match="share their weights"):
        open_base(read(shared), "", {}, 0.0, layers=2)


@pytest.mark.parametrize("layers", [None, 1])
def test_eager_attention_is_not_remembered(tiny_model: Path, tmp_path: Path, layers: int | None) -> None:
    module, _ = open_base(read(tiny_model), "SequenceClassification", {}, 0.0, attention="eager", layers=layers)
    assert module.config._attn_implementation == "eager"
    module.save_pretrained(tmp_path)
    assert "attn" not in (tmp_path / "config.json").read_text()
    assert pretrained.open_module(tmp_path, "SequenceClassification")[0].config._attn_implementation == "sdpa"
