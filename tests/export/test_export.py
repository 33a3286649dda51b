"""ONNX files: the same numbers as torch, static int8, and bit for bit the same whatever is in the batch."""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers

from bertcli.backends import onnx as runtime
from bertcli.backends import pytorch
from bertcli.device import Device
from bertcli.errors import ModelError, UsageError
from bertcli.export.export import export
from bertcli.export.int8 import dequantized
from bertcli.model import ONNX, read

SIZES = {
    "vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 80, "num_labels": 3,
}  # fmt: skip
FAMILIES = {
    "bert": transformers.BertConfig(**SIZES),
    "roberta": transformers.RobertaConfig(**SIZES, type_vocab_size=1, pad_token_id=1),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=400, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=80, num_labels=3
    ),
    "electra": transformers.ElectraConfig(**SIZES, embedding_size=16),
    "deberta-v2": transformers.DebertaV2Config(  # whose projection reads the embeddings as they are
        **SIZES, embedding_size=16, position_biased_input=False, type_vocab_size=0
    ),
}
CPU = Device("cpu", 1, "a test")


def batch(rows: int, length: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    ids = np.random.default_rng(seed).integers(5, 400, (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("export") / str(request.param)
    module = transformers.AutoModelForSequenceClassification.from_config(FAMILIES[request.param])
    for weight in module.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.2)
    module.save_pretrained(path)
    rows = export(path, "SequenceClassification", [batch(8, length, length) for length in range(3, 40)])
    assert [row.file for row in rows] == [ONNX["fp32"], ONNX["int8"]]
    assert rows[0].largest < 1e-4 and rows[0].agreement == 1
    assert rows[1].mean < 0.05 and rows[1].agreement > 0.9
    return path


def test_fp32_gives_torchs_numbers_for_any_shape(exported: Path) -> None:
    model = read(exported)
    reference = pytorch.Backend(model, CPU, "SequenceClassification", "fp32")
    tested = runtime.Backend(model, CPU, "SequenceClassification", "fp32")
    for shape in ((1, 3), (1, 64), (7, 12), (33, 5)):
        feed = batch(*shape)
        np.testing.assert_allclose(tested.run(feed)["logits"], reference.run(feed)["logits"], atol=1e-4)
    masked = batch(3, 20)
    masked["attention_mask"][1, 9:] = 0
    np.testing.assert_allclose(tested.run(masked)["logits"], reference.run(masked)["logits"], atol=1e-4)


def test_int8_is_static_with_a_scale_per_output_channel(exported: Path) -> None:
    graph = onnx.load(exported / ONNX["int8"]).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    projections = exported.name in ("electra", "deberta-v2")  # of the embeddings
    assert len(products) == 14 + projections  # 6 in a layer, 2 in the head
    assert "DynamicQuantizeLinear" not in {node.op_type for node in graph.node}
    for node in products:
        weight, scales = constants[node.input[1]], constants[node.input[3]]
        assert weight.data_type == onnx.TensorProto.INT8
        assert list(scales.dims) == [weight.dims[1]]
        assert constants[node.input[2]].dims == [] and constants[node.input[4]].data_type == onnx.TensorProto.UINT8


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_row_is_bitwise_the_same_in_a_batch_of_any_size(exported: Path, precision: str) -> None:
    backend = runtime.Backend(read(exported), CPU, "SequenceClassification", precision)
    for length in (3, 17):
        whole = batch(64, length)
        alone = np.concatenate(
            [backend.run({name: rows[i : i + 1] for name, rows in whole.items()})["logits"] for i in range(64)]
        )
        for size in (2, 3, 5, 8, 13, 64):
            parts = [
                backend.run({name: rows[i : i + size] for name, rows in whole.items()})["logits"]
                for i in range(0, 64, size)
            ]
            assert np.array_equal(np.concatenate(parts), alone), (length, size)


def test_the_int8_weights_come_back_into_torch_by_their_names(exported: Path) -> None:
    model = read(exported)
    exact = pytorch.load(model, "SequenceClassification").state_dict()
    rounded = dequantized(model, "SequenceClassification")
    for name, weight in rounded.state_dict().items():
        step = 2 * exact[name].abs().max() / 127  # a channel that was divided has coarser steps
        assert (weight - exact[name]).abs().max() <= step, name
    feed = batch(8, 20)
    tensors = {name: torch.from_numpy(feed[name]) for name in pytorch.inputs_of(rounded, feed)}
    with torch.no_grad():
        logits = rounded.eval()(**tensors).logits.numpy()
    int8 = runtime.Backend(model, CPU, "SequenceClassification", "int8").run(feed)["logits"]
    assert np.abs(logits - int8).mean() < 0.05  # what is left is the rounding of activations


def test_int8_weights_of_another_architecture_are_a_model_error(exported: Path, tmp_path: Path) -> None:
    config = {**read(exported).config, "architectures": None}
    layers = "n_layers" if exported.name == "distilbert" else "num_hidden_layers"
    (tmp_path / "onnx").symlink_to(exported / "onnx")
    (tmp_path / "config.json").write_text(json.dumps(config | {layers: 3}))
    with pytest.raises(ModelError, match=r"model_quantized.onnx: no weights for .*\.2\."):
        dequantized(read(tmp_path), "SequenceClassification")


def test_no_draft_is_left(exported: Path) -> None:
    assert sorted(path.name for path in (exported / "onnx").iterdir()) == ["model.onnx", "model_quantized.onnx"]


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-3), ("int8", 0.05), ("bf16", 0.5)])
def test_openvino_gives_the_same_numbers_from_the_same_files(exported: Path, precision: str, bound: float) -> None:
    pytest.importorskip("openvino")
    from bertcli.backends import openvino

    model = read(exported)
    reference = runtime.Backend(model, CPU, "SequenceClassification", "int8" if precision == "int8" else "fp32")
    tested = openvino.Backend(model, CPU, "SequenceClassification", precision)
    assert tested.precision == precision
    for shape in ((1, 3), (1, 64), (7, 12), (33, 5)):
        feed = batch(*shape)
        first = tested.run(feed)["logits"]
        kept = first.copy()
        assert np.abs(first - reference.run(feed)["logits"]).max() < bound
        tested.run(batch(*shape, seed=1))
        np.testing.assert_array_equal(first, kept)  # no view of memory that the next batch writes


def test_openvino_fills_a_batch_up_to_a_size_it_knows(exported: Path) -> None:
    pytest.importorskip("openvino")
    from bertcli.backends import openvino

    model, feed = read(exported), batch(15, 12)
    tested, other = (openvino.Backend(model, CPU, "SequenceClassification", "int8") for _ in range(2))
    tested.run(batch(40, 12))
    np.testing.assert_array_equal(tested.run(feed)["logits"], other.run(feed)["logits"])
    assert (tested.tokens, tested.rows) == ({480}, {40})  # 25 rows for nothing take less time than a new shape
    tested.run(batch(39, 12, seed=1))
    tested.run(batch(57, 8))  # other rows, as many tokens
    assert (tested.tokens, tested.rows) == ({480}, {40, 60})
    tested.run(batch(2, 12))
    assert (tested.tokens, tested.rows) == ({24, 480}, {2, 40, 60})
    assert (other.tokens, other.rows) == ({180}, {15})


def test_each_stream_has_a_session_of_its_own(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, feed = Path(shutil.copytree(exported, tmp_path / "model")), batch(3, 9)

    def opened(streams: int) -> runtime.Backend:
        return runtime.Backend(read(path), Device("cpu", streams, "a test"), "SequenceClassification", "int8")

    def session(tested: runtime.Backend, name: str) -> Any:
        with ThreadPoolExecutor(1, name) as pool:
            np.testing.assert_array_equal(pool.submit(tested.run, feed).result()["logits"], expected)
        return tested.sessions[f"{name}_0"]

    tested, replaced = opened(2), opened(2)
    expected = tested.run(feed)["logits"]
    separate = session(tested, "own")
    assert separate is not tested.session
    assert session(tested, "own") is separate  # of the next stream of records too
    assert session(tested, "beyond the streams") is tested.session
    monkeypatch.setattr(runtime, "COPIES", tested.file.stat().st_size)
    crowded = opened(2)
    assert session(crowded, "first") is session(crowded, "no room") is crowded.session
    monkeypatch.undo()
    assert session(replaced, "first") is replaced.session
    replaced.file.write_bytes(b"another model")
    assert session(replaced, "second") is replaced.session


def test_a_backend_that_is_not_installed_is_a_usage_error(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bertcli.backends import openvino

    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r"not installed; pip install 'bertcli\[openvino\]' does it"):
        openvino.Backend(read(exported), CPU, "SequenceClassification", "auto")
