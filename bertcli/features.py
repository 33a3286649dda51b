"""An encoded record: windows of token ids, with words and offsets of each token.

Knows no tokenizer, so that rooms which only pass encoded records on import nothing else.
"""

from dataclasses import dataclass
from typing import Literal

from bertcli.arrays import Array

Long = Literal["window", "truncate", "error"]  # what is done with a text that is longer than a window


@dataclass(slots=True)
class Trace:
    """The library's facts of each token in a window. sides: 0 or 1 for its text, None for special tokens.

    offsets: where it begins and ends in its text, or in its word where words are encoded, in code points.
    """

    tokens: list[str]
    is_special: list[int]
    sides: list[int | None]
    words: list[int | None]
    offsets: list[tuple[int, int]]


@dataclass(slots=True)
class Window:
    """What the encoder reads at once: T token ids, special ones included, and T segment ids (None: all 0).

    words: for each token the index of the word whose first piece it is, or of the mask that it is, -1 for others; None
    where neither words nor masks are looked for.
    offsets: (T, 2), where each token of a context begins and ends there, in code points, without the white space around
    it; (-1, -1) for others; None where there is no context.
    trace: only of a tokenizer that is traced.
    """

    ids: list[int]
    type_ids: list[int] | None = None
    words: list[int] | None = None
    offsets: Array | None = None
    trace: Trace | None = None


@dataclass(slots=True)
class Features:
    """One encoded record: one window, or several that overlap and cover every token of a long text.

    second: where the windows of a second text begin that is encoded by itself; None where there is none.
    """

    windows: list[Window]
    truncated: bool = False
    second: int | None = None
