"""ONNX files of a checkpoint: fp32 and static int8, each checked against torch.

Knows no task and no tokenizer: it gets the head's name and arrays to run. Try: bertcli export DIR --calibrate texts.txt
"""

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from bertcli import exits
from bertcli.arrays import Batch
from bertcli.backends import onnx as runtime
from bertcli.backends import open_backend, pytorch
from bertcli.data.sinks import writing
from bertcli.device import Device
from bertcli.errors import BertcliError, ModelError
from bertcli.export.graph import cut, is_large, opened, save, take_first_early
from bertcli.export.int8 import quantize
from bertcli.model import EXTERNAL, ONNX, REST, Model, read

OPSET = 17  # the first with LayerNormalization as one operator
TOLERANCE = 1e-3  # of fp32 ONNX against torch, relative: the same numbers but for rounding
LONGEST = 1024  # tokens of a long text to compare on; more would take gigabytes in eager attention
DRAFT = ".export"  # the folder in which files are made and checked


@dataclass(frozen=True)
class Row:
    """How one file compares with torch fp32.

    relative: the largest difference by the largest number, or by 1; agreement: share of the same argmax.
    """

    file: str
    megabytes: float
    largest: float
    relative: float
    mean: float
    agreement: float

    def __str__(self) -> str:
        return (
            f"{self.file}: {self.megabytes:.1f} MB, against torch: largest difference {self.largest:.2g}, "
            f"mean {self.mean:.2g}, same argmax {self.agreement:.2%}"
        )


def export(directory: Path, head: str, feeds: Sequence[Batch], longest: int = 1) -> list[Row]:
    """Write onnx/model.onnx and onnx/model_quantized.onnx and compare both with torch on the feeds.

    The files are made and checked in a folder of their own and then moved in: where anything goes wrong, the directory
    is as it was before. Arguments and errors are those of `write`.
    """
    model = read(directory)
    draft, folder = directory / DRAFT, directory / "onnx"
    with writing(folder):
        if draft.is_symlink() or not folder.resolve().is_relative_to(directory.resolve()):
            raise ModelError(f"{directory}: {folder.name} or {DRAFT} is a link to elsewhere, where nothing is written.")
        shutil.rmtree(draft, ignore_errors=True)  # of a run that was killed
        try:
            rows = write(model, draft, head, feeds, longest)
            if (draft / REST["fp32"]).is_file():  # a move that is killed must not leave the stages of two exports
                for name in ONNX.values():
                    (directory / name).unlink(missing_ok=True)
            for name in (*REST.values(), *ONNX.values()):
                _move(draft / name, directory / name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return rows


def write(model: Model, folder: Path, head: str, feeds: Sequence[Batch], longest: int, int8: bool = True) -> list[Row]:
    """Write onnx/model.onnx, and onnx/model_quantized.onnx where int8 is wanted, of a model into a folder.

    feeds: input name -> (B, T) int64, of typical texts, on which the int8 scales are measured. longest: most tokens of
    a text. The file is compared on one of that length, because a graph traced from a short text may be wrong for a long
    one. Raises ModelError for a checkpoint without that head, for a model that ONNX cannot express, and where the fp32
    file differs from torch by over 1e-3.
    """
    module = pytorch.load(model, head, attn_implementation="eager").eval()
    if model.config.get("exit_after") and head == model.head:
        exits.load(module, model.path)
    (folder / ONNX["fp32"]).parent.mkdir(parents=True)
    made = replace(model, onnx=folder)
    ort.set_default_logger_severity(4)  # what fails is said once, in a sentence
    torch._C._jit_onnx_log = lambda *_: None  # torch 2.13 prints the graph on stdout, whatever its switch says
    try:
        exact = take_first_early(_trace(module, feeds[0], folder))
        for stage, names in zip(cut(exact), (ONNX, REST), strict=False):
            save(stage, folder / names["fp32"])
        for stage, names in zip(cut(quantize(exact, feeds, folder)) if int8 else (), (ONNX, REST), strict=False):
            _write_optimized(stage, folder, folder / names["int8"])
        del exact, stage
        rows = _compare(made, module, head, feeds, ("fp32", "int8") if int8 else ("fp32",))
        text = {name: np.resize(array[0], (1, min(longest, LONGEST))) for name, array in feeds[0].items()}
        (long,) = _compare(made, module, head, [text], ("fp32",))
    except (BertcliError, OSError, MemoryError):
        raise
    except Exception as error:  # of torch's exporter, of ONNX and of ONNX Runtime; any of them
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"{model.path}: a {type(module).__name__} cannot be written as ONNX ({why}); predict takes the weights as "
            "they are (--backend pytorch)."
        ) from error
    for row, what in ((rows[0], ""), (long, " for a long text")):
        if not row.relative <= TOLERANCE:  # NaN is not
            raise ModelError(
                f"{model.path}: the ONNX file differs from torch by {row.largest:.2g}{what}, so it was not kept; "
                "predict takes the weights as they are (--backend pytorch)."
            )
    return rows


def _move(draft: Path, file: Path) -> None:
    """Put a file and the tensors beside it, if there are any, in the place of those of an earlier export."""
    file.parent.mkdir(exist_ok=True)
    tensors, old = draft.with_name(draft.name + EXTERNAL), file.with_name(file.name + EXTERNAL)
    if not draft.is_file():
        file.unlink(missing_ok=True)
        old.unlink(missing_ok=True)
        return
    if tensors.is_file():
        tensors.replace(old)
    draft.replace(file)
    weights = onnx.load(file, load_external_data=False).graph.initializer
    if all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in weights):
        old.unlink(missing_ok=True)


class _ByPosition(torch.nn.Module):
    """A model that takes and gives tensors by position, as the exporter needs it."""

    def __init__(self, module: Any, inputs: list[str]) -> None:
        super().__init__()
        self.module, self.inputs = module, inputs
        self.outputs: list[str] = []
        self.eval()  # a new module is in training mode, and the exporter would leave `module` in it too

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The tensors of the model's output; `outputs` then has their names."""
        output = self.module(**dict(zip(self.inputs, tensors, strict=True)))
        self.outputs = list(output)
        return tuple(output.values())


def _trace(module: Any, feed: Batch, folder: Path) -> onnx.ModelProto:
    """Trace the model, with the batch and the sequence of any size, into a file in that folder, and read it.

    torch writes a model of over 2 GB in hundreds of files beside it.
    """
    path = folder / "traced" / "model.onnx"
    path.parent.mkdir()
    names = pytorch.inputs_of(module, feed)
    # No size is 1, and one position is masked: what is constant in the example is constant in the graph.
    example = tuple(torch.from_numpy(np.resize(feed[name], (2, 9))) for name in names)
    if "attention_mask" in names:  # FNet has none
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
        torch.onnx.export(
            traced, example, str(path), dynamo=False, opset_version=OPSET, input_names=names,
            output_names=traced.outputs, dynamic_axes=axes,
        )  # fmt: skip
    model = onnx.load(path)
    shutil.rmtree(path.parent)
    return model


def _write_optimized(model: onnx.ModelProto, folder: Path, path: Path) -> None:
    """Write what ONNX Runtime makes of the graph when it opens it, which then opens in 24 ms instead of 39.

    EXTENDED: the fusions that are the same on every CPU. folder: where files may lie in between.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    if is_large(model):
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", path.name + EXTERNAL
        )
    opened(model, folder, options)


def _compare(model: Model, module: Any, head: str, feeds: Sequence[Batch], precisions: Sequence[str]) -> list[Row]:
    """The files beside torch, fp32 first; a feed at a time, for the logits of a vocabulary are large."""
    device = Device("cpu", 1, "checking")
    backends = {precision: open_backend(runtime.Backend, model, device, head, precision) for precision in precisions}
    # Of each file: the largest difference, by itself and relative to the largest number that torch gives in an output,
    # or to 1 where all are smaller; and the sum of the differences, their number, the same argmaxes, all argmaxes.
    peaks = {precision: np.zeros(2) for precision in backends}
    sums = {precision: np.zeros(4) for precision in backends}
    for feed in feeds:
        tensors = {name: torch.from_numpy(feed[name]) for name in pytorch.inputs_of(module, feed)}
        with torch.inference_mode():
            expected = {name: value.numpy() for name, value in module(**tensors).items()}
        for precision, backend in backends.items():
            for name, value in backend.run(feed).items():
                differences = np.abs(value - expected[name])
                largest = differences.max()
                relative = largest / max(1.0, float(np.abs(expected[name]).max()))
                peaks[precision] = np.maximum(peaks[precision], (largest, relative))  # keeps NaN
                agrees = value.argmax(-1) == expected[name].argmax(-1)
                sums[precision] += differences.sum(dtype=np.float64), differences.size, agrees.sum(), agrees.size
    rows = []
    for precision in backends:
        stages = [(model.onnx or model.path) / names[precision] for names in (ONNX, REST)]
        files = [file for stage in stages for file in (stage, stage.with_name(stage.name + EXTERNAL)) if file.is_file()]
        largest, relative = peaks[precision].tolist()
        total, count, same, argmaxes = sums[precision].tolist()
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        rows.append(Row(ONNX[precision], megabytes, largest, relative, total / count, same / argmaxes))
    return rows
