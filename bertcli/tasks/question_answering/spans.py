"""The spans of a context: the best by a window's logits, and those of labelled answers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bertcli.arrays import Arrays
from bertcli.errors import RecordError
from bertcli.features import Window
from bertcli.tasks.texts import whole

LONGEST = 40  # tokens of an answer; SQuAD's longest is 46, and CMRC's have 15 in the mean
NO_ANSWER = (-1, -1)


class Span(NamedTuple):
    """A part of a context, in code points. score: log-odds against no answer in its window."""

    score: float
    start: int
    end: int


@dataclass(frozen=True)
class Gold:
    """What a labelled question allows. target: (start, end) to train on, NO_ANSWER, or None where no answer is found.

    answers: none where there is no answer. moved, lost: answers that are not at their stated offset, or nowhere.
    """

    context: str
    answers: tuple[str, ...]
    target: tuple[int, int] | None
    moved: int = 0
    lost: int = 0


def best_spans(window: Window, output: Arrays, count: int) -> list[tuple[float, int, int]]:
    """The best spans of a window: of tokens of the context only, at most LONGEST, with some letter at each end."""
    offsets = np.asarray(window.offsets)  # (T, 2)
    tokens = np.flatnonzero(offsets[:, 1] > offsets[:, 0])
    if not len(tokens):
        return []
    starts, ends = (output[name].astype(np.float64) for name in ("start_logits", "end_logits"))
    padded = np.concatenate([(ends - ends[0])[tokens], np.full(LONGEST - 1, -np.inf)])
    scores = (starts - starts[0])[tokens][:, None] + np.lib.stride_tricks.sliding_window_view(padded, LONGEST)
    flat = scores.ravel()  # of token i and the k-th after it at i * LONGEST + k
    best = np.argpartition(-flat, min(count, len(flat)) - 1)[:count]
    best = best[np.isfinite(flat[best])]
    first, last = tokens[best // LONGEST], tokens[best // LONGEST + best % LONGEST]
    return list(zip(flat[best].tolist(), offsets[first, 0].tolist(), offsets[last, 1].tolist(), strict=True))


def distinct(context: str, spans: Sequence[Span]) -> list[Span]:
    """The spans with whole characters at their end, the best of those that are then the same."""
    best: dict[tuple[int, int], float] = {}
    for span in spans:
        best.setdefault((span.start, whole(context, span.start, span.end)), span.score)
    return [Span(score, *position) for position, score in best.items()]


def gold_of(context: str, value: Any) -> Gold:
    """The answers of a question: texts with stated offsets, as SQuAD or Hugging Face's data sets write them, or bare
    texts.

    Raises RecordError for what is no answer.
    """
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        texts, starts = value["text"], value.get("answer_start") or [None] * len(value["text"])
        if not isinstance(starts, list) or len(starts) != len(texts):
            raise RecordError(f"{value!r}: as many answer_start as text are needed.")
        value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    answers = [_answer(item) for item in (value if isinstance(value, list) else [value])]
    if not answers:
        return Gold(context, (), NO_ANSWER)
    positions = [position_of(context, text, start) for text, start in answers]
    known = [position for position in positions if position is not None]
    moved = sum(
        position is not None and start is not None and position[0] != start
        for position, (_, start) in zip(positions, answers, strict=True)
    )
    target = Counter(known).most_common(1)[0][0] if known else None
    return Gold(context, tuple(text for text, _ in answers), target, moved, len(positions) - len(known))


def _answer(item: Any) -> tuple[str, int | None]:
    if isinstance(item, str):
        return item, None
    fields = item if isinstance(item, Mapping) else {}
    text, start = fields.get("text"), fields.get("answer_start", fields.get("start"))
    if not isinstance(text, str) or not isinstance(start, int | None) or isinstance(start, bool):
        raise RecordError(f"{item!r} is no answer; write its text and answer_start.")
    return text, start


def position_of(context: str, text: str, start: int | None) -> tuple[int, int] | None:
    """Where the text is in the context, nearest to its stated offset; None where it is not."""
    stated = start or 0
    if not text.strip():
        return None
    if context.startswith(text, stated) and stated >= 0:
        return stated, stated + len(text)
    before, after = context.rfind(text, 0, max(stated, 0) + len(text)), context.find(text, max(stated, 0))
    starts = [i for i in (before, after) if i >= 0]
    if not starts:
        return None
    nearest = min(starts, key=lambda i: abs(i - stated))
    return nearest, nearest + len(text)
