"""Taking the first position early: the same numbers, from an operator on (B, C) where it was on (B, T, C)."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper

from bertcli.export.graph import take_first_early

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.normal(size=(4, 4)).astype(np.float32)
X = RANDOM.normal(size=(3, 5, 4)).astype(np.float32)


def model(nodes: list[NodeProto], outputs: list[str]) -> onnx.ModelProto:
    """x (B, T, C) -> outputs, with a square weight w, a bias b and the index 0."""
    constants = {"w": WEIGHT, "b": WEIGHT[0], "zero": np.array(0)}
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", "T", 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(original: onnx.ModelProto) -> list[np.ndarray]:
    session = ort.InferenceSession(original.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X})


def node(operator: str, inputs: str, output: str, **attributes: int) -> NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


MIXING = [node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "x t", "xx"), node("MatMul", "xx x", "mixed")]
LAYER = [
    node("MatMul", "mixed w", "product"), node("Add", "product b", "biased"), node("Tanh", "biased", "activated"),
    node("Add", "activated x", "sum"), node("LayerNormalization", "sum b b", "normal"),
]  # fmt: skip
HEAD = [node("Gather", "normal zero", "first", axis=1), node("MatMul", "first w", "y")]


def test_it_moves_up_to_where_positions_meet() -> None:
    original = [*MIXING, *LAYER, *HEAD]
    moved = take_first_early(model(original, ["y"]))
    kinds = [entry.op_type for entry in moved.graph.node]
    assert kinds == [
        "Transpose", "MatMul", "MatMul", "Gather", "MatMul", "Add", "Tanh", "Gather", "Add", "LayerNormalization",
        "MatMul",
    ]  # fmt: skip
    np.testing.assert_array_equal(run(moved)[0], run(model(original, ["y"]))[0])


def test_what_others_read_stays() -> None:
    original = model([*MIXING, *LAYER, *HEAD], ["y", "sum"])
    moved = take_first_early(original)
    assert [entry.op_type for entry in moved.graph.node][7:] == ["Gather", "LayerNormalization", "MatMul"]
    for ours, theirs in zip(run(moved), run(model([*MIXING, *LAYER, *HEAD], ["y", "sum"])), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_head_that_reads_all_positions_changes_nothing() -> None:
    original = model([*MIXING, *LAYER, node("MatMul", "normal w", "y")], ["y"])
    before = [entry.op_type for entry in original.graph.node]
    assert [entry.op_type for entry in take_first_early(original).graph.node] == before
