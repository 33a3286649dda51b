"""What decides an answer: its start and its end; no answer starts and ends at the first token."""

import re
from itertools import product
from typing import Any

from bertcli.arrays import Features
from bertcli.data.records import Record
from bertcli.errors import RecordError
from bertcli.tasks.base import Outputs
from bertcli.tasks.explaining import BaseExplaining, Row, Target
from bertcli.tasks.question_answering import Task


class Explaining(BaseExplaining):
    """Two targets, start and end. --target is the text of an answer."""

    task: Task

    def targets(self, record: Record, features: Features, outputs: Outputs, target: str | None) -> list[Target]:
        """Those of the predicted answer, or of the likeliest occurrence of --target."""
        task, context, target = self.task, self.task.texts(record)["context"], target and target.strip()
        spans = task.combine(features, outputs)
        result = task.decode(record, spans)
        if target is not None:
            wishes = [match.span() for match in re.finditer(re.escape(target), context) if target]
        else:
            wishes = [(spans[0].start, spans[0].end)] if result["answer"] else []
        candidates = []  # each with its log-odds against no answer
        for part, (k, window) in product(wishes, enumerate(features.windows)):
            offsets, (start, end) = [] if window.offsets is None else window.offsets.tolist(), part
            # The tokens that share a character with the part. The window counts only if it has all of the part.
            inside = [i for i, (first, last) in enumerate(offsets) if first < end and last > start and last > first]
            if inside and offsets[inside[0]][0] <= start and offsets[inside[-1]][1] >= end:
                pair, starts, ends = (inside[0], inside[-1]), outputs[k]["start_logits"], outputs[k]["end_logits"]
                candidates.append((float(starts[pair[0]] - starts[0] + ends[pair[1]] - ends[0]), k, pair, part))
        if target is not None and not candidates:
            raise RecordError(f"'{target}' (--target) is not in the context.")
        _, k, pair, wish = max(candidates) if candidates else (0.0, 0, (0, 0), None)
        shown: dict[str, Any] = {"text": ""}
        if wish and target is None:  # with the accents after its last token, as predict gives it
            shown = {"text": result["answer"], "start": result["start"], "end": result["end"]}
        elif wish:
            shown = {"text": target, "start": wish[0], "end": wish[1]}
        return [
            Target(side, (Row(f"{side}_logits", token, ((k, None, 1.0),)),), shown=shown)
            for side, token in zip(("start", "end"), pair, strict=True)
        ]
