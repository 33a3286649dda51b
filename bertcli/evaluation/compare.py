"""Two systems on the same examples: what one has right that the other has not, and whether that may be chance.

The other system is another evaluation in memory, or the JSON that an earlier `bertcli evaluate` printed.
Try: bertcli evaluate dev.jsonl -m OLD > old.json; bertcli evaluate dev.jsonl -m NEW --compare old.json
"""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from bertcli.errors import UsageError
from bertcli.evaluation.results import Change, Comparison, Evaluation, Outcomes
from bertcli.metrics import bootstrap
from bertcli.tasks.base import BaseTask

SAID = ("given", "predicted", "entities")  # the columns of outcomes that hold a prediction


def read_outcomes(file: Path, task: str) -> Outcomes:
    """The outcomes in the JSON of an earlier evaluation. Raises UsageError where there are none of this task."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--compare {file}: cannot be read ({error}).") from error
    stated = document.get("outcomes") if isinstance(document, dict) else None
    names = {field.name for field in fields(Outcomes)}
    if not isinstance(stated, dict) or stated.keys() != names:
        raise UsageError(
            f"--compare {file}: it has no outcomes of single examples, which a paired test needs; "
            "`bertcli evaluate … > FILE` writes them. Or name the other model itself."
        )
    if stated["task"] != task:
        raise UsageError(f"--compare {file}: it is of {stated['task']}, this model of {task}.")
    return Outcomes(**stated)


def compare(task: BaseTask, gold: Sequence[Any], ours: Evaluation, theirs: Outcomes, name: str) -> Comparison:
    """Differences of the metrics that both have, with paired tests. Raises UsageError for other data."""
    outcomes = ours.outcomes
    assert outcomes is not None
    if theirs.data != outcomes.data:
        raise UsageError(f"--compare {name}: it was scored on other texts or labels; evaluate both on the same data.")
    resampled, theirs_resampled = task.resampled(gold, outcomes.columns), task.resampled(gold, theirs.columns)
    differences = bootstrap.differences(resampled, theirs_resampled, len(gold))
    if outcomes.right is None or theirs.right is None:
        return Comparison(name, differences)
    # What the other system said, where its outcomes keep it.
    kept = next((theirs.columns[column] for column in SAID if column in theirs.columns), [None] * len(theirs.right))
    changes = [Change(example, before) for example, before in zip(ours.examples, kept, strict=True)]
    turned = list(zip(changes, theirs.right, outcomes.right, strict=True))
    fixed = tuple(change for change, before, now in turned if now > before)
    broken = tuple(change for change, before, now in turned if now < before)
    return Comparison(name, differences, fixed, broken, bootstrap.mcnemar(len(fixed), len(broken)))
