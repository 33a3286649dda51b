"""A model on a stream of records: choose what runs it, batch, answer in order; measure and inspect it.

Here are the options of a run: a Request says which model runs on which device, and session.py opens it; a Batching says
how stream.py batches records. Imports nothing heavy.
Try: python -c "from bertcli.inference import Batching, Request; print(Request(), Batching())"
"""

from dataclasses import dataclass

from bertcli.device import KINDS
from bertcli.option import option

OF_ONNX = ("onnx", "openvino")  # backends that open ONNX files
SAMPLES = 512  # texts on which the scales of int8 are measured; more texts moved no scale by 1 %
CHARACTERS = 250  # room in a chunk for each of its records, so that long texts do not fill the memory


@dataclass(frozen=True, eq=False, repr=False)
class Request:
    """Which model to run, and on what; None and "auto" leave the choice to `open_session`."""

    model: str | None = option(None, "Directory or Hub name.  [default: the embedded one]", "MODEL", flags="-m")
    task: str | None = option(None, "{choices}; else the model's.", "TASK", flags="-t", package="tasks")
    backend: str = option(
        "auto",
        "Inference engine; auto takes onnx on a CPU when the model has ONNX files. onnx writes one into a cache, once, "
        "where it has none.",
        package="backends",
        group="model",
    )
    device: str = option("auto", "Where to compute.", choices=KINDS, group="model")
    precision: str = option(
        "auto",
        "auto: int8 with ONNX where there is such a file, bf16 on a GPU, else fp32.",
        choices=("auto", "int8", "bf16", "fp32"),
        group="model",
    )
    threads: int | None = option(None, "CPU threads.  [default: all cores]", "N", least=1, group="model")
    exit: bool = option(
        True,
        "Let clear texts leave after an early layer, where the model has an exit there.",
        flags="--exit/--no-exit",
        group="model",
    )
    calibrate: tuple[str, ...] = option(
        (),
        "Texts to measure the scales of int8 on, where the model has no int8 file.  [default: the first records]",
        "FILE",
        group="model",
    )


@dataclass(frozen=True, eq=False, repr=False)
class Batching:
    """How records are batched: a chunk of them is sorted by length and cut into batches of one length.

    chunk_records: most records in a chunk, None for what suits the device. characters: most text in a chunk, None for
    CHARACTERS a record.
    """

    chunk_records: int | None = None
    characters: int | None = None
    batch_tokens: int | None = option(
        None, "Most tokens in a batch.  [default: 768; 65536 with CUDA]", least=1, group="model"
    )
    max_wait_ms: float = option(50, "How long a record may wait for others to share a batch.", least=0, group="model")
