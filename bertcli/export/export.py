"""ONNX files of a checkpoint: fp32 and static int8, each checked against torch.

Knows no task and no tokenizer: it gets the head's name and arrays to run. Try: bertcli export DIR --calibrate texts.txt
"""

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from bertcli.backends import onnx as runtime
from bertcli.backends import pytorch
from bertcli.device import Device
from bertcli.errors import BertcliError
from bertcli.export.first import take_first_early
from bertcli.export.quantize import quantize
from bertcli.model import ONNX, Model, read

OPSET = 17  # the first with LayerNormalization as one operator
TOLERANCE = 1e-3  # of fp32 ONNX against torch: the same numbers but for rounding
Array = np.ndarray[Any, Any]
Feeds = Sequence[Mapping[str, Array]]


@dataclass(frozen=True)
class Row:
    """How one file compares with torch fp32. agreement: share of the same argmax."""

    file: str
    megabytes: float
    largest: float
    mean: float
    agreement: float

    def __str__(self) -> str:
        return (
            f"{self.file}: {self.megabytes:.1f} MB, against torch: largest difference {self.largest:.2g}, "
            f"mean {self.mean:.2g}, same argmax {self.agreement:.2%}"
        )


def export(directory: Path, head: str, feeds: Feeds) -> list[Row]:
    """Write onnx/model.onnx and onnx/model_quantized.onnx and compare both with torch on the feeds.

    feeds: input name -> (B, T) int64, texts like those to come: they calibrate the int8 scales.
    Raises ModelError for a checkpoint without that head, BertcliError where the fp32 file differs by over 1e-3.
    """
    model = read(directory)
    module = pytorch.load(model, head, attn_implementation="eager").eval()
    exact = take_first_early(_trace(module, feeds[0], directory / ONNX["fp32"]))
    onnx.save(exact, directory / ONNX["fp32"])
    _write_optimized(quantize(exact, feeds), directory / ONNX["int8"])
    rows = _compare(model, module, head, feeds)
    if rows[0].largest > TOLERANCE:
        raise BertcliError(f"{directory / ONNX['fp32']} differs from torch by {rows[0].largest:.2g}; do not use it.")
    return rows


class _Named(torch.nn.Module):
    """Takes and gives a model's tensors by position, as the exporter wants them."""

    def __init__(self, module: Any, inputs: list[str]) -> None:
        super().__init__()
        self.module, self.inputs = module, inputs
        self.outputs: list[str] = []
        self.eval()  # a new module is in training mode, and the exporter would leave `module` in it too

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The tensors of the model's output, whose names `outputs` has afterwards."""
        output = self.module(**dict(zip(self.inputs, tensors, strict=True)))
        self.outputs = list(output)
        return tuple(output.values())


def _trace(module: Any, feed: Mapping[str, Array], path: Path) -> onnx.ModelProto:
    """Trace the model, with the batch and the sequence of any size, and write it as one file."""
    names = pytorch.inputs_of(module, feed)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    # No size is 1, and one position is masked: what is constant in the example is constant in the graph.
    example = tuple(torch.from_numpy(np.resize(feed[name], (2, 9))) for name in names)
    example[names.index("attention_mask")][1, 6:] = 0
    named = _Named(module, names)
    shorter = tuple(tensor[:, :-1].clone() for tensor in example)
    with torch.no_grad():
        sizes = zip([*example, *named(*example)], [*shorter, *named(*shorter)], strict=True)
    axes = dict(zip([*names, *named.outputs], itertools.starmap(_axes, sizes), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of each shape that it reads
        torch.onnx.export(
            named, example, str(draft), dynamo=False, opset_version=OPSET, input_names=names,
            output_names=named.outputs, dynamic_axes=axes,
        )  # fmt: skip
    draft.replace(path)
    return onnx.load(path)


def _axes(tensor: torch.Tensor, shorter: torch.Tensor) -> dict[int, str]:
    """The axes of any size: the first, and those that a shorter example shortens."""
    sizes = enumerate(zip(tensor.shape, shorter.shape, strict=True))
    return {0: "batch"} | {i: "sequence" for i, (size, other) in sizes if size != other}


def _write_optimized(model: onnx.ModelProto, path: Path) -> None:
    """Write what ONNX Runtime makes of the graph when it opens it, which then opens in 24 ms instead of 39.

    EXTENDED: the fusions that are the same on every CPU.
    """
    draft = path.with_suffix(".tmp")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(draft)
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    draft.replace(path)


def _reference(module: Any, feed: Mapping[str, Array]) -> dict[str, Array]:
    tensors = {name: torch.from_numpy(feed[name]) for name in pytorch.inputs_of(module, feed)}
    with torch.inference_mode():
        return {name: value.numpy() for name, value in module(**tensors).items()}


def _compare(model: Model, module: Any, head: str, feeds: Feeds) -> list[Row]:
    """Both files beside torch; a feed at a time, for the logits of a vocabulary are large."""
    place = Device("cpu", 1, "checking")
    tallies = {precision: _Tally(runtime.Backend(model, place, head, precision)) for precision in ("fp32", "int8")}
    for feed in feeds:
        expected = _reference(module, feed)
        for tally in tallies.values():
            tally.add(feed, expected)
    return [tally.row(precision, model.path / ONNX[precision]) for precision, tally in tallies.items()]


@dataclass
class _Tally:
    """How the outputs of one file differ from torch's so far."""

    backend: runtime.Backend
    largest: float = 0.0
    total: float = 0.0
    values: int = 0
    same: int = 0
    rows: int = 0

    def add(self, feed: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
        for name, value in self.backend.run(feed).items():
            differences = np.abs(value - expected[name])
            self.largest = max(self.largest, float(differences.max()))
            self.total += float(differences.sum(dtype=np.float64))
            self.values += differences.size
            agrees = value.argmax(-1) == expected[name].argmax(-1)
            self.same += int(agrees.sum())
            self.rows += agrees.size

    def row(self, precision: str, file: Path) -> Row:
        size = file.stat().st_size / 1e6
        return Row(ONNX[precision], size, self.largest, self.total / self.values, self.same / self.rows)
