"""The torch backend where memory is too small for a batch: it is computed in parts, and later ones too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification

from bertcli.backends.pytorch import Backend
from bertcli.device import Device
from bertcli.errors import ModelError
from bertcli.model import read, update


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    return Backend(read(tmp_path), Device("cpu", 1, "a test"), "SequenceClassification", "fp32")


def test_weights_of_another_size_than_the_config_says_are_named(backend: Backend, tmp_path: Path) -> None:
    update(read(tmp_path), {"id2label": {"0": "a", "1": "b", "2": "c"}})
    with pytest.raises(ModelError, match=r"classifier.bias is \[2\] in the weights and \[3\] by config.json"):
        Backend(read(tmp_path), Device("cpu", 1, "a test"), "SequenceClassification", "fp32")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_a_wrapper_around_the_saved_model_is_named(backend: Backend, tmp_path: Path, prefix: str) -> None:
    weights = {prefix + name: weight for name, weight in backend.module.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors")
    outer = prefix.split(".")[0]
    with pytest.raises(ModelError, match=rf"begin with {outer}\., as .*MODEL\.{outer}\.save_pretrained"):
        Backend(read(tmp_path), Device("cpu", 1, "a test"), "SequenceClassification", "fp32")


def batch(rows: int, length: int) -> dict[str, Any]:
    ids = np.random.default_rng(0).integers(5, 50, (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def test_batches_are_halved_until_they_fit_and_stay_so(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, whole, sizes = backend.run(batch(16, 4)), backend._outputs, list[int]()

    def small(part: Any) -> Any:
        sizes.append(len(part["input_ids"]))
        if part["input_ids"].size > 20:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(part)

    monkeypatch.setattr(backend, "_outputs", small)
    outputs = backend.run(batch(16, 4))
    np.testing.assert_allclose(outputs["logits"], expected["logits"], atol=1e-6)
    assert sizes == [16, 8, 4, 4, 4, 4]
    sizes.clear()
    assert len(backend.run(batch(9, 8))["logits"]) == 9
    assert sizes == [2, 2, 2, 2, 1]


def test_one_row_that_does_not_fit_is_an_error(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(part: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(backend, "_outputs", never)
    with pytest.raises(torch.OutOfMemoryError):
        backend.run(batch(4, 4))


def test_a_gpu_gets_large_batches_and_no_plan_of_cudnn_for_each_shape(
    tmp_path: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *args, **named: module)
    assert (backend.batch_tokens, torch.backends.cuda.cudnn_sdp_enabled()) == (768, True)
    try:
        gpu = Backend(read(tmp_path), Device("cuda", 1, "a test"), "SequenceClassification", "fp32")
        assert (gpu.batch_tokens, torch.backends.cuda.cudnn_sdp_enabled()) == (65_536, False)
        assert (gpu.multiple, gpu.chunk_records) == (16, 16_384) and (backend.multiple, backend.chunk_records) == (
            1,
            4096,
        )
        monkeypatch.setattr(type(gpu.module), "get_output_embeddings", lambda module: module)  # logits of all pieces
        gpu = Backend(read(tmp_path), Device("cuda", 1, "a test"), "SequenceClassification", "fp32")
        assert gpu.batch_tokens == 768
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)
