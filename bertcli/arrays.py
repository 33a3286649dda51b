"""What passes between tokenizer, tasks and backends: the names of NumPy's arrays, and a record encoded as token ids.

A name says shape and dtype once, for all signatures. Imports no NumPy, so that `bertcli --help` stays quick: each alias
holds its type as text, which mypy reads, and its shape beside it, which people read. Nothing is checked at run time. A
shape that an alias leaves open is told by the docstring of the function.
Letters: B rows of a batch, T tokens, N examples, L labels, H numbers of a vector.
Try: python -c "from bertcli.arrays import Logits; print(Logits.__metadata__)"
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

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

Long = Literal["window", "truncate", "error"]  # what happens to a text that is longer than a window


@dataclass(slots=True)
class Trace:
    """What the tokenizers library says of each token in a window. sides: 0 or 1 for its text, None for special tokens.

    offsets: its start and end in its text, or in its word if words are encoded, in code points.
    """

    tokens: list[str]
    is_special: list[int]
    sides: list[int | None]
    words: list[int | None]
    offsets: list[tuple[int, int]]


@dataclass(slots=True)
class Window:
    """What the encoder reads at once: T token ids, special ones included, and T segment ids (None: all 0).

    words: for each token the index of the word whose first piece it is, or of the mask that it is, else -1; None if the
    task needs neither. offsets: (T, 2), start and end of each token of a context, in code points and without white
    space; (-1, -1) for other tokens; None without a context. trace: only from a tokenizer that is traced.
    """

    ids: list[int]
    type_ids: list[int] | None = None
    words: list[int] | None = None
    offsets: Array | None = None
    trace: Trace | None = None


@dataclass(slots=True)
class Features:
    """One encoded record: one window, or several that overlap and cover every token of a long text.

    second: the index of the first window of a second text that is encoded by itself, else None.
    """

    windows: list[Window]
    truncated: bool = False
    second: int | None = None
