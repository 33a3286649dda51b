"""OpenVINO on the CPU, from the same ONNX files: pip install 'bertcli[openvino]'.

Each stream is a request of its own on one compiled model, whose plugin then has as many single-threaded streams.
OpenVINO computes in bf16 of its own accord where the CPU can; here only where that is asked for. Its int8 products are
those of ONNX Runtime to the bit; softmax, LayerNorm and GELU differ by 1e-6, which moves some values by one step of
their u8, and so a logit of the embedded model by 0.01 on average (largest 0.45; one label of SST-2 dev's 872).
Try: echo "a gripping film" | bertcli predict --backend openvino
"""

import sys
import threading
from contextlib import suppress
from typing import Any

import numpy as np

from bertcli.arrays import Batch
from bertcli.backends import BaseBackend, Shape, is_dynamic, require_inputs
from bertcli.device import Device
from bertcli.errors import ModelError, UsageError
from bertcli.model import Model

# OpenVINO prepares for each new shape: products have a row for each token, and in the last layer and the head for each
# text. To prepare for a new number of tokens, or of texts, takes as long as computing this many of the embedded models.
NEW_TOKENS, NEW_ROWS = 250, 70


class Backend(BaseBackend):
    """The files under onnx/: int8 unless fp32 is asked for, or bf16, which is computed from the fp32 file."""

    name = "openvino"

    def __init__(self, model: Model, device: Device, head: str, precision: str) -> None:
        # OpenVINO tells Google Analytics of each import, with an id from ~/intel, where it finds this package.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        try:
            import openvino
        except ImportError:
            raise UsageError("backend openvino is not installed; pip install 'bertcli[openvino]' does it.") from None
        if device.type != "cpu":
            raise UsageError(f"backend openvino runs on the CPU; for {device.type} use --backend pytorch.")
        self.precision, file = model.require_onnx(precision)
        if is_dynamic(file):
            raise UsageError(
                f"{file}: its int8 scales are measured over a batch; use --backend onnx or --precision fp32."
            )
        # The first time that an array is read out of a tensor, the binding holds a lock of C++ while it waits for the
        # interpreter; two streams that come to this at the same moment wait for each other for ever (seen with OpenVINO
        # 2026.4.1). So one is read before there are streams.
        openvino.Tensor(np.zeros(1, np.int64)).data  # noqa: B018
        try:
            self.compiled = _compile(openvino.Core(), str(file), device.threads, self.precision)
        except RuntimeError as error:
            raise ModelError(f"{file}: OpenVINO cannot open it ({error}).") from error
        self.inputs = [port.get_any_name() for port in self.compiled.inputs]
        # An output may have several names, such as that of a value which is only cast to its own type.
        self.outputs = [(name, i) for i, port in enumerate(self.compiled.outputs) for name in port.get_names()]
        self.shapes = {name: _shape(self.compiled.outputs[i]) for name, i in self.outputs}
        require_inputs(model, file, dict(zip(self.inputs, map(_shape, self.compiled.inputs), strict=True)))
        self.streams = device.threads
        self.thread = threading.local()  # has the `request` of each thread
        self.tokens: set[int] = set()  # numbers of tokens that were in a batch, padding included
        self.rows: set[int] = set()  # numbers of rows that were

    def run(self, batch: Batch) -> Batch:
        """Run one batch with the calling thread's request, with its last row repeated up to a size that is ready."""
        if not hasattr(self.thread, "request"):
            self.thread.request = self.compiled.create_infer_request()
        rows, length = batch["input_ids"].shape
        filled = [*range(rows), *[rows - 1] * (self._size(rows, length) - rows)]
        arrays = [batch[name] if len(filled) == rows else batch[name][filled] for name in self.inputs]
        values = self.thread.request.infer(arrays)
        return {name: values[i][:rows].astype(np.float32) for name, i in self.outputs}  # copies: the arrays are reused

    def _size(self, rows: int, length: int) -> int:
        """How many rows to run: more than there are, where that takes less time than preparing for a new shape.

        20,000 texts of SST-2 take 6.2 to 6.4 s so, and 7.0 s where a size counts as ready within 384 tokens whatever it
        costs (two cores of a Xeon with AMX).
        """

        def cost(size: int) -> int:
            new_tokens, new_rows = size * length not in self.tokens, size not in self.rows
            return (size - rows) * length + NEW_TOKENS * new_tokens + NEW_ROWS * new_rows

        size = min(range(rows, rows + (NEW_TOKENS + NEW_ROWS) // length + 1), key=cost)
        self.tokens.add(size * length)
        self.rows.add(size)
        return size


def _shape(port: Any) -> Shape:
    """The shape of an input or output; an axis that the file leaves open is None. Empty where it says nothing."""
    shape = port.get_partial_shape()
    return [size.get_length() if size.is_static else None for size in shape] if shape.rank.is_static else []


def _compile(core: Any, file: str, threads: int, precision: str) -> Any:
    """The model, opened without the code that OpenVINO generates for fused operators: 8 % slower in int8."""
    hint = "bf16" if precision == "bf16" else "f32"
    settings = {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint}
    if precision != "bf16":  # where that code is worth having
        with suppress(RuntimeError):  # a version that lacks this undocumented setting; or a bad file, which fails below
            return core.compile_model(file, "CPU", {**settings, "SNIPPETS_MODE": "DISABLE"})
    return core.compile_model(file, "CPU", settings)
