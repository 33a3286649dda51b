"""What decides an entity: the tags of its words, each at its first piece."""

import numpy as np

from bertcli.arrays import Features
from bertcli.data.records import Record
from bertcli.errors import UsageError
from bertcli.metrics import entities
from bertcli.tasks.base import Outputs
from bertcli.tasks.explaining import BaseExplaining, Position, Row, Target
from bertcli.tasks.texts import grapheme_end
from bertcli.tasks.token_classification import Task


class Explaining(BaseExplaining):
    """A target for each entity."""

    task: Task

    def require(self, target: str | None) -> None:
        """Raise UsageError for what is no type of the model."""
        types = self.task.tag_set.types
        if target is not None and target not in types:
            raise UsageError(f"unknown type '{target}'; the model's types are: {', '.join(types)}.")

    def targets(self, record: Record, features: Features, outputs: Outputs, target: str | None) -> list[Target]:
        """Each entity by the tags of its words; of the type asked for, or else the word that is nearest to one."""
        task = self.task
        text, offsets = task.words(record)
        # Where each word's first piece is, in the window that shows most around it, as `combine` takes it.
        margins: dict[int, int] = {}
        sources: dict[int, Position] = {}
        for k, window in enumerate(features.windows):
            for token, word in enumerate(window.words or ()):
                margin = min(token, len(window.ids) - 1 - token)
                if word >= 0 and margin > margins.get(word, -1):
                    margins[word], sources[word] = margin, (k, token, 1.0)
        logits = task.combine(features, outputs)
        ids, _ = task.tag(logits, len(offsets))
        spans = [span for span in task.tag_set.spans(ids) if target in (None, span.type)]
        # A word without pieces is a part of speech by itself, for which no numbers were computed.
        spans = [span for span in spans if not sources.keys().isdisjoint(range(span.start, span.end))]
        if target and not spans and sources:
            index = task.tag_set.ids([entities.Span(0, 1, target)], 1)[0]
            best = max(sources, key=lambda word: logits[word, index] - np.delete(logits[word], index).max())
            ids[best] = index
            spans = [entities.Span(best, best + 1, target)]
        places = [
            (start := offsets[span.start][0], grapheme_end(text, start, offsets[span.end - 1][1])) for span in spans
        ]
        return [
            Target(
                span.type,
                tuple(Row("logits", ids[i], (sources[i],)) for i in range(span.start, span.end) if i in sources),
                shown={"text": text[start:end], "start": start, "end": end},
                temperature=task.temperature,
            )
            for span, (start, end) in zip(spans, places, strict=True)
        ]
