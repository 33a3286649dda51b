"""OpenVINO on the CPU, from the same ONNX files: pip install 'bertcli[openvino]'.

Each stream is a request of its own on one compiled model, whose plugin then has as many single-threaded streams.
OpenVINO computes in bf16 of its own accord where the CPU can; here only where that is asked for. Its int8 products are
those of ONNX Runtime to the bit; softmax, LayerNorm and GELU differ by 1e-6, which moves some values by one step of
their u8, and so a logit of the embedded model by 0.01 on average (largest 0.45; one label of SST-2 dev's 872).
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertcli.arrays import Batch
from bertcli.backends.base import BaseBackend
from bertcli.device import Device
from bertcli.errors import ModelError, UsageError
from bertcli.model import Model

if TYPE_CHECKING:
    import numpy as np

# Preparing for a new number of tokens in a batch takes as long as computing so many tokens of the embedded models, and
# for a new number of texts as so many: products have a row for each token; in the last layer and the head, each text.
NEW_TOKENS, NEW_ROWS = 250, 70


class Backend(BaseBackend):
    """The files under onnx/: int8 unless fp32 is asked for, or bf16, which is computed from the fp32 file."""

    name = "openvino"

    def __init__(self, model: Model, device: Device, head: str, precision: str) -> None:
        try:
            import openvino
        except ImportError:
            raise UsageError("backend openvino is not installed; pip install 'bertcli[openvino]' does it.") from None
        if device.kind != "cpu":
            raise UsageError(f"backend openvino runs on the CPU; for {device.kind} use --backend pytorch.")
        self.precision, file = _choose(model, precision)
        settings = {
            "NUM_STREAMS": device.threads,
            "INFERENCE_NUM_THREADS": device.threads,
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
        }
        _prepare(openvino)
        try:
            self.compiled = _compiled(openvino.Core(), file, settings)
        except RuntimeError as error:
            raise ModelError(f"{file}: OpenVINO cannot open it ({error}).") from error
        self.inputs = [port.get_any_name() for port in self.compiled.inputs]
        self.outputs = [port.get_any_name() for port in self.compiled.outputs]
        self.streams = device.threads
        self.own = threading.local()
        self.tokens: set[int] = set()  # that were in a batch
        self.rows: set[int] = set()

    def run(self, batch: Batch) -> Batch:
        """Run one batch with the calling thread's request."""
        if not hasattr(self.own, "request"):
            self.own.request = self.compiled.create_infer_request()
        rows, length = batch["input_ids"].shape
        size = self._size(rows, length)
        values = self.own.request.infer([_filled(batch[name], size) for name in self.inputs])
        return {name: values[i][:rows].copy() for i, name in enumerate(self.outputs)}  # the next batch reuses them

    def _size(self, rows: int, length: int) -> int:
        """How many rows to run: more than there are, where that takes less time than preparing for a new shape."""

        def cost(size: int) -> int:
            new_tokens, new_rows = size * length not in self.tokens, size not in self.rows
            return (size - rows) * length + NEW_TOKENS * new_tokens + NEW_ROWS * new_rows

        size = min(range(rows, rows + (NEW_TOKENS + NEW_ROWS) // length + 1), key=cost)
        self.tokens.add(size * length)
        self.rows.add(size)
        return size


def _prepare(openvino: Any) -> None:
    """Read an array out of a tensor, once, before there are streams.

    The first time, the binding holds a lock of C++ while it waits for the interpreter; two streams that come to this
    at the same moment wait for each other for ever (seen with OpenVINO 2026.4.1).
    """
    import numpy as np

    openvino.Tensor(np.zeros(1, np.int64)).data  # noqa: B018


def _compiled(core: Any, file: Path, settings: Mapping[str, Any]) -> Any:
    """The model, opened without the code that OpenVINO generates for fused operators: 8 % slower here in int8."""
    if settings["INFERENCE_PRECISION_HINT"] != "bf16":  # where it is worth having
        with suppress(RuntimeError):  # a version that lacks this undocumented setting; or a bad file, which fails below
            return core.compile_model(str(file), "CPU", {**settings, "SNIPPETS_MODE": "DISABLE"})
    return core.compile_model(str(file), "CPU", settings)


def _filled(array: "np.ndarray[Any, Any]", size: int) -> "np.ndarray[Any, Any]":
    """The rows (B, T) with the last repeated, (size, T)."""
    return array[[*range(len(array)), *[len(array) - 1] * (size - len(array))]] if size > len(array) else array


def _choose(model: Model, precision: str) -> tuple[str, Path]:
    wanted = {"auto": ("int8", "fp32"), "bf16": ("bf16",)}.get(precision, (precision,))
    for name in wanted:
        if file := model.onnx_file("fp32" if name == "bf16" else name):
            return name, file
    raise ModelError(f"{model.path}: no ONNX file in {' or '.join(wanted)}; make it with: bertcli export {model.path}")
