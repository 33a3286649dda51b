"""Static int8 for an ONNX encoder, about 3 times as fast as fp32, and back: the rounded weights as a torch model.

Products with weights run in integers, everything else in fp32. Activations are u8 with one scale and zero point per
tensor, fixed by calibration; weights s8 with a scale per output channel. Attention products, softmax, LayerNorm and
GELU stay fp32. Word embeddings are s8 with a scale per row, which costs no accuracy: 12 MB instead of 47 for 30,522
words of 384 numbers. Where a few channels of a tensor are far larger than the rest, they are divided before rounding
and their weights multiplied (SmoothQuant, Xiao et al. 2023, arXiv 2211.10438, section 4; here for outliers only): it
takes the mean error of a logit of MiniLM-L6 on SST-2 from 0.046 to 0.028. Scales never come from the batch, so the
result of a record does not depend on its neighbours.
(Per-channel weights and static activations: Jacob et al. 2018, arXiv 1712.05877, section 2.)

Knows no task and no text. Try: bertcli export DIR --calibrate texts.txt
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper

from bertcli.arrays import Array, Batch
from bertcli.errors import ModelError
from bertcli.export.graph import MICROSOFT, Graph, opened
from bertcli.model import Model
from bertcli.pretrained import new_module, open_config

EMBEDDING_SIZE = 10_000  # values; a smaller table is not worth an integer form
OUTLIER = 4.0  # times the median channel: tensors with a larger peak have their large channels divided ...
CEILING = 2.0  # ... down to this many times the median; 1.5 and 3 were no better
ROOT = "/module/"  # torch's exporter calls every value by the path of the module that made it; export.py adds this one
Ranges = dict[str, tuple[Any, Any]]  # the least and the greatest value of each channel of a tensor, (C,) each
Weights = dict[str, Array]  # by the names that the torch model has for them, float32

# ---- to int8


def quantize(model: onnx.ModelProto, feeds: Iterable[Batch], folder: Path) -> onnx.ModelProto:
    """The int8 form of a model.

    feeds: input name -> (B, T) int64, texts like those to come. folder: for files between.
    """
    graph = Graph(model)
    products = []  # with their weights, each (K, N)
    for node in graph.nodes:
        weight = graph.constants.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if weight is not None and weight.ndim == 2:
            is_transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            products.append((node, weight.T if is_transposed else weight))
    ranges = _calibrate(graph.finish(), feeds, sorted({node.input[0] for node, _ in products}), folder)
    for node, weight in products:
        _quantize_product(graph, node, weight, *ranges[node.input[0]])
    for node in list(graph.nodes):  # as they are now: what replaces an embedding reads a table too, that of its scales
        if node.op_type != "Gather":
            continue
        table, name = node.input[0], node.output[0]
        weights = graph.constants.get(table)
        if weights is None or weights.ndim != 2 or weights.dtype != np.float32 or weights.size < EMBEDDING_SIZE:
            continue
        graph.constants[f"{table}_int"], graph.constants[f"{table}_scales"] = _to_int8(weights, axis=1)
        new = [  # NAME_int is what a product that reads these rows makes of them
            helper.make_node("Gather", [f"{table}_int", node.input[1]], [f"{name}_rows"]),
            helper.make_node("Gather", [f"{table}_scales", node.input[1]], [f"{name}_scales"]),
            helper.make_node("Cast", [f"{name}_rows"], [f"{name}_float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}_float", f"{name}_scales"], [name]),
        ]
        graph.replace([node], new)
    return graph.finish()


def _calibrate(model: onnx.ModelProto, feeds: Iterable[Batch], names: list[str], folder: Path) -> Ranges:
    """The least and greatest value, 0 included, of each channel (last axis) of the named tensors on the feeds."""
    outputs = len(model.graph.output)
    model.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = opened(model, folder)
    del model.graph.output[outputs:]
    inputs = {node.name for node in session.get_inputs()}
    ranges: Ranges = {name: (np.float32(0), np.float32(0)) for name in names}
    for feed in feeds if names else ():  # SqueezeBERT's encoder has convolutions alone.
        values = session.run(names, {name: array for name, array in feed.items() if name in inputs})
        for name, value in zip(names, values, strict=True):
            rows, (low, high) = value.reshape(-1, value.shape[-1]), ranges[name]
            ranges[name] = np.minimum(low, rows.min(0)), np.maximum(high, rows.max(0))
    return ranges


def _quantize_product(graph: Graph, node: NodeProto, weight: Array, low: Array, high: Array) -> None:
    """Replace a product, and the addition of its bias. low, high (K,): what the channels of its input span."""
    source, name = node.input[0], node.output[0]
    # By what each channel is divided so that no outlier coarsens the steps of the others; 1 for most tensors.
    peaks = np.maximum(-low, high)
    median = max(float(np.median(peaks)), 1e-8)
    divisor = np.ones_like(peaks)
    if peaks.max() > OUTLIER * median:
        divisor = np.maximum(peaks / np.float32(CEILING * median), np.float32(1))
    integers, scales = _to_int8(weight * divisor[:, np.newaxis], axis=0)
    graph.constants[f"{name}_weight"], graph.constants[f"{name}_scales"] = integers, scales.reshape(-1)
    new = []
    if not any(f"{source}_int" in other.output for other in graph.nodes):  # else it is rounded, for another product
        least, most = (low / divisor).min(), (high / divisor).max()
        scale = np.float32(max(most - least, 1e-8) / 255)
        graph.constants[f"{source}_scale"] = np.array(scale)
        graph.constants[f"{source}_zero"] = np.array(np.rint(-least / scale), np.uint8)
        even = source
        if divisor.max() != 1:
            # In one node, as QuantizeLinear with a scale per channel, the two would take 3.9 times the time.
            even = f"{source}_even"
            graph.constants[f"{source}_factor"] = 1 / divisor
            new.append(helper.make_node("Mul", [source, f"{source}_factor"], [even]))
        rounding = [even, f"{source}_scale", f"{source}_zero"]
        new.append(helper.make_node("QuantizeLinear", rounding, [f"{source}_int"]))
    # With the product goes the addition of its bias, if there is one.
    old, biases, readers = [node], list(filter(None, node.input[2:])), graph.readers(node.output[0])
    if node.op_type == "MatMul" and len(readers) == 1 and readers[0].op_type == "Add":
        biases = [name for name in readers[0].input if name in graph.constants and graph.constants[name].ndim == 1][:1]
        old += readers if biases else []
    inputs = [f"{source}_int", f"{name}_weight", f"{source}_scale", f"{name}_scales", f"{source}_zero"]
    inputs += ["", *biases] if biases else []
    new.append(helper.make_node("MatMulIntegerToFloat", inputs, [old[-1].output[0]], domain=MICROSOFT))
    graph.replace(old, new)


def _to_int8(weight: Array, axis: int) -> tuple[Array, Array]:
    """Symmetric s8 with one scale for each slice along `axis`; scales keep the axis, with size 1."""
    scales = (np.maximum(np.abs(weight).max(axis, keepdims=True), 1e-8) / 127).astype(np.float32)
    return np.rint(weight / scales).astype(np.int8), scales


# ---- and back


def dequantized(model: Model, head: str, **settings: Any) -> Any:
    """The transformers model that config.json names, with the weights of onnx/model_quantized.onnx, in fp32.

    A weight is its integers times its scales. What is not carried over is the rounding of activations, so logits differ
    a little from ONNX Runtime's. settings: of from_config. Raises ModelError where the file is not there, or lacks a
    weight that the model has.
    """
    import torch

    files = [file for part in (model, model.rest) if (file := part.onnx_file("int8"))]
    if not files:
        raise ModelError(f"{model.path}: neither safetensors nor an int8 ONNX file; gradients need one of them.")
    weights = {name: value for file in files for name, value in _weights(Graph(onnx.load(file))).items()}
    module = new_module(open_config(model.path), head, dtype=torch.float32, **settings)
    names = module.state_dict()
    tensors = {name: torch.tensor(value) for name, value in weights.items() if name in names}
    try:
        lacking = module.load_state_dict(tensors, strict=False).missing_keys
    except RuntimeError as error:
        raise ModelError(f"{files[0]}: its weights do not fit the architecture of config.json ({error}).") from error
    if lacking:
        raise ModelError(
            f"{files[0]}: no weights for {', '.join(lacking[:3])} are found in it; it needs to be written by bertcli "
            "export, or a model.safetensors beside it."
        )
    return module


def _weights(graph: Graph) -> Weights:
    """The weights of linear layers, normalisations and embeddings in a graph."""
    producers = {output: node for node in graph.nodes for output in node.output}
    constants = graph.constants
    weights: Weights = {}
    for node in graph.nodes:
        match node.op_type:
            case "MatMulIntegerToFloat":  # inputs: integers, weight, scale, scales, zero points, bias
                weight = constants[node.input[1]].astype(np.float32) * constants[node.input[3]]  # (K, N)
                divided = producers.get(producers[node.input[0]].input[0])
                if divided is not None and divided.op_type == "Mul" and divided.input[1] in constants:
                    weight = weight * constants[divided.input[1]][:, np.newaxis]  # outliers, as they were
                bias = node.input[6] if len(node.input) > 6 else ""
                # "logits" is the name of an output, without a path; the bias then has one
                path = _path(node.input[1]) or bias.removeprefix("module.").removesuffix(".bias")
                weights[f"{path}.weight"] = weight.T
                weights |= {f"{path}.bias": constants[bias]} if bias in constants else {}
            case "LayerNormalization":
                # The last of an encoder gives an output, which has no path.
                path = _path(node.output[0]) or node.input[1].removeprefix("module.").removesuffix(".weight")
                for name, value in zip(("weight", "bias"), node.input[1:3], strict=False):
                    weights[f"{path}.{name}"] = constants[value]
            case "Gather" if (name := node.input[0]) in constants:  # an embedding, or its scales, or an index
                table = constants[name]
                if table.dtype == np.int8:
                    table = table.astype(np.float32) * constants[f"{name.removesuffix('_int')}_scales"]
                if table.dtype == np.float32 and table.ndim == 2 and not name.endswith("_scales"):
                    weights[f"{_path(node.output[0])}.weight"] = table
    return weights


def _path(value: str) -> str:
    """`/module/bert/pooler/dense/Gemm_output_0` -> `bert.pooler.dense`; "" for a value that has no path."""
    return value.removeprefix(ROOT).rpartition("/")[0].replace("/", ".") if value.startswith(ROOT) else ""
