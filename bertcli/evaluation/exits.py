"""How sure a text must be to leave at a model's early exit: the least that costs no more than is allowed.

Labelled texts pass all layers once, with the logits of both heads kept, so that each threshold can be tried without
running the model again. Knows no backend and no task; a task says how sure logits are.
Try: bertcli calibrate dev.jsonl -m DIR --exit-loss 0.2
"""

from collections.abc import Sequence
from copy import copy
from itertools import chain
from typing import Any

import numpy as np

from bertcli.arrays import Arrays, Flags
from bertcli.backends.base import BaseBackend, Stages
from bertcli.evaluation.evaluate import Predicted, collect
from bertcli.features import Features
from bertcli.inference.settings import Settings
from bertcli.inference.stream import Stop, stream
from bertcli.tasks.base import BaseTask
from bertcli.tasks.labels import exit_threshold_of

STEPS = 200  # thresholds that are tried
Both = tuple[Features, Sequence[Arrays]]  # of a record: for each window `logits` and `exit_logits`, (L,) each


def keeping(task: BaseTask, backend: BaseBackend) -> BaseTask:
    """The task, whose predictions are all outputs (Both) where the model has an exit."""
    if isinstance(backend, Stages):
        task = copy(task)
        task.combine = lambda features, outputs: (features, outputs)  # type: ignore[method-assign]
    return task


def settle(task: BaseTask, backend: BaseBackend, predicted: Predicted, most: float) -> dict[str, Any] | None:
    """Choose the threshold on what `keeping` gave, and make predictions of it. Returns what to store; None: no exit.

    most: points of the task's first metric that may be lost.
    """
    if not isinstance(backend, Stages):
        return None
    stored, predicted.predictions = choose(task, predicted.gold, predicted.predictions, most)
    return {"after": backend.after, **stored}


def choose(task: BaseTask, gold: Sequence[Any], both: Sequence[Both], most: float) -> tuple[dict[str, Any], list[Any]]:
    """The threshold, with what share leaves there and what it costs, and the predictions.

    It is lowered from the surest text on for as long as no more than `most` points are lost, and never past a threshold
    that costs more: further down a loss may be made up by luck, which other texts do not have.
    """
    sure = [task.certainty(np.stack([output["exit_logits"] for output in outputs])) for _, outputs in both]
    least = np.array([float(values.min()) for values in sure])  # of a record, whose windows leave one by one
    metric = next(iter(task.directions))

    def scored(threshold: float) -> tuple[float, list[Any]]:
        predictions = [
            task.combine(
                features,
                [
                    {"logits": output["exit_logits" if value >= threshold else "logits"]}
                    for output, value in zip(outputs, values, strict=True)
                ],
            )
            for (features, outputs), values in zip(both, sure, strict=True)
        ]
        return float(task.metrics(gold, predictions)[metric] or 0), predictions

    full, predictions = scored(np.inf)
    # Logits are fp32, in which the next number of fp64 would be that of the surest text again.
    threshold, score = float(np.nextafter(np.float32(least.max()), np.float32(np.inf))), full
    for lower in np.unique(np.quantile(least, np.linspace(0, 1, STEPS + 1), method="lower"))[::-1].tolist():
        tried = scored(lower)
        if (full - tried[0]) * task.directions[metric] * 100 > most + 1e-9:
            break
        threshold, (score, predictions) = lower, tried
    return _said(threshold, least >= threshold, metric, score, full), predictions


def measure(
    task: BaseTask, backend: BaseBackend, predicted: Predicted, settings: Settings, stop: Stop
) -> dict[str, Any]:
    """What share of these left early, and what it cost: they pass all layers again. {} where none may leave."""
    if not isinstance(backend, Stages) or backend.is_sure is None:
        return {}
    whole = Stages(backend.first, backend.rest, backend.after, backend.layers)
    again = collect(task, chain.from_iterable(stream(task, whole, predicted.records, settings, stop)))
    metric = next(iter(task.directions))
    score, full = (float(task.metrics(one.gold, one.predictions)[metric] or 0) for one in (predicted, again))
    has_left = np.array(predicted.layers) == backend.after
    return {"after": backend.after, **_said(exit_threshold_of(task.config), has_left, metric, score, full)}


def _said(threshold: float | None, has_left: Flags, metric: str, score: float, full: float) -> dict[str, Any]:
    """What is stored and shown. has_left: (N,) of the records; full: the metric where all pass all layers."""
    share = round(float(has_left.mean()), 4)
    return {"threshold": threshold, "share": share, metric: score, "at full depth": full, "lost": full - score}
