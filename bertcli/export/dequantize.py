"""A torch model from an int8 ONNX file that `export` wrote: the weights as they are rounded, with gradients.

A weight is its integers times its scales; where quantize.py divided a channel of the input, the division goes back
into the weights. What is not carried over is the rounding of activations, so logits differ a little from ONNX
Runtime's. Names come from the graph: torch's exporter calls every value by the path of the module that made it.
"""

from typing import Any

import numpy as np
import onnx
import torch

from bertcli.backends.pytorch import quiet
from bertcli.errors import ModelError
from bertcli.export.quantize import Graph
from bertcli.model import Model

ROOT = "/module/"  # what export.py wraps the model in
Weights = dict[str, np.ndarray[Any, Any]]


def dequantized(model: Model, head: str, **settings: Any) -> Any:
    """The transformers model that config.json names, with the weights of onnx/model_quantized.onnx, in fp32.

    Raises ModelError where the file is not there, or lacks a weight that the model has.
    """
    import transformers

    file = model.onnx_file("int8")
    if file is None:
        raise ModelError(f"{model.path}: neither safetensors nor an int8 ONNX file; gradients need one of them.")
    quiet()
    found = weights(Graph(onnx.load(file)))
    config = transformers.AutoConfig.from_pretrained(model.path, local_files_only=True)
    module = getattr(transformers, f"AutoModelFor{head}").from_config(config, dtype=torch.float32, **settings)
    own = module.state_dict()
    tensors = {name: torch.tensor(value) for name, value in found.items() if name in own}
    try:
        lacking = module.load_state_dict(tensors, strict=False).missing_keys
    except RuntimeError as error:
        raise ModelError(f"{file}: its weights do not fit the architecture of config.json ({error}).") from error
    if lacking:
        raise ModelError(
            f"{file}: no weights for {', '.join(lacking[:3])} are found in it; it needs to be written by bertcli "
            "export, or a model.safetensors beside it."
        )
    return module


def weights(graph: Graph) -> Weights:
    """The weights in a graph by the names that the torch model has for them, float32."""
    producers = {output: node for node in graph.nodes for output in node.output}
    found: Weights = {}
    for node in graph.nodes:
        match node.op_type:
            case "MatMulIntegerToFloat":
                found |= _product(graph, producers, node)
            case "LayerNormalization":
                found |= _named(_path(node.output[0]), *(graph.constants[name] for name in node.input[1:3]))
            case "Gather" if node.input[0] in graph.constants:
                found |= _table(graph, node)
    return found


def _product(graph: Graph, producers: dict[str, onnx.NodeProto], node: onnx.NodeProto) -> Weights:
    """Weight (N, K) and bias (N,) of a linear layer; inputs: integers, weight, scale, scales, zero points, bias."""
    weight = graph.constants[node.input[1]].astype(np.float32) * graph.constants[node.input[3]]  # (K, N)
    divided = producers.get(producers[node.input[0]].input[0])
    if divided is not None and divided.op_type == "Mul" and divided.input[1] in graph.constants:
        weight = weight * graph.constants[divided.input[1]][:, np.newaxis]
    bias = node.input[6] if len(node.input) > 6 else ""
    # "logits" is the name of an output, without a path; the bias then has one
    path = _path(node.input[1]) or bias.removeprefix("module.").removesuffix(".bias")
    return _named(path, weight.T, graph.constants.get(bias))


def _table(graph: Graph, node: onnx.NodeProto) -> Weights:
    """An embedding: integers with a scale for each row, or a small one that stayed fp32."""
    name, table = node.input[0], graph.constants[node.input[0]]
    if table.dtype == np.int8:
        table = table.astype(np.float32) * graph.constants[f"{name.removesuffix('_int')}_scales"]
    is_table = table.dtype == np.float32 and table.ndim == 2 and not name.endswith("_scales")
    return _named(_path(node.output[0]), table) if is_table else {}


def _path(value: str) -> str:
    """`/module/bert/pooler/dense/Gemm_output_0` -> `bert.pooler.dense`; "" for a value that has no path."""
    return value.removeprefix(ROOT).rpartition("/")[0].replace("/", ".") if value.startswith(ROOT) else ""


def _named(path: str, weight: Any, bias: Any = None) -> Weights:
    return {f"{path}.weight": weight} | ({} if bias is None else {f"{path}.bias": bias})
