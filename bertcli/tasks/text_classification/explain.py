"""What decides a class, a set of classes or a number: the logits of a text, over all its windows."""

from typing import Any

from bertcli.arrays import Features
from bertcli.data.records import Record
from bertcli.errors import UsageError
from bertcli.tasks.base import Outputs
from bertcli.tasks.explaining import BaseExplaining, Row, Target
from bertcli.tasks.text_classification import Task


class Explaining(BaseExplaining):
    """A target for each label that is given."""

    task: Task

    def require(self, target: str | None) -> None:
        """Raise UsageError for what is no label of the model."""
        if target is not None and self.task.is_regression:
            raise UsageError("the model gives a number, not a class; leave out --target.")
        if target is not None and target not in self.task.index:
            raise UsageError(f"unknown label '{target}'; the model's labels are: {', '.join(self.task.labels)}.")

    def targets(self, record: Record, features: Features, outputs: Outputs, target: str | None) -> list[Target]:
        """The label that is given; all of them for multi-label; the likeliest where none is."""
        task = self.task
        total = sum(len(window.ids) for window in features.windows)
        sources = tuple((i, None, len(window.ids) / total) for i, window in enumerate(features.windows))
        if task.is_regression:
            return [Target("score", (Row("logits", 0, sources),), "sigmoid" if task.has_sigmoid else "identity")]
        if target is not None:
            indices = [task.index[target]]
        else:
            prediction = task.combine(features, outputs)
            result = task.decode(record, prediction)
            names = result["labels"] if "labels" in result else [result["label"]]
            indices = [task.index[name] for name in names if name is not None] or [int(prediction.argmax())]
        link: Any = "sigmoid" if task.is_multi else "softmax"
        return [Target(task.labels[i], (Row("logits", i, sources),), link, {}, task.temperature) for i in indices]
