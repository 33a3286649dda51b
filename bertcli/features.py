"""An encoded record: windows of token ids, with words and offsets of each token.

Knows no tokenizer, so that code which only passes encoded records on imports nothing else.
"""

from dataclasses import dataclass
from typing import Literal

from bertcli.arrays import Array

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
