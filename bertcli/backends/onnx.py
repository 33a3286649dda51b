"""ONNX Runtime on the CPU: the fast way to start and to run. Imports neither torch nor transformers.

Each stream is a thread of its own that calls one shared single-threaded session: two such streams finish more
batches on two cores than one session with two threads, and the tokenizer is not fought by spinning workers.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy multiplies no matrices here; its threads take 8 ms to start
import onnxruntime as ort

from bertcli.backends.base import BaseBackend, Batch
from bertcli.device import Device, keep_freed_memory
from bertcli.errors import ModelError, UsageError
from bertcli.model import Model


class Backend(BaseBackend):
    """The files under onnx/: model_quantized.onnx (int8) unless fp32 is asked for."""

    name = "onnx"

    def __init__(self, model: Model, device: Device, head: str, precision: str) -> None:
        if device.kind != "cpu":
            raise UsageError(f"backend onnx runs on the CPU; for {device.kind} use --backend pytorch.")
        self.precision, file = _choose(model, precision)
        keep_freed_memory()  # the file is read, parsed and packed into blocks that are freed: 41 ms instead of 52
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # the streams would hand each other memory that is in one core's cache
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a dozen unrelated exception classes
            raise ModelError(f"{file}: ONNX Runtime cannot open it ({error}).") from error
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.outputs = [node.name for node in self.session.get_outputs()]
        self.streams = device.threads

    def run(self, batch: Batch) -> Batch:
        """Run one batch on the calling thread."""
        values = self.session.run(None, {name: batch[name] for name in self.inputs})
        return dict(zip(self.outputs, values, strict=True))


def _choose(model: Model, precision: str) -> tuple[str, object]:
    wanted = ("int8", "fp32") if precision == "auto" else (precision,)
    if precision == "bf16":
        raise UsageError("backend onnx computes in int8 or fp32; for bf16 use --backend pytorch.")
    for name in wanted:
        if file := model.onnx_file(name):
            return name, file
    raise ModelError(f"{model.path}: no ONNX file in {' or '.join(wanted)}; make it with: bertcli export {model.path}")
