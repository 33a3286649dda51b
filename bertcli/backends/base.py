"""What a backend is: it opens a model on a device and runs batches. It knows no task and no text.

A new backend is one file beside this one with a class `Backend` that extends this one.
Try: echo "a gripping film" | bertcli predict --backend onnx
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from bertcli.arrays import Batch
from bertcli.device import Device
from bertcli.errors import ModelError
from bertcli.model import Model

INPUTS = {"input_ids", "attention_mask", "token_type_ids"}  # what a batch has


class BaseBackend(ABC):
    """An opened model. streams: how many threads may call `run` at once to keep the device busy.

    precision: what it computes in (int8, bf16, fp32). sizes: of the last axis of each output, None where its file
    leaves that open; empty where only running it shows the outputs.
    """

    name: ClassVar[str]
    streams: int = 1
    precision: str
    sizes: Mapping[str, int | None] = MappingProxyType({})

    @abstractmethod
    def __init__(self, model: Model, device: Device, head: str, precision: str) -> None:
        """Open the model's weights. head: the transformers class suffix; precision: int8, bf16, fp32 or auto.

        Raises ModelError where the model's files cannot be opened, UsageError where the engine cannot do what is asked.
        """

    @abstractmethod
    def run(self, batch: Batch) -> Batch:
        """input_ids, attention_mask, token_type_ids, each (B, T) int64 -> outputs by name, first axis B, float32.

        What is returned is the caller's: no later batch writes into it.
        """


def require_inputs(file: Path, names: Iterable[str]) -> None:
    """Raise ModelError for a file that wants more of a batch than there is, such as positions."""
    if others := sorted(set(names) - INPUTS):
        raise ModelError(
            f"{file}: it wants {', '.join(others)}, which bertcli does not give; write it anew with bertcli export."
        )
