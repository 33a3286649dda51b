"""What labels a task learns: which problem they make, their names in their order, and why it was decided so.

Imports no torch: `check` decides as `finetune` does. Each task's own `decide` makes a Decision of its records.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from bertcli.data.records import Record
from bertcli.errors import ModelError, UsageError
from bertcli.model import Model, names_of
from bertcli.tasks.base import BaseTask
from bertcli.tasks.options import ClassWeights, Options

Doubt = tuple[str, str]  # the code of checking/findings.py, and what is doubtful in one record


class LabelSettings(Protocol):
    """What a user may choose of labels and loss; training/settings.py says what each means."""

    @property
    def problem(self) -> Literal["auto", "single", "multi", "regression"]: ...  # noqa: D102
    @property
    def labels(self) -> tuple[str, ...] | None: ...  # noqa: D102
    @property
    def class_weights(self) -> ClassWeights: ...  # noqa: D102
    @property
    def label_smoothing(self) -> float: ...  # noqa: D102
    @property
    def options(self) -> Options: ...  # noqa: D102


@dataclass(frozen=True)
class Decision:
    """The problem, its outputs by id, and the reasons, for people.

    labels_reason: why these labels in this order; "" where the outputs are no classes. is_number: whether the target
    of a record is a number. config: the part of config.json that says all this, as transformers writes it.
    """

    problem: str
    labels: Sequence[str]
    reason: str
    labels_reason: str = ""
    is_number: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_classes(self) -> bool:
        """Whether the outputs are classes, which data may lack or have unevenly."""
        return bool(self.labels_reason)


def labels_of(config: Mapping[str, Any]) -> list[str]:
    """The names of a model's labels by id; transformers does not write its default, which is two that have numbers."""
    return names_of(config) or ["LABEL_0", "LABEL_1"]


def temperature_of(config: Mapping[str, Any]) -> float:
    """What logits are divided by before they become probabilities: as `bertcli calibrate` stored it, else 1."""
    stated = (config.get("calibration") or {}).get("temperature", 1.0)
    if isinstance(stated, int | float) and 0 < stated < float("inf"):
        return float(stated)
    raise ModelError(
        f"config.json: the calibration's temperature {stated!r} is not a positive number; calibrate again."
    )


def label_config(labels: Sequence[str], problem_type: str | None = None) -> dict[str, Any]:
    """The entries of config.json that name a head's outputs, and its problem where transformers wants to know."""
    stated = {"problem_type": problem_type} if problem_type else {}
    return {**stated, "id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


def decide(task_class: type[BaseTask], settings: LabelSettings, base: Model, records: Sequence[Record]) -> Decision:
    """What the training records ask of a model's head. Raises UsageError where there is nothing to learn."""
    if not records:
        raise UsageError("the training data has no records; --train needs at least two, of two classes.")
    return task_class.decide(settings, base, records)
