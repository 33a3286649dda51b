"""The spans of a context: the best by the logits of a window, and where labelled answers are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unicodedata import combining

import numpy as np

from bertcli.errors import RecordError
from bertcli.tokenizer import Window

LONGEST = 40  # tokens of an answer; SQuAD's longest is 46, and CMRC's have 15 in the mean
ZERO_WIDTH = "\u200d\ufe0f"  # what joins emoji, and asks for their colours
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Span:
    """A part of a context, in code points. score: log-odds against no answer in its window."""

    score: float
    start: int
    end: int


def rank(span: Span) -> tuple[float, int, int]:
    return -span.score, span.start, span.end


def best_spans(window: Window, output: Mapping[str, Array], kept: int) -> list[tuple[float, int, int]]:
    """The best spans of a window: of tokens of the context only, at most LONGEST, with one place at each end."""
    places = np.asarray(window.places)  # (T, 2)
    own = np.flatnonzero(places[:, 1] > places[:, 0])
    if not len(own):
        return []
    starts, ends = (output[name].astype(np.float64) for name in ("start_logits", "end_logits"))
    padded = np.concatenate([(ends - ends[0])[own], np.full(LONGEST - 1, -np.inf)])
    scores = (starts - starts[0])[own][:, None] + np.lib.stride_tricks.sliding_window_view(padded, LONGEST)
    flat = scores.ravel()  # of token i and the k-th after it at i * LONGEST + k
    best = np.argpartition(-flat, min(kept, len(flat)) - 1)[:kept]
    best = best[np.isfinite(flat[best])]
    first, last = own[best // LONGEST], own[best // LONGEST + best % LONGEST]
    return list(zip(flat[best].tolist(), places[first, 0].tolist(), places[last, 1].tolist(), strict=True))


def distinct(context: str, spans: list[Span]) -> list[Span]:
    """The spans with whole characters at their end, the best of those that are then the same."""
    best: dict[tuple[int, int], float] = {}
    for span in spans:
        best.setdefault((span.start, whole(context, span.end)), span.score)
    return [Span(score, *place) for place, score in best.items()]


def whole(text: str, end: int) -> int:
    """The end of the character that a person sees: accents and joiners after it belong to it."""
    while end < len(text) and (combining(text[end]) or text[end] in ZERO_WIDTH):
        end += 1
    return end


def answers_of(given: Any) -> list[tuple[str, int | None]]:
    """Texts with their stated offsets, of SQuAD's form, of the columns of Hugging Face's data sets, or bare texts."""
    if isinstance(given, Mapping) and isinstance(given.get("text"), list):
        texts, starts = given["text"], given.get("answer_start") or [None] * len(given["text"])
        if not isinstance(starts, list) or len(starts) != len(texts):
            raise RecordError(f"{given!r}: as many answer_start as text are needed.")
        given = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    return [_answer(item) for item in (given if isinstance(given, list) else [given])]


def _answer(item: Any) -> tuple[str, int | None]:
    if isinstance(item, str):
        return item, None
    given = item if isinstance(item, Mapping) else {}
    text, start = given.get("text"), given.get("answer_start", given.get("start"))
    if not isinstance(text, str) or not isinstance(start, int | None) or isinstance(start, bool):
        raise RecordError(f"{item!r} is no answer; write its text and answer_start.")
    return text, start


def place_of(context: str, text: str, start: int | None) -> tuple[int, int] | None:
    """Where the text is in the context, nearest to its stated offset; None where it is not."""
    stated = start or 0
    if not text.strip():
        return None
    if context.startswith(text, stated) and stated >= 0:
        return stated, stated + len(text)
    found = [
        i for i in (context.rfind(text, 0, max(stated, 0) + len(text)), context.find(text, max(stated, 0))) if i >= 0
    ]
    if not found:
        return None
    place = min(found, key=lambda i: abs(i - stated))
    return place, place + len(text)
