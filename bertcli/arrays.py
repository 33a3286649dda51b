"""The names of NumPy's arrays: what a signature says of shape and dtype, said once.

Imports no NumPy, so that `bertcli --help` stays quick: each alias holds its type as text, which mypy reads, and its
shape beside it, which people read. Nothing is checked at run time. A shape that an alias leaves open is told by the
docstring of the function. Letters: B rows of a batch, T tokens, N examples, L labels, H numbers of a vector.
Try: python -c "from bertcli.arrays import Logits; print(Logits.__metadata__)"
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    import numpy as np

Array = Annotated["np.ndarray[Any, Any]", "any shape and dtype, where the docstring says more"]
Indices = Annotated["np.ndarray[Any, np.dtype[np.int64]]", "(N,): places in a list or along an axis"]
Flags = Annotated["np.ndarray[Any, np.dtype[np.bool_]]", "(N,) or (N, L): what holds and what does not"]
Floats = Annotated["np.ndarray[Any, np.dtype[np.float64]]", "(N,): a number for each example, in double precision"]
TokenIds = Annotated["np.ndarray[Any, np.dtype[np.int64]]", "(B, T), or (T,) of one window"]
Logits = Annotated["np.ndarray[Any, Any]", "(N, L) float: scores before a softmax or a sigmoid"]
Vectors = Annotated["np.ndarray[Any, Any]", "(N, H) float: a vector for each text or token"]

Batch = Mapping[str, Array]  # what a backend takes or gives, by name: input_ids (B, T), logits (B, L); first axis B
Arrays = Mapping[str, Array]  # one row of each of them, by name, without the axis B
