"""What runs a model: a file for each inference engine.

A backend opens a model on a device and runs batches; it knows no task and no text. A new one is one file beside this
with a class `Backend` that extends BaseBackend. Try: echo "a gripping film" | bertcli predict --backend onnx
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bertcli.arrays import Batch, Flags, Logits
from bertcli.device import Device
from bertcli.errors import ModelError
from bertcli.model import REST, Model

BATCH_TOKENS = 768  # a small encoder's activations, and the attention of long texts, stay in a core's 1 MB L2 cache
INPUTS = {"input_ids", "attention_mask", "token_type_ids"}  # what a batch has
Shape = Sequence[int | None]  # None: an axis that may have any size
Reduce = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]  # tensors of batch and outputs -> fewer


class BaseBackend(ABC):
    """An opened model. streams: how many threads may call `run` at once to keep the device busy.

    chunk_records: how many records are best sorted by length together. batch_tokens: how many tokens, with padding, a
    batch best has. multiple: windows are padded to a multiple of so many tokens. reduce: makes large outputs small
    before they leave the GPU; None where all leave. precision: what it computes in (int8, bf16, fp32). shapes: of each
    output; empty where only a run shows them.
    """

    name: str
    streams: int = 1
    batch_tokens: int = BATCH_TOKENS
    multiple: int = 1
    chunk_records: int = 4096
    reduce: Reduce | None = None
    precision: str
    shapes: Mapping[str, Shape] = MappingProxyType({})

    @abstractmethod
    def __init__(self, model: Model, device: Device, head: str, precision: str) -> None:
        """Open the model's weights. head: the transformers class suffix; precision: int8, bf16, fp32 or auto.

        Raises ModelError where the model's files cannot be opened, UsageError where the engine cannot do what is asked.
        """

    @abstractmethod
    def run(self, batch: Batch) -> Batch:
        """input_ids, attention_mask, token_type_ids, each (B, T) int64 -> outputs by name, first axis B, float32.

        The caller may keep the arrays: no later batch writes into them.
        """


class Stages(BaseBackend):
    """A model with an early exit, in two files: layers 1 to `after`, and those from there to `layers`.

    is_sure: tells from the exit's logits (B, L) which rows (B,) leave there. The outputs are then `logits`, and
    `layers`: how many computed each row. None: all rows pass all layers, and `exit_logits` are an output too.
    """

    def __init__(self, first: BaseBackend, rest: BaseBackend, after: int, layers: int) -> None:
        self.name, self.precision, self.shapes = first.name, first.precision, rest.shapes
        self.streams, self.chunk_records = first.streams, first.chunk_records
        self.batch_tokens, self.multiple = first.batch_tokens, first.multiple
        self.first, self.rest = first, rest
        self.after, self.layers = after, layers
        self.is_sure: Callable[[Logits], Flags] | None = None

    def run(self, batch: Batch) -> Batch:
        """Run the first stage, then the second one on a batch of the rows that are not sure."""
        states = {**batch, **self.first.run(batch)}
        logits = states["exit_logits"]
        if self.is_sure is None:
            return {**self.rest.run(states), "exit_logits": logits}
        is_left = ~self.is_sure(logits)
        if is_left.any():
            logits = logits.copy()
            logits[is_left] = self.rest.run({name: array[is_left] for name, array in states.items()})["logits"]
        return {"logits": logits, "layers": is_left * (self.layers - self.after) + self.after}


def open_backend(backend: type[BaseBackend], model: Model, device: Device, head: str, precision: str) -> BaseBackend:
    """Open a model, and both stages of it where its early exit parts it in two. Raises as a backend does."""
    first = backend(model, device, head, precision)
    if "exit_logits" not in first.shapes:
        return first
    rest = backend(model.rest, device, head, first.precision)
    return Stages(first, rest, model.config.get("exit_after") or 0, model.layers)


def require_inputs(model: Model, file: Path, shapes: Mapping[str, Shape]) -> None:
    """Raise ModelError for a file that needs an input which no batch has, such as positions, or batches of one size."""
    if model.names is REST:
        return
    if others := sorted(shapes.keys() - INPUTS):
        raise ModelError(
            f"{file}: it wants {', '.join(others)}, which bertcli does not give; write it anew with bertcli export."
        )
    for name, shape in shapes.items():
        if any(size is not None for size in shape):
            fixed = " x ".join("any" if size is None else str(size) for size in shape)
            raise ModelError(
                f"{file}: its {name} are {fixed}, but texts come in any number and length; write it anew with bertcli "
                "export, or with axes that are dynamic."
            )


def is_dynamic(file: Path) -> bool:
    """Whether an ONNX file measures its int8 scales as it runs, over all texts of a batch, as those of others do.

    A result must not depend on its neighbours. The nodes of a file are at its beginning, before its weights.
    """
    with file.open("rb") as stream:
        return b"DynamicQuantize" in stream.read(1 << 22)
