"""ONNX files of a checkpoint: fp32 and static int8, each checked against torch.

Knows no task and no tokenizer: it gets the head's name and arrays to run. Try: bertcli export DIR --calibrate texts.txt
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from bertcli.arrays import Batch
from bertcli.backends import onnx as runtime
from bertcli.backends import pytorch
from bertcli.data.sinks import sync, writing
from bertcli.device import Device
from bertcli.errors import BertcliError
from bertcli.export.graph import take_first_early
from bertcli.export.int8 import quantize
from bertcli.model import ONNX, Model, read

OPSET = 17  # the first with LayerNormalization as one operator
TOLERANCE = 1e-3  # of fp32 ONNX against torch: the same numbers but for rounding


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


def export(directory: Path, head: str, feeds: Sequence[Batch]) -> list[Row]:
    """Write onnx/model.onnx and onnx/model_quantized.onnx and compare both with torch on the feeds.

    feeds: input name -> (B, T) int64, texts like those to come: they calibrate the int8 scales.
    Raises ModelError for a checkpoint without that head, BertcliError where the fp32 file differs by over 1e-3.
    """
    model = read(directory)
    module = pytorch.load(model, head, attn_implementation="eager").eval()
    exact = take_first_early(_trace(module, feeds[0]))
    files = [directory / ONNX[precision] for precision in ("fp32", "int8")]
    drafts = [file.with_suffix(".tmp") for file in files]
    with writing(directory / "onnx"):
        try:
            files[0].parent.mkdir(parents=True, exist_ok=True)
            onnx.save(exact, drafts[0])  # first: what follows changes the graph in place
            _write_optimized(quantize(exact, feeds), drafts[1])
            for draft, file in zip(drafts, files, strict=True):  # Both of this model, or none.
                sync(draft)
                draft.replace(file)
        except Exception:
            for draft in drafts:
                draft.unlink(missing_ok=True)
            raise
    rows = _compare(model, module, head, feeds)
    if rows[0].largest > TOLERANCE:
        raise BertcliError(f"{files[0]} differs from torch by {rows[0].largest:.2g}; do not use it.")
    return rows


class _ByPosition(torch.nn.Module):
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


def _trace(module: Any, feed: Batch) -> onnx.ModelProto:
    """Trace the model, with the batch and the sequence of any size."""
    names = pytorch.inputs_of(module, feed)
    # No size is 1, and one position is masked: what is constant in the example is constant in the graph.
    example = tuple(torch.from_numpy(np.resize(feed[name], (2, 9))) for name in names)
    example[names.index("attention_mask")][1, 6:] = 0
    traced = _ByPosition(module, names)
    shorter = tuple(tensor[:, :-1].clone() for tensor in example)
    with torch.no_grad():
        pairs = list(zip([*example, *traced(*example)], [*shorter, *traced(*shorter)], strict=True))
    axes: dict[str, dict[int, str]] = {}  # those of any size: the first, and those that a shorter example shortens
    for name, (tensor, other) in zip([*names, *traced.outputs], pairs, strict=True):
        lengths = [i for i in range(tensor.ndim) if tensor.shape[i] != other.shape[i]]
        axes[name] = {0: "batch"} | dict.fromkeys(lengths, "sequence")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of each shape that it reads
        file: Any = BytesIO()  # which it takes, whatever its annotation says
        torch.onnx.export(
            traced, example, file, dynamo=False, opset_version=OPSET, input_names=names,
            output_names=traced.outputs, dynamic_axes=axes,
        )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def _write_optimized(model: onnx.ModelProto, path: Path) -> None:
    """Write what ONNX Runtime makes of the graph when it opens it, which then opens in 24 ms instead of 39.

    EXTENDED: the fusions that are the same on every CPU.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4  # What is an error is raised too; the log of it is coloured, in pipes as well.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@dataclass
class _Tally:
    """How the outputs of one file differ from torch's so far. values: numbers compared; rows: their argmaxes."""

    largest: float = 0.0
    total: float = 0.0
    values: int = 0
    same: int = 0
    rows: int = 0


def _compare(model: Model, module: Any, head: str, feeds: Sequence[Batch]) -> list[Row]:
    """Both files beside torch, fp32 first; a feed at a time, for the logits of a vocabulary are large."""
    device = Device("cpu", 1, "checking")
    backends = {precision: runtime.Backend(model, device, head, precision) for precision in ("fp32", "int8")}
    tallies = {precision: _Tally() for precision in backends}
    for feed in feeds:
        tensors = {name: torch.from_numpy(feed[name]) for name in pytorch.inputs_of(module, feed)}
        with torch.inference_mode():
            expected = {name: value.numpy() for name, value in module(**tensors).items()}
        for precision, tally in tallies.items():
            for name, value in backends[precision].run(feed).items():
                differences = np.abs(value - expected[name])
                agrees = value.argmax(-1) == expected[name].argmax(-1)
                tally.largest = max(tally.largest, float(differences.max()))
                tally.total += float(differences.sum(dtype=np.float64))
                tally.values += differences.size
                tally.same += int(agrees.sum())
                tally.rows += agrees.size
    return [
        Row(
            ONNX[precision],
            (model.path / ONNX[precision]).stat().st_size / 1e6,
            tally.largest,
            tally.total / tally.values,
            tally.same / tally.rows,
        )
        for precision, tally in tallies.items()
    ]
