"""What runs here and what bertcli would choose, as one nested dict; and whether the device computes what a CPU does.

Knows no format and no terminal. Try: bertcli info -m MODEL
"""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from bertcli import __version__, device, registry
from bertcli.arrays import Batch
from bertcli.backends.base import Stages, open_backend
from bertcli.features import Window
from bertcli.inference.batching import collate
from bertcli.inference.session import Session
from bertcli.inference.settings import Request
from bertcli.inference.unknown import scripts
from bertcli.tokenizer import Tokenizer

PACKAGES = ("numpy", "tokenizers", "onnxruntime", "openvino", "torch", "transformers", "accelerate", "ray")
BOUND = 1e-3  # the most by which an output may differ from the CPU's
ROWS = 8  # of the batched forward
RARE = "\U00010380"  # of Ugaritic
TEXT = "the quick brown fox jumps over the lazy dog, and nothing of it is lost on the way"


@dataclass(frozen=True)
class Check:
    """The largest difference of any output, computed in a batch and alone, from the same row computed on the CPU."""

    batched: float
    single: float

    @property
    def passed(self) -> bool:
        """Whether both are within the bound; NaN is not."""
        return self.batched <= BOUND and self.single <= BOUND


def describe(session: Session) -> dict[str, Any]:
    """Versions, devices, the choice and its reason, and what is known of the model."""
    versions = {"bertcli": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    model, backend = session.model, session.backend
    return {
        "versions": versions,
        "devices": device.available(),
        "choice": {
            "backend": backend.name,
            "precision": backend.precision,
            "int8 products": "exact, by VNNI or Arm's instructions"
            if device.has_exact_int8()
            else "exact, without VNNI",
            "reason": session.reason,
        },
        "model": {
            "path": str(model.path),
            "task": session.task.name,
            "labels": model.labels,
            "layers": model.layers or None,
            "hidden size": model.config.get("hidden_size"),
            "most tokens": session.task.tokenizer.max_length,
            "scripts": _scripts(session.task.tokenizer),
            "files": model.weights(),
            "ONNX file in the cache": str(model.onnx or "none"),
            "licence": model.licence or "not stated",
        },
    }


def _scripts(tokenizer: Tokenizer) -> str:
    """Which scripts the vocabulary is for, by its letters, and what becomes of the others."""
    counts = scripts("".join(tokenizer.backend.get_vocab()))
    parts = [
        f"{name} {count / counts.total():.0%}" for name, count in counts.most_common() if count >= counts.total() / 100
    ]
    # A rare letter tells: byte-level vocabularies spell it, though they may have a token for what is unknown.
    loses = tokenizer.unknown in tokenizer.backend.encode(RARE).ids
    other = 'results say "unknown" for most others' if loses else "other texts are spelt in bytes"
    return f"{', '.join(parts)}; {other}"


def check(session: Session, request: Request) -> Check:
    """Compare one batched and one single forward on the chosen device with the CPU. On a GPU in fp32.

    The bound is for the device, not for a precision, which may differ by more.
    """
    backend, head = registry.load("backends", session.backend.name).Backend, session.task.head
    is_cpu = session.device.type == "cpu"
    precision = session.backend.precision if is_cpu else "fp32"
    tested = session.backend if is_cpu else open_backend(backend, session.model, session.device, head, precision)
    reference = open_backend(backend, session.model, device.cpu(request.threads, "reference"), head, precision)
    if isinstance(reference, Stages) and isinstance(session.backend, Stages):
        reference.is_sure = session.backend.is_sure
    # Different windows of one length: the words of a sentence, turned.
    tokenizer = session.task.tokenizer
    first, *middle, last = tokenizer.backend.encode(TEXT).ids[: tokenizer.max_length]
    windows = [Window([first, *middle[i:], *middle[:i], last]) for i in range(ROWS)]
    expected = [reference.run(collate([window])) for window in windows]
    together = tested.run(collate(windows))
    rows = [{name: value[i : i + 1] for name, value in together.items()} for i in range(len(windows))]
    batched = max(_difference(row, alone) for row, alone in zip(rows, expected, strict=True))
    return Check(batched, _difference(tested.run(collate(windows[:1])), expected[0]))


def _difference(ours: Batch, theirs: Batch) -> float:
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in theirs)
