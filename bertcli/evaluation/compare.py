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
    own = ours.outcomes
    assert own is not None
    if theirs.data != own.data:
        raise UsageError(f"--compare {name}: it was scored on other texts or labels; evaluate both on the same data.")
    ours_resampled, theirs_resampled = (task.resampled(gold, one.columns) for one in (own, theirs))
    differences = bootstrap.differences(ours_resampled, theirs_resampled, len(gold))
    if own.right is None or theirs.right is None:
        return Comparison(name, differences)
    changes = [Change(example, before) for example, before in zip(ours.examples, _given(theirs), strict=True)]
    turned = list(zip(changes, theirs.right, own.right, strict=True))
    fixed = tuple(change for change, before, now in turned if now > before)
    broken = tuple(change for change, before, now in turned if now < before)
    return Comparison(name, differences, fixed, broken, bootstrap.mcnemar(len(fixed), len(broken)))


def _given(outcomes: Outcomes) -> Sequence[Any]:
    """What the other system said, where its outcomes keep it."""
    for column in ("given", "predicted", "entities"):
        if column in outcomes.columns:
            return outcomes.columns[column]  # type: ignore[no-any-return]
    return [None] * len(outcomes.right or ())
