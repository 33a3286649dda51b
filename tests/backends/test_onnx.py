"""int8 products are exact on every processor, also where two of them would overflow 16 bits."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bertcli import device, registry
from bertcli.backends import onnx as runtime
from bertcli.errors import ModelError, UsageError
from bertcli.inference import Batching, Request
from bertcli.inference.measure import Workload, time_variants
from bertcli.model import Model
from bertcli.tasks.options import Options

WIDTH = 64
PRECISE = "session.x64quantprecision"


@pytest.fixture
def products(tmp_path: Path) -> Path:
    """A file that multiplies u8 (1, WIDTH) by s8 weights of +127 and -128, of which any two neighbours saturate."""
    signs = np.where(np.arange(WIDTH)[:, None] // 2 % 2, -128, 127) * np.ones((1, 8), np.int64)
    weights = [numpy_helper.from_array(signs.astype(np.int8), name) for name in ("weights", "others")]
    scales = [numpy_helper.from_array(np.array(value, kind), name) for name, value, kind in (
        ("one", 1, np.float32), ("zero", 0, np.uint8), ("none", 0, np.int8),
    )]  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "one", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["weights", "one", "none"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
        helper.make_node("MatMulInteger", ["x", "others"], ["z"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8, ["rows", WIDTH])]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 8]),
        helper.make_tensor_value_info("z", TensorProto.INT32, ["rows", 8]),
    ]
    graph = helper.make_graph(nodes, "products", inputs, outputs, [*weights, *scales])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "p.onnx")
    return tmp_path / "p.onnx"


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize("ids", [TensorProto.INT64, TensorProto.INT32])
@pytest.mark.parametrize("shape", [["rows", "tokens"], [1, "tokens"], ["rows", 128]])
def test_a_file_in_half_precision_or_int32_gives_single_precision_and_takes_batches_of_any_shape(
    engine: str, ids: int, shape: list[Any], tmp_path: Path
) -> None:
    """What is summed over the tokens afterwards would else be summed in half precision."""
    (tmp_path / "onnx").mkdir()
    value = helper.make_tensor_value_info
    node = helper.make_node("Cast", ["input_ids"], ["last_hidden_state"], to=TensorProto.FLOAT16)
    inputs = [value("input_ids", ids, shape)]
    graph = helper.make_graph([node], "half", inputs, [value("last_hidden_state", TensorProto.FLOAT16, shape)])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, tmp_path / "onnx" / "model.onnx")
    opened = partial(registry.load("backends", engine).Backend, Model(tmp_path, {}), device.cpu(1, ""), "", "fp32")
    if shape != ["rows", "tokens"]:
        with pytest.raises(ModelError, match=r"its input_ids are (1 x any|any x 128), but texts come in any"):
            opened()
        return
    for count in (1, 2):
        outputs = opened().run({"input_ids": np.arange(3 * count).reshape(count, 3)})["last_hidden_state"]
        assert outputs.dtype == np.float32 and outputs.tolist() == np.arange(3 * count).reshape(count, 3).tolist()


def test_a_text_does_not_depend_on_its_neighbours_where_scales_are_measured(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    value, shape = helper.make_tensor_value_info, ["rows", "tokens"]
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["logits"]),
    ]
    inputs, outputs = [value("input_ids", TensorProto.INT64, shape)], [value("logits", TensorProto.FLOAT, shape)]
    made = helper.make_model(
        helper.make_graph(nodes, "dynamic", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(made, tmp_path / "onnx" / "model_quantized.onnx")
    backend = runtime.Backend(Model(tmp_path, {}), device.cpu(1, ""), "", "int8")
    ids = np.array([[1, 2, 3], [1, 2, 9000]])
    together = backend.run({"input_ids": ids})["logits"]
    assert together.tolist() == [backend.run({"input_ids": row[None]})["logits"][0].tolist() for row in ids]
    with pytest.raises(UsageError, match="measured over a batch; use --backend onnx"):
        registry.load("backends", "openvino").Backend(Model(tmp_path, {}), device.cpu(1, ""), "", "int8")
    workload = Workload(Request(backend="openvino"), Options(), Batching(), None)
    with pytest.raises(UsageError, match="can run this model here"):  # so that bench goes on with the others
        next(time_variants(workload, Model(tmp_path, {}), ""))


@pytest.mark.parametrize("cpuinfo", ["flags : avx2 fma", "flags : avx2 avx512_vnni", "flags : avx2 avx_vnni"])
def test_products_are_those_of_integers(products: Path, cpuinfo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "vnni" in cpuinfo and not device.has_exact_int8():
        pytest.skip("this processor has no VNNI")
    monkeypatch.setattr(device, "_cpuinfo", lambda: cpuinfo)
    session = runtime._open(products)
    x = np.vstack([np.full(WIDTH, 255), np.random.default_rng(0).integers(0, 256, (15, WIDTH))]).astype(np.uint8)
    weights = np.where(np.arange(WIDTH)[:, None] // 2 % 2, -128, 127) * np.ones((1, 8), np.int64)
    floats, integers = session.run(None, {"x": x})
    expected = x.astype(np.int64) @ weights
    assert (integers == expected).all() and (floats == expected).all()


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "asked"),
    [("x86_64", "avx2", True), ("x86_64", "avx512_vnni", False), ("aarch64", "", False), ("AMD64", "", True)],
)
def test_it_is_asked_for_only_where_it_is_needed(
    products: Path, machine: str, cpuinfo: str, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_cpuinfo", lambda: cpuinfo)
    monkeypatch.setattr(device.platform, "machine", lambda: machine)
    options = runtime._open(products).get_session_options()
    assert options.has_session_config_entry(PRECISE) == asked if hasattr(options, "has_session_config_entry") else True
    if asked:
        assert options.get_session_config_entry(PRECISE) == "1"
    else:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry(PRECISE)
