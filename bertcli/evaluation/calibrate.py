"""Calibration on labelled data: a temperature, a threshold for each of several labels, and how sure leaves early.

All is stored in the model's config.json as `calibration`, which transformers keeps but does not read. Predictions stay
raw logits, so a model can be calibrated again. For an early exit, labelled texts pass all layers once, and the logits
of both heads are kept: each threshold is then tried without the model. Task.certainty says how sure logits are. Knows
no task. Try: bertcli calibrate dev.jsonl -m DIR --exit-loss 0.2
"""

import shutil
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bertcli.arrays import Arrays, Features, Flags
from bertcli.backends import BaseBackend, Stages
from bertcli.data.sinks import new_directory, writing
from bertcli.errors import UsageError
from bertcli.evaluation import Predicted, collect
from bertcli.inference import Batching
from bertcli.inference.stream import Stop, stream
from bertcli.metrics import calibration
from bertcli.model import BUILTIN, Model, read, update
from bertcli.tasks.base import BaseTask
from bertcli.tasks.labels import exit_threshold_of, labels_of

SHOWN = "macro_f1", "micro_f1", "f1", "accuracy"  # what thresholds may change, beside ece and nll
FEW = 100  # records: of 200 draws from SST-2, none of 100 made the NLL of the rest worse, 2 % of 50 and 9 % of 10 did
STEPS = 200  # thresholds that are tried
Heads = tuple[Features, Sequence[Arrays]]  # a record, and for each window what both heads give: (L,) logits each


@dataclass(frozen=True)
class Calibrated:
    """stored: the entry of config.json. before, after: ece, nll and F1, on the data that it was fitted on.

    kept: labels whose threshold stays 0.5, because the data has none of them or the target is out of reach. task: the
    calibrated one.
    """

    stored: dict[str, Any]
    before: dict[str, float]
    after: dict[str, float]
    kept: list[str]
    task: BaseTask


def parse_target(text: str) -> calibration.Target:
    """From `precision>=0.9`. Raises UsageError."""
    metric, sign, number = (part.strip() for part in text.partition(">="))
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not sign or metric not in ("precision", "recall") or not 0 < value <= 1:
        raise UsageError(
            f"--target '{text}': write precision>=X or recall>=X, X over 0 and up to 1, as precision>=0.9."
        )
    return calibration.Target(metric, value)


def fit(
    plain: BaseTask, predicted: Predicted, target: calibration.Target | None, left: "ExitChoice | None" = None
) -> Calibrated:
    """Calibrate an uncalibrated task on its predictions. left: the choice of an early exit.

    Raises UsageError for data that no temperature fits.
    """
    gold, predictions = predicted.gold, predicted.predictions
    logits, targets = plain.classified(gold, predictions)
    stored: dict[str, Any] = {"temperature": calibration.fit_temperature(logits, targets), "records": len(gold)}
    kept: list[str] = []
    if targets.ndim == 2:
        scores = calibration.probabilities(logits, targets, stored["temperature"])
        fitted = {
            name: calibration.fit_threshold(truth, column, target)
            for name, truth, column in zip(labels_of(plain.config), targets.T, scores.T, strict=True)
        }
        kept = [name for name, value in fitted.items() if value is None]
        stored["thresholds"] = {name: 0.5 if value is None else value for name, value in fitted.items()}
        stored["target"] = f"{target.metric}>={target.value}" if target else "best F1"

    def figures(task: BaseTask, temperature: float) -> dict[str, float]:
        """ece, nll and the metrics of SHOWN that the task has."""
        scored = task.scored(gold, predictions, task.examples(predicted.records, gold, predictions))
        ece = {"ece": calibration.reliability(scored).ece} if scored else {}
        metrics = task.metrics(gold, predictions)
        shown = {name: metrics[name] for name in SHOWN if metrics.get(name) is not None}
        return ece | {"nll": calibration.nll(logits, targets, temperature)} | shown

    calibrated = type(plain)(plain.tokenizer, {**plain.config, "calibration": stored}, plain.options)
    if left:
        stored["exit"] = left.summary(calibrated, predicted)
    return Calibrated(stored, figures(plain, 1.0), figures(calibrated, stored["temperature"]), kept, calibrated)


def require_calibratable(task: BaseTask, target: calibration.Target | None) -> None:
    """Raise UsageError for a task without class probabilities, and for a target that has no thresholds to choose."""
    if task.classifies is None:
        raise UsageError(f"{task.subject} has no probabilities of classes to calibrate.")
    if target and task.classifies == "one":
        raise UsageError("--target chooses thresholds, which only a model with several labels a text has.")


def require_writable(model: Model, named: str | None, output: Path | None) -> None:
    """Raise UsageError where a calibration cannot be stored, before any work is done."""
    if output is not None:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise UsageError(f"-o {output}: it is there already; name a new directory.")
        if model.path.resolve() in output.resolve().parents:
            raise UsageError(f"-o {output}: it is inside the model, which is copied there; name one elsewhere.")
    elif BUILTIN in model.path.resolve().parents or not Path(named or "").is_dir():
        what = "the embedded model" if named is None else f"'{named}', a copy from the Hub,"
        raise UsageError(f"{what} stays as it is; -o DIR writes a calibrated copy, which -m DIR then uses.")


def store(model: Model, stored: Mapping[str, Any], output: Path | None) -> Path:
    """Write the calibration into the model's config.json, or into that of a copy; returns where."""
    if output is None:
        update(model, {"calibration": stored})
        return model.path
    with writing(output), new_directory(output) as draft:
        shutil.copytree(model.path, draft, dirs_exist_ok=True, copy_function=shutil.copyfile)
        update(read(draft), {"calibration": stored})
    return output


# -- an early exit: the least sureness that costs no more than is allowed


def with_both_heads(task: BaseTask, backend: BaseBackend) -> BaseTask:
    """The task, whose raw predictions are the outputs of both heads (Heads) where the model has an exit."""
    if isinstance(backend, Stages):
        task = copy(task)
        task.combine = lambda features, outputs: (features, outputs)  # type: ignore[method-assign]
    return task


@dataclass(frozen=True)
class ExitChoice:
    """A threshold for leaving at an exit. has_left: (N,) records that do; full: predictions where none leaves."""

    after: int
    threshold: float | None
    has_left: Flags
    full: Sequence[Any]

    def summary(self, task: BaseTask, predicted: Predicted) -> dict[str, Any]:
        """The share of records that leave, and the task's first metric with the exit and without it."""
        share, metric = round(float(self.has_left.mean()), 4), next(iter(task.directions))
        both = predicted.predictions, self.full
        score, full = (float(task.metrics(predicted.gold, one)[metric] or 0) for one in both)
        stated = {"after": self.after, "threshold": self.threshold, "share": share}
        return {**stated, metric: score, "at full depth": full, "lost": full - score}


def choose_exit(task: BaseTask, backend: BaseBackend, predicted: Predicted, most: float) -> ExitChoice | None:
    """Choose the threshold of an exit, and put its predictions in the place of `predicted`'s; None without an exit.

    predicted: made by the task of `with_both_heads`. most: points of the task's first metric that may be lost.
    """
    if not isinstance(backend, Stages):
        return None
    both = predicted.predictions
    threshold, has_left, predicted.predictions = choose(task, predicted.gold, both, most)
    return ExitChoice(backend.after, threshold, has_left, [task.combine(*pair) for pair in both])


def fit_with_exit(
    plain: BaseTask, backend: BaseBackend, predicted: Predicted, target: calibration.Target | None, most: float
) -> Calibrated:
    """As `fit`, and the threshold of an early exit, if there is one. predicted: of the task of `with_both_heads`."""
    task = plain
    if isinstance(backend, Stages) and plain.classifies == "several":
        # The thresholds of labels come first, for they decide whether a text that leaves early loses a label.
        full = [plain.combine(*pair) for pair in predicted.predictions]
        task = fit(plain, replace(predicted, predictions=full), target).task
    left = choose_exit(task, backend, predicted, most)
    return fit(plain, predicted, target, left)


def choose(task: BaseTask, gold: Sequence[Any], both: Sequence[Heads], most: float) -> tuple[float, Flags, list[Any]]:
    """The threshold, the records that leave there, and the predictions.

    The search begins at the surest text and stops at the first threshold that loses more than `most` points. A lower
    one may make up for the loss, but by luck, which other texts do not have.
    """
    sure = [task.certainty(np.stack([output["exit_logits"] for output in outputs])) for _, outputs in both]
    least = np.array([float(values.min()) for values in sure])  # A record has left when all its windows have.
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
    threshold = float(np.nextafter(np.float32(least.max()), np.float32(np.inf)))
    for lower in np.unique(np.quantile(least, np.linspace(0, 1, STEPS + 1), method="lower"))[::-1].tolist():
        score, tried = scored(lower)
        if (full - score) * task.directions[metric] * 100 > most + 1e-9:
            break
        threshold, predictions = lower, tried
    return threshold, least >= threshold, predictions


def measure(
    task: BaseTask, backend: BaseBackend, predicted: Predicted, settings: Batching, stop: Stop
) -> dict[str, Any]:
    """Which share left early and what that cost, found by a run through all layers; {} where none may leave."""
    if not isinstance(backend, Stages) or backend.is_sure is None:
        return {}
    whole = Stages(backend.first, backend.rest, backend.after, backend.layers)
    again = collect(task, chain.from_iterable(stream(task, whole, predicted.records, settings, stop)))
    has_left = np.array(predicted.layers) == backend.after
    left = ExitChoice(backend.after, exit_threshold_of(task.config), has_left, again.predictions)
    return left.summary(task, predicted)
