"""Two changes of an ONNX graph that keep all numbers: positions that the head does not read are not computed, and a
model with an early exit is cut in two.

A head that takes the first position of the encoder's output (BERT's pooler, RoBERTa's and ELECTRA's heads) gets it from
a graph in which the position is taken before the last layer's feed-forward network, not after it. All operators moved
treat each position by itself, so the numbers are the same to the last bit: 0.911, 0.909 and 0.914 times the CPU time
with 6 layers and texts of 20, 8 and 64 tokens. Knows no model's architecture: it goes by operators alone.
Try: bertcli export DIR --calibrate texts.txt
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import NodeProto, helper, numpy_helper
from onnx.utils import Extractor

from bertcli.model import EXTERNAL

WEIGHT = 1024  # values in a constant that is no index and no shape
MICROSOFT = "com.microsoft"  # ONNX Runtime's own operators
PRODUCTS = {"MatMul", "MatMulIntegerToFloat"}
POSITIONWISE = PRODUCTS | {  # with constants of one dimension at most; products, with weights (K, N)
    "Add", "Cast", "Div", "Erf", "Gelu", "LayerNormalization", "Mul", "Pow", "QuantizeLinear", "Sub", "Tanh",
}  # fmt: skip


class Graph:
    """An ONNX graph with constants folded into its initialisers and nodes found by what they produce and consume."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.nodes: list[NodeProto] = []
        for node in model.graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            elif node.op_type == "Identity" and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
            else:
                self.nodes.append(node)

    def readers(self, value: str) -> list[NodeProto]:
        """The nodes that read a value."""
        return [node for node in self.nodes if value in node.input]

    def replace(self, old: Iterable[NodeProto], new: Iterable[NodeProto]) -> None:
        """Put nodes in the place of others, at the last of them, where all inputs are there."""
        removed = list(old)
        last = max(self.nodes.index(node) for node in removed)
        self.nodes[last + 1 : last + 1] = new
        self.nodes = [node for node in self.nodes if not any(node is other for other in removed)]

    def finish(self) -> onnx.ModelProto:
        """The changed model, with the constants that it still uses."""
        used = {name for node in self.nodes for name in node.input}
        graph = self.model.graph
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
            for name, value in self.constants.items()
            if name in used
        )
        if not any(opset.domain == MICROSOFT for opset in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
        return self.model


def take_first_early(model: onnx.ModelProto) -> onnx.ModelProto:
    """Move the selection of position 0 up to where positions meet; a model without one stays as it is."""
    graph = Graph(model)
    selection = None  # the last node that makes (B, C) of (B, T, C): position 0 along the axis T
    for node in graph.nodes:
        if node.op_type == "Gather" and any(part.name == "axis" and part.i == 1 for part in node.attribute):
            index = graph.constants.get(node.input[1])
            if index is not None and index.ndim == 0 and int(index) == 0:
                selection = node
    if selection is None or not (moved := _movable(graph, selection)):
        return graph.finish()
    made = {output for node in moved for output in node.output}
    selected: set[str] = set()  # values (B, T, C) whose first position has been taken, as NAME_first (B, C)
    for node in moved:
        for i, name in enumerate(node.input):
            if not name or name in graph.constants or name in made:
                continue
            if name not in selected:
                take = helper.make_node("Gather", [name, selection.input[1]], [f"{name}_first"], axis=1)
                graph.nodes.insert(graph.nodes.index(node), take)
                selected.add(name)
            node.input[i] = f"{name}_first"
    for node in graph.readers(selection.output[0]):
        node.input[:] = [selection.input[0] if name == selection.output[0] else name for name in node.input]
    graph.nodes = [node for node in graph.nodes if node is not selection]
    return graph.finish()


def _movable(graph: Graph, selection: NodeProto) -> list[NodeProto]:
    """The nodes whose results reach nothing but the selection, and that treat each position by itself; in order."""
    kept = {output.name for output in graph.model.graph.output}
    wanted = set(selection.input[:1])  # values that only the selection and the nodes that move with it read
    nodes: list[NodeProto] = []
    for node in reversed(graph.nodes[: graph.nodes.index(selection)]):
        constants = [graph.constants[name] for name in node.input if name in graph.constants]
        if node.op_type in PRODUCTS:
            weight = graph.constants.get(node.input[1])
            is_positionwise = weight is not None and weight.ndim == 2
        else:
            is_positionwise = node.op_type in POSITIONWISE and all(constant.ndim <= 1 for constant in constants)
        is_private = all(
            any(reader is other for other in (selection, *nodes)) for reader in graph.readers(node.output[0])
        )
        if is_positionwise and is_private and node.output[0] in wanted - kept:
            nodes.insert(0, node)
            wanted |= set(node.input)
    return nodes


def cut(model: onnx.ModelProto) -> list[onnx.ModelProto]:
    """The two stages of a model with an early exit; any other model as it is, and one whose stages share weights.

    The first gives `exit_logits` and the states of the layer before the exit, the second goes on from these states, of
    any of the rows. It computes the form of the mask anew, which has no weights.
    """
    graph = Graph(model)
    inputs = [value.name for value in model.graph.input]
    if "exit_logits" not in [value.name for value in model.graph.output]:
        return [model]
    first = _needed(graph, "exit_logits")
    made = [name for node in first for name in node.output]
    later = {name for node in graph.nodes if node.output[0] not in made for name in node.input}
    states = [name for name in made if name in later][-1]
    sizes = ["batch", "sequence", "hidden"]
    model.graph.value_info.append(helper.make_tensor_value_info(states, onnx.TensorProto.FLOAT, sizes))

    rest = Graph(Extractor(model).extract_model([*inputs, states], ["logits"]))
    for node in rest.nodes:  # the mask is formed by batch and sequence of the embeddings, which are those of the states
        if node.op_type == "Shape" and node.input[0] in made and _weights(rest, _needed(rest, node.input[0], states)):
            node.input[0] = states
    rest.nodes = _needed(rest, "logits", states)
    if _weights(graph, first) & _weights(rest, rest.nodes):
        return [Extractor(model).extract_model(inputs, ["logits"])]
    read = {name for node in rest.nodes for name in node.input}
    read_inputs = [name for name in (*inputs, states) if name in read]
    return [
        Extractor(model).extract_model(inputs, ["exit_logits", states]),
        Extractor(rest.model).extract_model(read_inputs, ["logits"]),
    ]


def _needed(graph: Graph, output: str, states: str = "") -> list[NodeProto]:
    """The nodes that compute an output, in order, from the states where these are named."""
    wanted, nodes = {output}, list[NodeProto]()
    for node in reversed(graph.nodes):
        if (wanted - {states}) & set(node.output):
            nodes.insert(0, node)
            wanted |= set(node.input)
    return nodes


def _weights(graph: Graph, nodes: Iterable[NodeProto]) -> set[str]:
    """The weights that nodes read: constants too large to be an index or a shape."""
    names = {name for node in nodes for name in node.input}
    return {name for name in names if name in graph.constants and graph.constants[name].size >= WEIGHT}


# Models of over 2 GB, which one protobuf cannot hold, have their tensors in a file beside them.

LIMIT = 1_900_000_000  # bytes of tensors; protobuf refuses messages of 2**31 bytes
SMALL = 1024  # bytes: tensors that stay in the model's own file, where shapes are read from them


def is_large(model: onnx.ModelProto) -> bool:
    """Whether its tensors must lie beside it."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) > LIMIT


def save(model: onnx.ModelProto, file: Path) -> None:
    """Write a model, a large one with a file beside it, NAME_data; the model in memory stays as it is."""
    if not is_large(model):
        onnx.save(model, file)
        return
    tensors = file.with_name(file.name + EXTERNAL)
    large = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= SMALL]
    contents = []
    try:
        with tensors.open("wb") as output:
            for tensor in large:
                content = tensor.raw_data
                contents.append(content)
                output.write(b"\0" * (-output.tell() % 64))  # aligned, so that the file can be mapped into memory
                onnx.external_data_helper.set_external_data(tensor, tensors.name, output.tell(), len(content))
                output.write(content)
                tensor.ClearField("raw_data")
        file.write_bytes(model.SerializeToString())
    finally:
        for tensor, content in zip(large, contents, strict=False):
            tensor.raw_data = content
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.DEFAULT


def opened(model: onnx.ModelProto, folder: Path, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    """A session of ONNX Runtime for a model; a large one goes through a file in that folder, which is removed again."""
    options = options or ort.SessionOptions()
    options.log_severity_level = 4  # What is an error is raised too; the log of it is coloured, in pipes as well.
    if not is_large(model):
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    file = folder / "between.onnx"
    save(model, file)
    try:
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    finally:
        file.unlink()
        file.with_name(file.name + EXTERNAL).unlink()
