"""PyTorch through transformers: any checkpoint with safetensors, on any device.

Training, export and explain open their models here too (`load`). torch and transformers are imported only when a model
is opened: it takes seconds.
Try: echo "a gripping film" | bertcli predict -m DIR --backend pytorch
"""

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from bertcli.arrays import Batch
from bertcli.backends import BaseBackend
from bertcli.device import Device, keep_attention_off_cudnn, use_threads
from bertcli.errors import ModelError, UsageError
from bertcli.model import Model
from bertcli.pretrained import open_module

GPU_TOKENS = 65_536  # MiniLM on an H200: 19,200 sentences a second; 9,500 with 16,384 tokens and chunks of 4,096
GPU_CHUNK = 16_384  # records, so that each length fills a batch
GPU_MULTIPLE = 16  # tokens; 8,000 sentences are 50 batches then, and 385 of 7 ms each where no length is rounded up


class Backend(BaseBackend):
    """`AutoModelFor…` in eval mode; bf16 on CUDA and fp32 elsewhere unless a precision is asked for."""

    name = "pytorch"

    def __init__(self, model: Model, device: Device, head: str, precision: str) -> None:
        import torch

        if precision == "int8":
            raise UsageError("backend pytorch computes in fp32 or bf16; for int8 use --backend onnx.")
        use_threads(device.threads)
        self.precision = ("bf16" if device.type == "cuda" else "fp32") if precision == "auto" else precision
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self.device = device.type
        self.tokens = sys.maxsize  # most tokens in a batch for which memory is not known to be too small
        self.module = load(model, head, dtype=dtype).to(device=device.type, dtype=dtype).eval()
        if device.type == "cuda":
            keep_attention_off_cudnn()
            self.multiple, self.chunk_records = GPU_MULTIPLE, GPU_CHUNK
            # So many tokens have 2 to 16 GB of fp32 logits over a vocabulary, on the GPU and then in memory.
            if self.module.get_output_embeddings() is None:
                self.batch_tokens = GPU_TOKENS

    def run(self, batch: Batch) -> Batch:
        """Run one batch, in parts once memory was too small for so many tokens; outputs are float32 on the CPU."""
        import torch

        rows, length = batch["input_ids"].shape
        most = max(1, self.tokens // length)
        if rows > most:
            parts = [
                self.run({name: array[i : i + most] for name, array in batch.items()}) for i in range(0, rows, most)
            ]
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        try:
            return self._outputs(batch)
        except torch.OutOfMemoryError:
            if rows == 1:
                raise
            self.tokens = rows * length // 2
        torch.cuda.empty_cache()  # not before the exception is gone, which holds tensors
        return self.run(batch)

    def _outputs(self, batch: Batch) -> Batch:
        import torch

        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array).to(self.device) for name, array in batch.items()}
            outputs = self.module(**{name: tensors[name] for name in inputs_of(self.module, batch)})
            outputs = {name: value.float() for name, value in outputs.items() if hasattr(value, "float")}
            outputs = dict(self.reduce(tensors, outputs)) if self.reduce else outputs
        return {name: value.cpu().numpy() for name, value in outputs.items()}


def inputs_of(module: Any, names: Iterable[str]) -> list[str]:
    """The names of `inputs` that the model's forward takes (DistilBERT, say, has no token_type_ids)."""
    import inspect

    accepted = inspect.signature(module.forward).parameters
    one_segment = getattr(module.config, "type_vocab_size", 0) < 2
    return [name for name in names if name in accepted and not (name == "token_type_ids" and one_segment)]


def load(model: Model, head: str, **settings: Any) -> Any:
    """The transformers model with that head ("": the encoder alone), from safetensors, in fp32.

    settings: of from_pretrained. Raises ModelError where there are no safetensors, or they lack weights of the head, or
    have them of another size.
    """
    model.require_weights()
    module, info = open_module(model.path, head, ignore_mismatched_sizes=True, **settings)
    for name, stored, wanted in sorted(info["mismatched_keys"]):
        shapes = f"{name} is {list(stored)} in the weights and {list(wanted)} by config.json"
        raise ModelError(f"{model.path}: {shapes}; id2label, vocab_size or another number there is not the model's.")
    lacking = [name for name in info["missing_keys"] if head or not name.startswith("pooler.")]
    if lacking:
        missing = f"{head or 'the encoder'} ({', '.join(sorted(lacking)[:3])})"
        raise ModelError(f"{model.path}: the checkpoint has no weights for {missing}; finetune it first.")
    return module
