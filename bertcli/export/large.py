"""ONNX models of any size: those over 2 GB, which one protobuf cannot hold, have their tensors in a file beside them.

Knows no model and no task. Try: python -c "from bertcli.export.large import save; help(save)"
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from bertcli.model import EXTERNAL

LIMIT = 1_900_000_000  # bytes of tensors; protobuf refuses messages of 2**31 bytes
SMALL = 1024  # bytes: tensors that stay in the model's own file, where shapes are read from them


def is_large(model: onnx.ModelProto) -> bool:
    """Whether its tensors must lie beside it."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) > LIMIT


def save(model: onnx.ModelProto, file: Path) -> None:
    """Write a model, a large one with a file beside it, NAME_data; the model in memory stays as it is."""
    if not is_large(model):
        onnx.save(model, file)
        return
    tensors = file.with_name(file.name + EXTERNAL)
    large = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= SMALL]
    contents = []
    try:
        with tensors.open("wb") as output:
            for tensor in large:
                content = tensor.raw_data
                contents.append(content)
                output.write(b"\0" * (-output.tell() % 64))  # aligned, so that the file can be mapped into memory
                onnx.external_data_helper.set_external_data(tensor, tensors.name, output.tell(), len(content))
                output.write(content)
                tensor.ClearField("raw_data")
        file.write_bytes(model.SerializeToString())
    finally:
        for tensor, content in zip(large, contents, strict=False):
            tensor.raw_data = content
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.DEFAULT


@contextmanager
def source_of(model: onnx.ModelProto, folder: Path) -> Iterator[bytes | str]:
    """What ONNX Runtime opens for a model: its bytes, or the name of a file in that folder, which is removed again."""
    if not is_large(model):
        yield model.SerializeToString()
        return
    file = folder / "between.onnx"
    save(model, file)
    try:
        yield str(file)
    finally:
        file.unlink()
        file.with_name(file.name + EXTERNAL).unlink()


def references(file: Path) -> bool:
    """Whether an ONNX file has tensors beside it."""
    model = onnx.load(file, load_external_data=False)
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
