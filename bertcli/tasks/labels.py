"""The labels of a task: the problem that they pose, their names in order, and the reasons for both.

Each task's `decide` makes a Decision from its records, for `check` and `finetune`. Imports no torch.
"""

import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bertcli.data.records import Record
from bertcli.errors import ModelError, RecordError, UsageError
from bertcli.model import Model, names_of
from bertcli.tasks.base import BaseTask
from bertcli.tasks.options import LabelSettings, Options
from bertcli.tasks.texts import excerpt

MISSING = {"na", "n/a", "nan", "null", "none", "nil", "<na>", "#n/a"}  # what programs write in place of no label
LARGEST = 1e18  # label of a regression: fp32 holds its square, and the sum of squares of a batch
Doubt = tuple[str, str]  # a code of checking/, and what is doubtful in a record


@dataclass(frozen=True)
class Decision:
    """What the outputs of a head mean: the problem, a label for each output, and the reasons, for people.

    labels_reason: why these labels in this order; "" if the outputs are not classes. is_number: whether a record's
    label is a number. config: the entries of config.json that say this, as transformers writes them.
    """

    problem: str
    labels: Sequence[str]
    reason: str
    labels_reason: str = ""
    is_number: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_classes(self) -> bool:
        """Whether the outputs are classes."""
        return bool(self.labels_reason)


def labels_of(config: Mapping[str, Any]) -> list[str]:
    """The names of a model's labels by id; else LABEL_0 and LABEL_1, the default that transformers does not write."""
    return names_of(config) or ["LABEL_0", "LABEL_1"]


def number_of(value: Any) -> float:
    """A label as a number, from a number or text. Raises RecordError."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError):
        raise RecordError(f"the label {value!r} is not a number.") from None
    if not math.isfinite(number):
        raise RecordError(f"the label {excerpt(repr(value), 60)} is not a finite number.")
    if abs(number) > LARGEST:
        raise RecordError(f"the label {value!r} is too large; numbers up to {LARGEST:g} can be learnt and scored.")
    return number


class UnknownLabel(RecordError):
    """Labels that a model lacks. names: as --map-labels takes them, without the prefix (B-) of a tag."""

    def __init__(self, names: Iterable[str], faults: Sequence[tuple[int, str]]) -> None:
        super().__init__(faults[0][1], faults)
        self.names = list(dict.fromkeys(names))


def renamed(name: str, options: Options) -> str:
    """The name that --map-labels gives a label; "" where it leaves the label out."""
    return (options.map_labels or {}).get(name, name)


def relabelled(
    task_class: type[BaseTask], records: Iterable[Record], options: Options, several: bool
) -> Iterator[Record]:
    """The records with their labels renamed by --map-labels, without those whose only label it leaves out.

    several: whether a text may have several labels. A record whose label cannot be read stays as it is: Task.label will
    refuse it. Raises UsageError at once for a task without labels.
    """
    if not options.map_labels:
        return iter(records)
    if not task_class.has_named_labels:
        raise UsageError(f"--map-labels renames classes and types of entities; {task_class.name} has none.")

    def changed(record: Record) -> Record | None:
        with suppress(RecordError):
            return record if record.fault is not None else task_class.relabelled(record, options, several)
        return record

    return filter(None, map(changed, records))


def map_hint(names: Sequence[str]) -> str:
    """A hint on what to do about labels that a model lacks. names: these labels."""
    leaving = shlex.quote(",".join(f"{name}=" for name in names))
    return f"--map-labels {leaving} leaves them out, {shlex.quote(f'{names[0]}=LABEL')} renames one"


def temperature_of(config: Mapping[str, Any]) -> float:
    """The temperature that `bertcli calibrate` stored, else 1; logits are divided by it."""
    stated = (config.get("calibration") or {}).get("temperature", 1.0)
    if isinstance(stated, int | float) and 0 < stated < float("inf"):
        return float(stated)
    raise ModelError(
        f"config.json: the calibration's temperature {stated!r} is not a positive number; calibrate again."
    )


def thresholds_of(config: Mapping[str, Any], labels: Sequence[str]) -> list[float] | None:
    """The threshold of each label that `bertcli calibrate` stored, 0.5 for others; None if it stored none."""
    stated = (config.get("calibration") or {}).get("thresholds")
    if stated is None:
        return None
    thresholds = [stated.get(label, 0.5) for label in labels] if isinstance(stated, dict) else [stated]
    if all(isinstance(threshold, int | float) for threshold in thresholds):
        return thresholds
    raise ModelError(f"config.json: the calibration's thresholds {stated!r} are not a number a label; calibrate again.")


def exit_threshold_of(config: Mapping[str, Any]) -> float | None:
    """The least certainty at which a text leaves at an early exit, as the calibration has it, else None."""
    stated = (config.get("calibration") or {}).get("exit")
    if stated is None:
        return None
    threshold = stated.get("threshold") if isinstance(stated, dict) else stated
    if isinstance(threshold, int | float):
        return float(threshold)
    raise ModelError(f"config.json: the exit's threshold {threshold!r} is not a number; calibrate again.")


def label_config(labels: Sequence[str], problem_type: str | None = None) -> dict[str, Any]:
    """The entries of config.json that name a head's outputs, and its problem_type if transformers reads one."""
    stated = {"problem_type": problem_type} if problem_type else {}
    return {**stated, "id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


def decide(task_class: type[BaseTask], settings: LabelSettings, base: Model, records: Sequence[Record]) -> Decision:
    """The Decision for training records. Raises UsageError where there is nothing to learn."""
    if not records:
        raise UsageError("the training data has no records; --train needs at least two, of two classes.")
    decision = task_class.decide(settings, base, records)
    if settings.problem != "auto" and not decision.problem.startswith(settings.problem):
        raise UsageError(f"--problem {settings.problem} means nothing to {task_class.name}; leave it out.")
    if settings.labels and not decision.has_classes:
        raise UsageError(f"--labels names classes, which are not learnt here ({decision.reason}); leave it out.")
    if settings.label_smoothing and (decision.is_number or decision.problem.startswith("multi")):
        raise UsageError(
            f"--label-smoothing is for one class a text, not learnt here ({decision.reason}); leave it out."
        )
    return decision
