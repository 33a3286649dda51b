"""A model with an early exit as two ONNX files: the same numbers, no weight twice, no neighbour in a row's result."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers

from bertcli import exits
from bertcli.backends import BaseBackend, Stages, open_backend, openvino, pytorch
from bertcli.backends import onnx as runtime
from bertcli.errors import ModelError, UsageError
from bertcli.export.export import export
from bertcli.export.graph import cut
from bertcli.export.int8 import dequantized
from bertcli.model import ONNX, REST, read
from tests.export.test_export import CPU, SIZES, batch

HEAD = "SequenceClassification"
FAMILIES = {
    "bert": transformers.BertConfig(**SIZES),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=400, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=80, num_labels=3
    ),
    "electra": transformers.ElectraConfig(**SIZES, embedding_size=16),
    "mpnet": transformers.MPNetConfig(**SIZES),
    "modernbert": transformers.ModernBertConfig(
        **SIZES, pad_token_id=0, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2
    ),
}


def written(path: Path, config: Any, after: int | None = 1) -> Any:
    torch.manual_seed(0)
    module = transformers.AutoModelForSequenceClassification.from_config(config)
    if after:
        exits.attach(module, after)
    for weight in module.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.2)
    exits.save(module, path)
    return module.eval()


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("exits") / str(request.param)
    module = written(path, FAMILIES[request.param])
    rows = export(path, HEAD, [batch(8, length, length) for length in range(3, 40, 3)])
    assert rows[0].largest < 1e-4 and rows[0].agreement == 1
    assert rows[1].mean < 0.1
    return path, module


def opened(path: Path, precision: str, engine: type[BaseBackend] = runtime.Backend) -> Stages:
    backend = open_backend(engine, read(path), CPU, HEAD, precision)
    assert isinstance(backend, Stages)
    return backend


def test_both_stages_give_torchs_numbers(exported: tuple[Path, Any]) -> None:
    path, module = exported
    for shape in ((1, 3), (7, 12), (33, 5)):
        feed = batch(*shape)
        with torch.no_grad():
            expected = module(**{name: torch.from_numpy(feed[name]) for name in pytorch.inputs_of(module, feed)})
        outputs = opened(path, "fp32").run(feed)
        for name in ("logits", "exit_logits"):
            np.testing.assert_allclose(outputs[name], expected[name].numpy(), atol=1e-4)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_row_leaves_alone_as_in_a_batch_and_has_the_same_numbers(exported: tuple[Path, Any], precision: str) -> None:
    backend, whole = opened(exported[0], precision), batch(64, 11)
    gaps = np.sort(backend.run(whole)["exit_logits"], 1)
    middle = np.median(gaps[:, -1] - gaps[:, -2])
    backend.is_sure = lambda logits: np.ptp(np.sort(logits, 1)[:, -2:], axis=1) >= middle
    alone = [backend.run({name: rows[i : i + 1] for name, rows in whole.items()}) for i in range(64)]
    for size in (2, 5, 13, 64):
        parts = [backend.run({name: rows[i : i + size] for name, rows in whole.items()}) for i in range(0, 64, size)]
        for name in ("logits", "layers"):
            together = np.concatenate([part[name] for part in parts])
            assert np.array_equal(together, np.concatenate([part[name] for part in alone])), (name, size)
    assert {int(part["layers"][0]) for part in alone} == {1, 2}


def test_no_weight_is_in_both_files(exported: tuple[Path, Any]) -> None:
    for precision in ("int8", "fp32"):
        names = []
        for files in (ONNX, REST):
            graph = onnx.load(exported[0] / files[precision]).graph
            names.append({tensor.name for tensor in graph.initializer if np.prod(tensor.dims) >= 1024})
        assert names[0] and names[1] and not names[0] & names[1]


def test_openvino_runs_both_stages(exported: tuple[Path, Any]) -> None:
    pytest.importorskip("openvino")
    feed = batch(5, 9)
    ours, theirs = opened(exported[0], "fp32", openvino.Backend).run(feed), opened(exported[0], "fp32").run(feed)
    np.testing.assert_allclose(ours["logits"], theirs["logits"], atol=1e-4)


def test_the_int8_weights_of_both_stages_come_back_into_torch(tmp_path: Path) -> None:
    written(tmp_path, FAMILIES["bert"])
    export(tmp_path, HEAD, [batch(4, 9)])
    exact = pytorch.load(read(tmp_path), HEAD).state_dict()
    for name, weight in dequantized(read(tmp_path), HEAD).state_dict().items():
        assert (weight - exact[name]).abs().max() <= 2 * exact[name].abs().max() / 127, name


def test_transformers_opens_the_directory_as_if_there_were_no_exit(tmp_path: Path) -> None:
    written(tmp_path, FAMILIES["bert"])
    _, info = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert (tmp_path / exits.FILE).is_file()


def test_an_export_without_an_exit_takes_the_second_stage_away(tmp_path: Path) -> None:
    written(tmp_path, FAMILIES["bert"])
    export(tmp_path, HEAD, [batch(4, 9)])
    assert (tmp_path / REST["int8"]).is_file()
    written(tmp_path, transformers.BertConfig(**SIZES), after=None)
    export(tmp_path, HEAD, [batch(4, 9)])
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == ["model.onnx", "model_quantized.onnx"]


@pytest.mark.parametrize("layer", [2, 3])
def test_an_exit_is_before_the_last_layer(layer: int) -> None:
    module = transformers.AutoModelForSequenceClassification.from_config(transformers.BertConfig(**SIZES))
    with pytest.raises(UsageError, match=f"--exit-after {layer}: the model has 2 layers; name one before the last."):
        exits.attach(module, layer)


def test_a_head_of_other_sizes_is_a_model_error(tmp_path: Path) -> None:
    written(tmp_path / "a", FAMILIES["bert"])
    written(tmp_path / "b", transformers.BertConfig(**SIZES | {"hidden_size": 16}))
    (tmp_path / "b" / exits.FILE).replace(tmp_path / "a" / exits.FILE)
    with pytest.raises(ModelError, match=r"exit.safetensors: no head for this model"):
        export(tmp_path / "a", HEAD, [batch(4, 9)])


def test_stages_that_share_a_weight_stay_one_file_at_full_depth() -> None:
    def product(source: str, weight: str, output: str) -> onnx.NodeProto:
        return onnx.helper.make_node("MatMul", [source, weight], [output])

    graph = onnx.helper.make_graph(
        [product("input_ids", "tied", "states"), product("states", "early", "exit_logits"),
         product("states", "tied", "last"), product("last", "late", "logits")],
        "tied",
        [onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.FLOAT, ["batch", 32])],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("logits", "exit_logits")],
        [onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)
         for name, shape in (("tied", (32, 32)), ("early", (32, 2)), ("late", (32, 2)))],
    )  # fmt: skip
    (whole,) = cut(onnx.helper.make_model(graph))
    assert [output.name for output in whole.graph.output] == ["logits"]
    assert sorted(tensor.name for tensor in whole.graph.initializer) == ["late", "tied"]
