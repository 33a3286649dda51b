"""ONNX Runtime on the CPU: the fast way to start and to run. Imports neither torch nor transformers.

Each stream is a thread with a single-threaded session of its own. Two such streams do 1.63 to 2.08 times the tokens a
second of one stream whose session has two threads, for those wait for each other by spinning. With one session they
would share its memory arena, and hand each other blocks that are in the other core's cache: on Zen 4 that cost up to
24 % in half of all runs. A copy of the weights for each is the price.
Try: echo "a gripping film" | bertcli predict --backend onnx
"""

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy multiplies no matrices here; its threads take 8 ms to start
import numpy as np
import onnxruntime as ort

from bertcli.arrays import Batch
from bertcli.backends import BaseBackend, Shape, is_dynamic, require_inputs
from bertcli.device import Device, has_exact_int8, keep_freed_memory
from bertcli.errors import ModelError, UsageError
from bertcli.model import EXTERNAL, Model

COPIES = 1 << 29  # bytes of weights in all sessions; streams for which no more fit share the first one


class Backend(BaseBackend):
    """The files under onnx/: model_quantized.onnx (int8) unless fp32 is asked for."""

    name = "onnx"

    def __init__(self, model: Model, device: Device, head: str, precision: str) -> None:
        if device.type != "cpu":
            raise UsageError(f"backend onnx runs on the CPU; for {device.type} use --backend pytorch.")
        if precision == "bf16":
            raise UsageError("backend onnx computes in int8 or fp32; for bf16 use --backend pytorch.")
        self.precision, self.file = model.require_onnx(precision)
        keep_freed_memory()  # the file is read, parsed and packed into blocks that are freed: 41 ms instead of 52
        try:
            self.version, self.session = _version(self.file), _open(self.file)
        except Exception as error:  # onnxruntime has a dozen unrelated exception classes
            raise ModelError(f"{self.file}: ONNX Runtime cannot open it ({error}).") from error
        self.shapes, inputs = _shapes(self.session.get_outputs()), self.session.get_inputs()
        require_inputs(model, self.file, _shapes(inputs))
        # Files that were made of TensorFlow's models have token ids in int32.
        self.types = {node.name: np.int32 if node.type == "tensor(int32)" else None for node in inputs}
        self.is_dynamic = is_dynamic(self.file)  # then each text is a batch
        self.streams = device.threads
        # By the thread's name, not its id: the threads of the next stream of records have the same names.
        self.sessions: dict[str, ort.InferenceSession] = {}
        self.lock = threading.Lock()

    def run(self, batch: Batch) -> Batch:
        """Run one batch on the calling thread, with its session; the first thread has the one that is open already."""
        thread = threading.current_thread().name
        if thread not in self.sessions:
            with self.lock:
                self.sessions.setdefault(thread, self._another() if self.sessions else self.session)
        try:
            inputs = {name: np.asarray(batch[name], type_) for name, type_ in self.types.items()}
            session = self.sessions[thread]
            if self.is_dynamic:
                rows = range(len(batch["input_ids"]))
                parts = [session.run(None, {name: array[[i]] for name, array in inputs.items()}) for i in rows]
                values = list(map(np.concatenate, zip(*parts, strict=True)))
            else:
                values = session.run(None, inputs)
        except Exception as error:  # a graph that cannot be computed, whatever its shapes say
            raise ModelError(f"{self.file}: ONNX Runtime cannot run it ({error}).") from error
        values = [value.astype(np.float32, copy=False) for value in values]  # a file in fp16 gives fp16
        return dict(zip(self.shapes, values, strict=True))

    def _another(self) -> ort.InferenceSession:
        """A session of the same file; the first, which threads may share, where there is no room or another file."""
        copies = min(self.streams, COPIES // self.version[1])
        with suppress(Exception):
            if len(self.sessions) < copies and _version(self.file) == self.version:
                session = _open(self.file)
                return session if _version(self.file) == self.version else self.session
        return self.session


def _version(file: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced or written: inode, size in bytes (tensors beside it too), time of change."""
    status, tensors = file.stat(), file.with_name(file.name + EXTERNAL)
    size = status.st_size + (tensors.stat().st_size if tensors.is_file() else 0)
    return status.st_ino, size, status.st_mtime_ns


def _shapes(nodes: Iterable[Any]) -> dict[str, Shape]:
    """The shape of each input or output of a session; an axis that the file leaves open is None."""
    return {node.name: [size if isinstance(size, int) else None for size in node.shape] for node in nodes}


def _open(file: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # What is an error is raised too; the log of it is coloured, in pipes as well.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not has_exact_int8():
        # Multiplies u8 by u8 there, which cannot overflow. With VNNI it would gain nothing and take twice the time.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
