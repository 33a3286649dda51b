"""Similarities of pairs that another system gave, on any scale.

Try: bertcli evaluate -t embed pairs.tsv --text-field a --pair-field b --label-field score --predictions cosines.txt
"""

from bertcli.data.records import Record
from bertcli.tasks.feature_extraction import Task
from bertcli.tasks.labels import number_of
from bertcli.tasks.stated import BaseStated


class Stated(BaseStated, Task):
    """A prediction is a number."""

    name = Task.name
    names = ("similarity", "score")

    def stated(self, record: Record, result: Record) -> float:
        """How similar the two texts are said to be. Raises RecordError."""
        return number_of(self.value(self.options, result))

    @staticmethod
    def similarity(prediction: float) -> float:
        """What is stated."""
        return prediction
