"""Calibration: fit a temperature, and for sets of labels a threshold each, to labelled data; and store both.

They are kept in the model's config.json as `calibration`, which transformers carries along unread. Predictions stay raw
logits, so a model can be calibrated again. Try: bertcli calibrate dev.jsonl -m DIR
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertcli.data.sinks import new_directory, writing
from bertcli.errors import UsageError
from bertcli.evaluation.evaluate import Predicted
from bertcli.metrics import calibration
from bertcli.model import BUILTIN, Model, read, update
from bertcli.tasks.base import BaseTask
from bertcli.tasks.labels import labels_of

SHOWN = "macro_f1", "micro_f1", "f1", "accuracy"  # what thresholds may change, beside ece and nll
FEW = 100  # records: of 200 draws from SST-2, none of 100 made the NLL of the rest worse, 2 % of 50 and 9 % of 10 did


@dataclass(frozen=True)
class Calibrated:
    """stored: what goes into config.json. before, after: ece, nll and F1, on the data that it was fitted on.

    kept: the labels whose threshold stays 0.5, for the data has none of them, or the target is out of reach.
    """

    stored: dict[str, Any]
    before: dict[str, float]
    after: dict[str, float]
    kept: list[str]


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
    plain: BaseTask, predicted: Predicted, target: calibration.Target | None, chosen: Mapping[str, Any] | None = None
) -> Calibrated:
    """Calibrate an uncalibrated task on its predictions. chosen: what is stored of an early exit (exits.py).

    Raises UsageError for data that no temperature fits.
    """
    gold, predictions = predicted.gold, predicted.predictions
    logits, targets = plain.classified(gold, predictions)
    stored: dict[str, Any] = {"temperature": calibration.fit_temperature(logits, targets), "records": len(gold)}
    stored |= {"exit": chosen} if chosen else {}
    kept: list[str] = []
    if targets.ndim == 2:
        scores = calibration.probabilities(logits, targets, stored["temperature"])
        names = labels_of(plain.config)
        columns = zip(targets.T, scores.T, strict=True)
        fitted = [calibration.fit_threshold(truth, column, target) for truth, column in columns]
        kept = [name for name, value in zip(names, fitted, strict=True) if value is None]
        stored["thresholds"] = {
            name: 0.5 if value is None else value for name, value in zip(names, fitted, strict=True)
        }
        stored["target"] = f"{target.metric}>={target.value}" if target else "best F1"

    def figures(task: BaseTask, temperature: float) -> dict[str, float]:
        """ece, nll and those of the task's metrics that thresholds change."""
        scored = task.scored(gold, predictions, task.examples(predicted.records, gold, predictions))
        ece = {"ece": calibration.reliability(scored).ece} if scored else {}
        metrics = task.metrics(gold, predictions)
        shown = {name: metrics[name] for name in SHOWN if metrics.get(name) is not None}
        return ece | {"nll": calibration.nll(logits, targets, temperature)} | shown

    calibrated = type(plain)(plain.tokenizer, {**plain.config, "calibration": stored}, plain.options)
    return Calibrated(stored, figures(plain, 1.0), figures(calibrated, stored["temperature"]), kept)


def uncalibrated(model: Model) -> Model:
    """The model as it was before it was calibrated."""
    return replace(model, config={name: value for name, value in model.config.items() if name != "calibration"})


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
