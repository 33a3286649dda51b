"""What there is to explain of a record: the numbers in a model's outputs that made a decision, for each kind of task.

A target says where its numbers are, so that the same target scores the outputs of ONNX Runtime and, with gradients,
those of torch. A number is the log-odds of a class: its logit less the log of the others' exponentials; for multi-label
this is the logit itself, and a regression's number is taken as it is.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from itertools import product
from typing import Any, Literal

import numpy as np
import torch

from bertcli.data.records import Record
from bertcli.errors import RecordError, UsageError
from bertcli.metrics import entities
from bertcli.tasks.base import BaseTask
from bertcli.tasks.question_answering import Task as Questions
from bertcli.tasks.text_classification import Task as Classification
from bertcli.tasks.token_classification import Task as Tagging
from bertcli.tokenizer import Features

Outputs = Sequence[Mapping[str, Any]]  # for each window, output name -> array without the batch axis
Source = tuple[int, int | None, float]  # window, token (None: of the whole), weight


@dataclass(frozen=True)
class Row:
    """One choice of the model: the logits of an output, averaged over windows, of which `index` is the one chosen."""

    output: str
    index: int
    sources: tuple[Source, ...]

    def logits(self, outputs: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """(S, L) of outputs (S, L), or (S, T, L) where the sources name tokens."""
        parts = [
            weight * (outputs[window][self.output] if place is None else outputs[window][self.output][:, place])
            for window, place, weight in self.sources
        ]
        return torch.stack(parts).sum(0)


@dataclass(frozen=True)
class Target:
    """A decision: its name, and the rows that made it. shown: what else the user should see of it.

    link: softmax where one of the logits is chosen, sigmoid where each stands alone, identity for a quantity.
    temperature: what predict divides the logits by.
    """

    name: str
    rows: tuple[Row, ...]
    link: Literal["softmax", "sigmoid", "identity"] = "softmax"
    shown: Mapping[str, Any] = field(default_factory=dict)
    temperature: float = 1.0

    def score(self, outputs: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """(S,): the mean log-odds of its rows, or the quantity."""
        return torch.stack([self._score(row, outputs) for row in self.rows]).mean(0)

    def share(self, outputs: Sequence[Mapping[str, torch.Tensor]]) -> float:
        """The mean probability of its rows for the first of S, or the quantity."""
        scores = [float(self._score(row, outputs)[0]) for row in self.rows]
        return float(np.mean(scores if self.link == "identity" else [_sigmoid(score) for score in scores]))

    def _score(self, row: Row, outputs: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        logits = row.logits(outputs) / self.temperature
        own = logits[:, row.index]
        if self.link != "softmax":
            return own
        others = torch.cat([logits[:, : row.index], logits[:, row.index + 1 :]], 1)
        return own - others.logsumexp(1) if others.shape[1] else own

    @property
    def windows(self) -> set[int]:
        """The windows that its rows look at."""
        return {window for row in self.rows for window, _, _ in row.sources}


def _sigmoid(score: float) -> float:
    return 0.5 * (1 + math.tanh(0.5 * score))


@singledispatch
def targets(task: BaseTask, record: Record, features: Features, outputs: Outputs, wanted: str | None) -> list[Target]:
    """The decisions of a record: those that `outputs` made, or the one that is wanted. Raises RecordError."""
    raise UsageError(f"explain shows what decided a class, an entity or an answer; {task.name} has none.")


@singledispatch
def demand(task: BaseTask, wanted: str | None) -> None:
    """Raise UsageError where the task cannot be explained, or no record could have what is wanted."""
    targets(task, Record(0), Features([]), [], wanted)


@demand.register
def _demand_class(task: Classification, wanted: str | None) -> None:
    if wanted is not None and task.problem == "regression":
        raise UsageError("the model gives a number, not a class; leave out --target.")
    if wanted is not None and wanted not in task.index:
        raise UsageError(f"unknown label '{wanted}'; the model's labels are: {', '.join(task.labels)}.")


@demand.register
def _demand_type(task: Tagging, wanted: str | None) -> None:
    types = sorted({label.removeprefix("B-") for label in task.labels if label.startswith("B-")})
    if wanted is not None and wanted not in types:
        raise UsageError(f"unknown type '{wanted}'; the model's types are: {', '.join(types)}.")


@demand.register
def _demand_span(task: Questions, wanted: str | None) -> None:
    """Any text may be in a context."""


@targets.register
def _of_text(
    task: Classification, record: Record, features: Features, outputs: Outputs, wanted: str | None
) -> list[Target]:
    """The label that is given; all of them for multi-label; the likeliest where none is."""
    total = sum(len(window.ids) for window in features.windows)
    sources = tuple((i, None, len(window.ids) / total) for i, window in enumerate(features.windows))
    if task.problem == "regression":
        return [Target("score", (Row("logits", 0, sources),), "identity")]
    link: Any = "sigmoid" if task.problem == "multi_label_classification" else "softmax"
    indices = [task.index[wanted]] if wanted is not None else _given(task, record, task.combine(features, outputs))
    return [Target(task.labels[i], (Row("logits", i, sources),), link, {}, task.temperature) for i in indices]


def _given(task: Classification, record: Record, prediction: Any) -> list[int]:
    found = task.decode(record, prediction)
    names = found["labels"] if "labels" in found else [found["label"]]
    return [task.index[name] for name in names if name is not None] or [int(prediction.argmax())]


@targets.register
def _of_entities(
    task: Tagging, record: Record, features: Features, outputs: Outputs, wanted: str | None
) -> list[Target]:
    """Each entity by the tags of its words; of the wanted type, or else the word that is nearest to one."""
    text, places = task.words(record)
    shown = _shown_words(features)
    logits = task.combine(features, outputs)
    tags, _ = task.tag(logits, len(places))
    spans = [span for span in entities.spans(tags) if wanted in (None, span.type)]
    if wanted and not spans and shown:
        index = task.index[f"B-{wanted}"]
        best = max(shown, key=lambda word: logits[word, index] - np.delete(logits[word], index).max())
        tags[best] = f"B-{wanted}"
        spans = [entities.Span(best, best + 1, wanted)]
    return [
        Target(
            span.type,
            tuple(Row("logits", task.index[tags[i]], (shown[i],)) for i in range(span.start, span.end) if i in shown),
            shown=_place(text, places[span.start][0], places[span.end - 1][1]),
            temperature=task.temperature,
        )
        for span in spans
    ]


def _shown_words(features: Features) -> dict[int, Source]:
    """Where each word's first piece is, in the window that shows most around it, as Tagging.combine takes it."""
    margins: dict[int, int] = {}
    found: dict[int, Source] = {}
    for k, window in enumerate(features.windows):
        for place, word in enumerate(window.words or ()):
            margin = min(place, len(window.ids) - 1 - place)
            if word >= 0 and margin > margins.get(word, -1):
                margins[word], found[word] = margin, (k, place, 1.0)
    return found


@targets.register
def _of_answer(
    task: Questions, record: Record, features: Features, outputs: Outputs, wanted: str | None
) -> list[Target]:
    """Where the answer starts and where it ends; no answer is at the first token. wanted: an answer in its words."""
    context, wanted = task.texts(record)["context"], wanted and wanted.strip()
    spans = task.combine(features, outputs)
    given = task.decode(record, spans)
    if wanted is not None:
        wishes = [match.span() for match in re.finditer(re.escape(wanted), context) if wanted]
    else:
        wishes = [(spans[0].start, spans[0].end)] if given["answer"] else []
    found = [
        (_odds(outputs[k], *pair), k, pair, wish)
        for wish, (k, window) in product(wishes, enumerate(features.windows))
        if (pair := _tokens(window.places or (), *wish))
    ]
    if wanted is not None and not found:
        raise RecordError(f"'{wanted}' (--target) is not in the context.")
    _, k, pair, wish = max(found) if found else (0.0, 0, (0, 0), None)
    shown = _place(context, *wish) if wish else {"text": ""}
    if wish and wanted is None:  # with the accents after its last token, as predict gives it
        shown = {"text": given["answer"], "start": given["start"], "end": given["end"]}
    return [
        Target(side, (Row(f"{side}_logits", token, ((k, None, 1.0),)),), shown=shown)
        for side, token in zip(("start", "end"), pair, strict=True)
    ]


def _tokens(places: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int] | None:
    """The first and the last token of a window that reach into a part of the context; None unless it is all there."""
    inside = [i for i, (first, last) in enumerate(places) if first < end and last > start and last > first]
    if not inside or places[inside[0]][0] > start or places[inside[-1]][1] < end:
        return None
    return inside[0], inside[-1]


def _odds(output: Mapping[str, Any], start: int, end: int) -> float:
    starts, ends = output["start_logits"], output["end_logits"]
    return float(starts[start] - starts[0] + ends[end] - ends[0])


def _place(text: str, start: int, end: int) -> dict[str, Any]:
    return {"text": text[start:end], "start": start, "end": end}
